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

from ..simulator import Hole, Progress, SimulationReport
from ..simulator.report import Verdict

_METER_CELLS = 20
_METER_FLOOR_DBFS = -60.0
_HOLES_SHOWN = 5
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
    for name, value in _rows(report):
        table.add_row(name, value)
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


def _rows(report: SimulationReport) -> Iterator[tuple[str, Text]]:
    """The rows that say something: none of zeros, and none of what the call had nothing of."""
    yield "outcome", _mark(_outcome(report), good=report.ok)
    if report.outcome == "not connected":
        return
    yield "duration", Text(f"{report.duration_s:.2f} s at {report.rate_hz} Hz")
    yield "transport", Text(f"{report.transport}, frames of {report.frame_ms} ms")
    if report.seen_by == "server":
        yield "seen by", Text("the server; what was heard is worked out")
    late = f", at most {report.send_lateness_max_ms:.1f} ms late" if report.send_lateness_max_ms >= 0.05 else ""
    yield "frames sent", Text(f"{report.frames_sent}{late}")
    texts = f", and {report.texts_received} texts" if report.texts_received else ""
    yield "frames received", Text(f"{report.frames_received}{texts}")
    if report.frames_heard:
        yield "frames heard", Text(f"{report.frames_heard}, that is {report.heard_s:.2f} s")
        yield "gaps inside speech", _mark(_holes(report.gaps), good=not report.gaps)
    if report.pauses:
        yield "pauses", Text(_holes(report.pauses))
    if report.furthest_ahead_s:
        yield "furthest ahead", Text(f"{report.furthest_ahead_s:.2f} s")
    if report.frame_interval_p99_ms is not None:
        yield "between frames", Text(f"at most {report.frame_interval_p99_ms:.0f} ms, 99 of 100 times")
    for name, frames in (
        ("overflow", report.overflow_frames),
        ("wrong size", report.wrong_size_frames),
        ("wrong transport", report.wrong_transport_frames),
    ):
        if frames:
            yield name, _mark(f"{frames} frames", good=False)
    if report.clears:
        yield "cleared", Text(f"{report.cleared_frames} frames by {report.clears} commands")
    if report.unheard_s:
        yield "unheard at the end", Text(f"{report.unheard_s:.2f} s")
    yield from _turns(report)
    if report.same_as_question is not None:
        yield "same as the question", Text(f"{report.same_as_question:.4f}")
    if report.keys:
        yield "keys", Text(", ".join(f"{key.text} at {key.at_s:.2f} s" for key in report.keys))


def _turns(report: SimulationReport) -> Iterator[tuple[str, Text]]:
    if report.greeting_s is not None:
        yield "greeting after", Text(f"{report.greeting_s:.2f} s")
    if len(report.answers) > 1:
        after = ", ".join("–" if answer.after_s is None else f"{answer.after_s:.2f} s" for answer in report.answers)
        yield "answers after", Text(after)
    elif report.answer_after_s is not None:
        yield "answer after", Text(f"{report.answer_after_s:.2f} s")
    for one in report.interruptions:
        if one.silent_after_s is not None:
            yield "silent after", Text(f"{one.silent_after_s:.2f} s, interrupted at {one.at_s:.2f} s")


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


def _outcome(report: SimulationReport) -> str:
    if report.closed_by is None:
        return report.outcome
    return f"{report.outcome}; closed with {report.close_code} by the {report.closed_by}"


def _holes(holes: tuple[Hole, ...]) -> str:
    if not holes:
        return "none"
    shown = ", ".join(_hole(hole) for hole in holes[:_HOLES_SHOWN])
    more = f" and {len(holes) - _HOLES_SHOWN} more" if len(holes) > _HOLES_SHOWN else ""
    return f"{len(holes)}, {sum(hole.ms for hole in holes)} ms in all: {shown}{more}"


def _hole(hole: Hole) -> str:
    cause = f" ({hole.cause})" if hole.cause else ""
    return f"{hole.ms} ms at {hole.at_s:.2f} s{cause}"


def _mark(text: str, *, good: bool) -> Text:
    return Text(text, "green" if good else "red")
