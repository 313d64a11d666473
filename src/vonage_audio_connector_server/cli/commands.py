"""The commands and their options. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import AudioConnectorError, AudioConnectorStartServerError
from .exits import FAILED, INTERRUPTED, refuse
from .options import SECRET_VARIABLE, shared_secret
from .replay import replay, report
from .simulate import simulate
from .talk import talk
from .target import load_target, served
from .tls import server_tls

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


@app.command()
def serve(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="on_connect, or an ASGI app: bot:on_connect or bot.py:app.")
    ],
    host: Annotated[str, typer.Option(help="The name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")] = 8765,
    certfile: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The certificate chain; it makes the server wss://.")
    ] = None,
    keyfile: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Its private key, if that is a file of its own.")
    ] = None,
    secret_parameter: Annotated[
        str | None,
        typer.Option(
            "--secret", metavar="NAME", help=f"Let in who has ${SECRET_VARIABLE} as this parameter of the query."
        ),
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many connections are served at once.")
    ] = None,
    ws: Annotated[
        Literal["auto", "websockets-sansio", "wsproto"],
        typer.Option(help="What speaks WebSocket; auto: this library's own, the fastest."),
    ] = "auto",
    console: Annotated[
        bool, typer.Option("--console", help="Serve the page on which one talks to the program, at /console.")
    ] = False,
    drain_s: Annotated[
        float, typer.Option("--drain", metavar="S", min=0, help="How long answers may go on after Ctrl-C or SIGTERM.")
    ] = 10.0,
) -> None:
    """Run a server until Ctrl-C: of your on_connect function, or of an ASGI app that has connectors in it."""
    from ..config import AudioConnectorServerConfig
    from ..video import Video

    _log_to_console()
    try:
        config = AudioConnectorServerConfig(
            host=host,
            port=port,
            ssl=server_tls(certfile, keyfile),
            **served(load_target(target)),
            authorize=shared_secret(secret_parameter),
            max_connections=max_connections,
            ws=ws,
            console=console,
        )
        Video().run_audio_connector_server(config, drain_s=drain_s)
    except AudioConnectorStartServerError as exc:
        refuse(exc, FAILED)
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)
    except KeyboardInterrupt:  # a second Ctrl-C, while calls were waited for
        raise typer.Exit(INTERRUPTED) from None


def _log_to_console() -> None:
    """Show what is logged: here the command line is the application."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    # uvicorn tells once more, in its own words, where it listens; what goes wrong is still shown.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
