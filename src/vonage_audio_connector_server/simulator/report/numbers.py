"""The numbers of a report in words, for people: no row of zeros, and none of what the call had nothing of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .hole import Hole
from .report import SimulationReport

_HOLES_SHOWN = 5


class Number(NamedTuple):
    """A row of the table."""

    name: str
    value: str
    ok: bool | None = None
    """Whether it is good or bad; None: neither."""


def numbers_of(report: SimulationReport) -> Iterator[Number]:
    """The rows that say something."""
    yield Number("outcome", _outcome(report), report.ok)
    if report.outcome == "not connected":
        return
    yield Number("duration", f"{report.duration_s:.2f} s at {report.rate_hz} Hz")
    yield Number("transport", f"{report.transport}, frames of {report.frame_ms} ms")
    if report.seen_by == "server":
        yield Number("seen by", "the server; what was heard is worked out")
    late = f", at most {report.send_lateness_max_ms:.1f} ms late" if report.send_lateness_max_ms >= 0.05 else ""
    yield Number("frames sent", f"{report.frames_sent}{late}")
    texts = f", and {report.texts_received} texts" if report.texts_received else ""
    yield Number("frames received", f"{report.frames_received}{texts}")
    if report.frames_heard:
        yield Number("frames heard", f"{report.frames_heard}, that is {report.heard_s:.2f} s")
        yield Number("gaps inside speech", _holes(report.gaps), not report.gaps)
    if report.pauses:
        yield Number("pauses", _holes(report.pauses))
    if report.furthest_ahead_s:
        yield Number("furthest ahead", f"{report.furthest_ahead_s:.2f} s")
    if report.frame_interval_p99_ms is not None:
        yield Number("between frames", f"at most {report.frame_interval_p99_ms:.0f} ms, 99 of 100 times")
    for name, frames in (
        ("overflow", report.overflow_frames),
        ("wrong size", report.wrong_size_frames),
        ("wrong transport", report.wrong_transport_frames),
    ):
        if frames:
            yield Number(name, f"{frames} frames", ok=False)
    if report.fragmented_messages:
        yield Number("fragmented", f"{report.fragmented_messages} messages", ok=False)
    if report.cleared_frames:
        yield Number("cleared", f"{report.cleared_frames} frames by {report.clears} commands")
    if report.unheard_s:
        yield Number("unheard at the end", f"{report.unheard_s:.2f} s")
    yield from _turns(report)
    if report.same_as_question is not None:
        yield Number("same as the question", f"{report.same_as_question:.4f}")
    if report.keys:
        yield Number("keys", ", ".join(f"{key.text} at {key.at_s:.2f} s" for key in report.keys))


def _turns(report: SimulationReport) -> Iterator[Number]:
    if report.greeting_s is not None:
        yield Number("greeting after", f"{report.greeting_s:.2f} s")
    if len(report.answers) > 1:
        after = ", ".join("–" if answer.after_s is None else f"{answer.after_s:.2f} s" for answer in report.answers)
        yield Number("answers after", after)
    elif report.answer_after_s is not None:
        yield Number("answer after", f"{report.answer_after_s:.2f} s")
    for one in report.interruptions:
        if one.silent_after_s is not None:
            yield Number("silent after", f"{one.silent_after_s:.2f} s, interrupted at {one.at_s:.2f} s")


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
