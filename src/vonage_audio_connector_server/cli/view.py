"""What a call looks like on a terminal: one line while it lasts, and the report after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..simulator import Progress, SimulationReport
from ..simulator.check import CheckResult
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
    """A line that shows one call while it lasts; None where the output is no terminal."""
    with live_lines() as show:
        yield None if show is None else (lambda progress: show([progress]))


@contextmanager
def live_lines() -> Iterator[Callable[[Sequence[Progress | None]], None] | None]:
    """A line that shows calls while they last (None: it doesn't); None where the output is no terminal."""
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

        def show(calls: Sequence[Progress | None]) -> None:
            going = [progress for progress in calls if progress is not None]
            if not going:
                return
            first = going[0]
            calls_told = f"{len(going)} of {len(calls)} calls" if len(calls) > 1 else first.step
            line = Text.assemble(
                f"{first.elapsed_s:6.1f} s  said {sum(one.said_s for one in going):.1f} of "
                f"{sum(one.question_s for one in going):.1f} s ",
                meter(max(one.sent_dbfs for one in going), "cyan"),
                "  heard ",
                meter(max(one.heard_dbfs for one in going), "magenta"),
                f"  {calls_told}",
            )
            line.no_wrap = True
            live.update(line, refresh=True)

        yield show


def print_reports(reports: Sequence[SimulationReport], *, console: Console | None = None) -> None:
    """Print one line for each of several calls, those with problems first, and a sentence about all."""
    console = console or Console()
    failed = sum(not report.ok for report in reports)
    gaps = sum(len(report.gaps) for report in reports)
    answered = sum(report.answer_after_s is not None for report in reports)
    told = f"{answered} of {len(reports)} calls were answered, with {gaps or 'no'} gaps"
    console.print(Text(f"{told}; {failed} had problems." if failed else f"{told}.", "bold"))
    table = Table()
    for name in ("call", "", "what happened", "answer", "gaps"):
        table.add_column(name, justify="left" if name == "what happened" else "right")
    numbers = sorted(range(len(reports)), key=lambda number: (reports[number].ok, -len(reports[number].gaps)))
    for number in numbers:
        report = reports[number]
        good, bad = ("ok", "x") if console.options.ascii_only else ("✓", "✗")
        mark = Text(good, "green") if report.ok else Text(bad, "bold red")
        answer = "–" if report.answer_after_s is None else f"{report.answer_after_s:.2f} s"
        told = report.problems[0] if report.problems else report.sentence or report.outcome
        table.add_row(str(number + 1), mark, told, answer, str(len(report.gaps)))
    console.print(table)


def print_checks(results: Sequence[CheckResult], written: Sequence[Path]) -> None:
    """Print whether the checks hold, and what was written."""
    console = Console()
    for result in results:
        console.print(Text(result.text, "green" if result.ok else "bold red"))
    for path in written:
        how = "open it in a browser" if path.suffix == ".html" else "written"
        console.print(Text(f"{how}: {path}"), soft_wrap=True)


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
