"""What a call looks like on a terminal: one line while it lasts, and the report after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..simulator import Progress, SimulationReport
from ..simulator.report import Verdict, numbers_of

_METER_CELLS = 20
_METER_FLOOR_DBFS = -60.0
_TEXTS_SHOWN = 8
_TEXT_LINES = 12

_PLAYERS = {  # each plays a file and ends
    "ffplay": "ffplay -nodisp -autoexit",
    "afplay": "afplay",
    "aplay": "aplay",
    "play": "play",  # sox
    "paplay": "paplay",
}


@contextmanager
def live_line() -> Iterator[Callable[[Progress], None] | None]:
    """A line that shows a call while it lasts; None where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        yield None
        return
    full, empty = ("#", ".") if console.options.ascii_only else ("█", "·")

    def meter(level_dbfs: float, style: str) -> tuple[str, str]:
        share = 1 - max(_METER_FLOOR_DBFS, level_dbfs) / _METER_FLOOR_DBFS
        cells = round(_METER_CELLS * share)
        return full * cells + empty * (_METER_CELLS - cells), style

    # No refresh thread: it would draw while a frame is due.
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(progress: Progress) -> None:
            said_s = min(progress.elapsed_s, progress.question_s)
            line = Text.assemble(
                f"{progress.elapsed_s:6.1f} s  said {said_s:.1f} of {progress.question_s:.1f} s ",
                meter(progress.sent_dbfs, "cyan"),
                "  heard ",
                meter(progress.heard_dbfs, "magenta"),
            )
            line.no_wrap = True
            live.update(line, refresh=True)

        yield show


def print_report(report: SimulationReport, *written: str | PathLike[str], console: Console | None = None) -> None:
    """Print the report: its sentence, what isn't as it should be, the numbers, and the texts of the server.

    Args:
        report: of the call.
        written: the WAV files that were written, for how to play them.
        console: where; None: the standard output.
    """
    console = console or Console()
    console.print(Text(report.sentence or report.outcome, "bold"))
    for verdict in report.verdicts:
        if verdict.ok is False:
            console.print(_verdict(verdict, ascii_only=console.options.ascii_only))
    if not report.verdicts:
        for problem in report.problems:
            console.print(Text(problem, "red"))
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for number in numbers_of(report):
        style = {True: "green", False: "red", None: ""}[number.ok]
        table.add_row(number.name, Text(number.value, style))
    console.print(table)
    _print_texts(report, console)
    for path in written:
        console.print(Text(play_hint(path)), soft_wrap=True)


def play_hint(path: str | PathLike[str]) -> str:
    """How to play a file with what is installed here."""
    name = fspath(path)
    shown = f"'{name}'" if " " in name else name
    for command, call in _PLAYERS.items():
        if shutil.which(command):
            return f"play it: {call} {shown}"
    return f"written: {name}"


def _verdict(verdict: Verdict, *, ascii_only: bool) -> Text:
    mark = "x" if ascii_only else "✗"
    return Text.assemble((f"{mark} {verdict.rule}: ", "bold red"), (verdict.text, "red"))


def _print_texts(report: SimulationReport, console: Console) -> None:
    """The texts of the server in the order of time, as readable JSON, and not too much of it."""
    for text in report.texts[:_TEXTS_SHOWN]:
        lines = _pretty(text.text).splitlines()
        if len(lines) > _TEXT_LINES:
            lines = [*lines[:_TEXT_LINES], f"… {len(lines) - _TEXT_LINES} more lines"]
        at = f"{text.at_s:8.2f} s  "
        indented = ("\n" + " " * len(at)).join(lines)
        console.print(Text.assemble((at, "dim"), indented))
    if len(report.texts) > _TEXTS_SHOWN:
        console.print(Text(f"… and {len(report.texts) - _TEXTS_SHOWN} more texts", "dim"))


def _pretty(text: str) -> str:
    """A short object stays on one line."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    short = json.dumps(data, ensure_ascii=False)
    return short if len(short) <= 80 else json.dumps(data, indent=2, ensure_ascii=False)
