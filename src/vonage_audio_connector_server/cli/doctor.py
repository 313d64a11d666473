"""The command `doctor`: its options, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AudioConnectorError
from .exits import FAILED, INTERRUPTED, refuse
from .options import read_headers

if TYPE_CHECKING:
    from ..doctor import Diagnosis, Line


def doctor(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="As the connect call gets it: wss://bot.example.com/vonage")
    ],
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A custom header; repeatable.")
    ] = None,
    rate_hz: Annotated[int, typer.Option("--rate", metavar="8000|16000|24000", help="The rate of the call.")] = 16_000,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0.1, help="How long the server may take to accept.")
    ] = 15.0,
    long: Annotated[
        bool, typer.Option("--long", help="Send nothing for 75 s, to find the idle limit of a proxy.")
    ] = False,
    idle_s: Annotated[
        float | None, typer.Option("--idle", metavar="S", min=1, help="The same, for so many seconds.")
    ] = None,
    cafile: Annotated[Path | None, typer.Option("--cafile", metavar="PEM", help="Certificates to trust.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Go on although the certificate is not trusted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as one JSON object.")] = False,
) -> None:
    """Examine a running server from outside, as the router would reach it, and say what to do.

    It makes a call of some seconds, in which a recording is said. The exit code is 1 where a check has failed.
    """
    import anyio

    from ..doctor import examine
    from ..doctor.examine import LONG_S
    from .tls import client_tls

    async def run() -> Diagnosis:
        return await examine(
            url,
            headers=read_headers(header or []),
            rate_hz=rate_hz,
            timeout_s=timeout_s,
            idle_s=LONG_S if long and idle_s is None else idle_s,
            ssl_context=client_tls(url, cafile, insecure=False),
            insecure=insecure,
            on_line=None if as_json else line_printer(),
        )

    try:
        diagnosis = anyio.run(run)
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps(diagnosis.to_dict()))
    else:
        print_sum(diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(FAILED)


def line_printer() -> Callable[[Line], None]:
    """Prints each line when it is there."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    marks = {"passed": "✓", "failed": "✗", "warning": "!", "skipped": "–"}
    if console.options.ascii_only:
        marks |= {"passed": "ok", "failed": "x", "skipped": "-"}
    styles = {"passed": "green", "failed": "bold red", "warning": "yellow", "skipped": "dim"}

    def show(line: Line) -> None:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=2)
        table.add_column(width=13)
        table.add_column(ratio=1)
        style = styles[line.status]
        table.add_row(Text(marks[line.status], style), line.name, Text(line.text, style))
        if line.advice and line.status != "passed":
            table.add_row("", "", Text(f"→ {line.advice}" if not console.options.ascii_only else f"> {line.advice}"))
        console.print(table)

    return show


def print_sum(diagnosis: Diagnosis) -> None:
    """Print how many checks came out how."""
    from rich.console import Console
    from rich.text import Text

    counts = dict.fromkeys(("passed", "failed", "warning", "skipped"), 0)
    for line in diagnosis.lines:
        counts[line.status] += 1
    warnings = f"{counts['warning']} warning{'s' * (counts['warning'] != 1)}"
    told = f"{counts['passed']} passed, {counts['failed']} failed, {warnings}, {counts['skipped']} skipped"
    Console().print(Text(f"{diagnosis.url}: {told}", "bold green" if diagnosis.ok else "bold red"), soft_wrap=True)
