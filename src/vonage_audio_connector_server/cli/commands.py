"""The commands. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from .connect import connect
from .doctor import doctor
from .replay import replay, report
from .serve import serve
from .simulate import simulate
from .talk import talk

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve the Vonage Audio Connector, and try such a server without an account.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"vonage-audio-connector-server {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself; `--version` has done its work when this runs."""


app.command()(simulate)
app.command()(talk)
app.command()(replay)
app.command()(report)
app.command()(serve)
app.command()(connect)
app.command()(doctor)
