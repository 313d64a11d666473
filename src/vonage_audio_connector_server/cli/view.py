"""What a call looks like on a terminal: one line while it lasts, and a table of the report after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..simulator import Hole, Progress, SimulationReport

_METER_CELLS = 20
_METER_FLOOR_DBFS = -60.0
_HOLES_SHOWN = 5


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


def print_report(report: SimulationReport) -> None:
    """Print the report as a table, and its problems below."""
    console = Console()
    table = Table(show_header=False, title="Simulated call", title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for name, value in _rows(report):
        table.add_row(name, value)
    console.print(table)
    for problem in report.problems:
        console.print(Text(problem, "bold red"))


def _rows(report: SimulationReport) -> Iterator[tuple[str, Text]]:
    yield "outcome", _mark(_outcome(report), good=report.ok)
    if report.outcome == "not connected":
        return
    yield "duration", Text(f"{report.duration_s:.2f} s at {report.rate_hz} Hz")
    yield "transport", Text(f"{report.transport}, frames of {report.frame_ms} ms")
    yield "frames sent", Text(f"{report.frames_sent}, at most {report.send_lateness_max_ms:.1f} ms late")
    yield "frames received", Text(f"{report.frames_received}, and {report.texts_received} texts")
    yield "frames heard", Text(f"{report.frames_heard}, that is {report.heard_s:.2f} s")
    yield "gaps inside speech", _mark(_holes(report.gaps), good=not report.gaps)
    yield "pauses", Text(_holes(report.pauses))
    yield "furthest ahead", Text(f"{report.furthest_ahead_s:.2f} s")
    yield "overflow", _mark(f"{report.overflow_frames} frames", good=not report.overflow_frames)
    yield "wrong size", _mark(f"{report.wrong_size_frames} frames", good=not report.wrong_size_frames)
    yield "wrong transport", _mark(f"{report.wrong_transport_frames} frames", good=not report.wrong_transport_frames)
    if report.clears:
        yield "cleared", Text(f"{report.cleared_frames} frames by {report.clears} commands")
    if report.unheard_s:
        yield "unheard at the end", Text(f"{report.unheard_s:.2f} s")
    yield "answer after", Text("–" if report.answer_after_s is None else f"{report.answer_after_s:.2f} s")
    if report.same_as_question is not None:
        yield "same as the question", Text(f"{report.same_as_question:.4f}")


def _outcome(report: SimulationReport) -> str:
    if report.closed_by is None:
        return report.outcome
    return f"{report.outcome}; closed with {report.close_code} by the {report.closed_by}"


def _holes(holes: tuple[Hole, ...]) -> str:
    if not holes:
        return "0"
    shown = ", ".join(f"{hole.ms} ms at {hole.at_s:.2f} s" for hole in holes[:_HOLES_SHOWN])
    more = f" and {len(holes) - _HOLES_SHOWN} more" if len(holes) > _HOLES_SHOWN else ""
    return f"{len(holes)}, {sum(hole.ms for hole in holes)} ms in all: {shown}{more}"


def _mark(text: str, *, good: bool) -> Text:
    return Text(text, "green" if good else "red")
