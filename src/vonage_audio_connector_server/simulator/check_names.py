"""The numbers of a call that a check may name, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import AudioConnectorConfigError
from .report import SimulationReport

Value = float | str | bool | None
"""None: there is none, as of an answer that never came."""

Worst = Literal["most", "least", "most known", "of the worst call"]
"""Which value stands for several calls. `most` and `least` have none where one call has none; `most known` leaves such
calls out; the worst call is the first that isn't ok, or else the first."""


@dataclass(frozen=True, slots=True)
class _Name:
    meaning: str
    of: Callable[[SimulationReport], Value]
    worst: Worst = "most"
    missing: str = ""  # why it may have no value
    sample: Value = 1.0  # of its kind


def _first_answer_s(report: SimulationReport) -> float | None:
    return report.answers[0].after_s if report.answers else report.answer_after_s


def _silent_after_s(report: SimulationReport) -> float | None:
    return max((one.silent_after_s for one in report.interruptions if one.silent_after_s is not None), default=None)


def _longest_gap_ms(report: SimulationReport) -> int:
    return max((gap.ms for gap in report.gaps), default=0)


_NEVER = "nothing was answered"
_NAMES: dict[str, _Name] = {
    "ok": _Name("whether the call has no problems", lambda report: report.ok, "least", sample=True),
    "outcome": _Name(
        "how it ended: 'answered', 'no answer', 'limit', 'server closed', 'connection lost', 'protocol error', 'not "
        "connected'",
        lambda report: report.outcome,
        "of the worst call",
        sample="answered",
    ),
    "close_code": _Name(
        "the WebSocket close code", lambda report: report.close_code, "of the worst call", "nobody closed"
    ),
    "closed_by": _Name(
        "who closed: 'server' or 'simulator'",
        lambda report: report.closed_by,
        "of the worst call",
        "nobody closed",
        "server",
    ),
    "duration_s": _Name("from the accept to the end, in seconds", lambda report: report.duration_s),
    "heard_s": _Name("seconds of audio that were played", lambda report: report.heard_s, "least"),
    "unheard_s": _Name("seconds of audio that waited when the call ended", lambda report: report.unheard_s),
    "gaps": _Name("holes inside speech", lambda report: len(report.gaps)),
    "gap_ms": _Name("how long they are together, in milliseconds", lambda report: report.gap_ms),
    "gap_max_ms": _Name("how long the longest is, in milliseconds", _longest_gap_ms),
    "greeting_s": _Name(
        "seconds to the first sound, before the caller's first word",
        lambda report: report.greeting_s,
        missing="there was no greeting",
    ),
    "answers": _Name(
        "how many things said were answered",
        lambda report: sum(answer.after_s is not None for answer in report.answers),
        "least",
    ),
    "unanswered": _Name("how many were not", lambda report: sum(answer.after_s is None for answer in report.answers)),
    "answer_s": _Name("seconds to the first answer", _first_answer_s, missing="the first thing said was not answered"),
    "answer_p50_s": _Name(
        "the median of those of all that were answered", lambda report: report.answer_p50_s, missing=_NEVER
    ),
    "answer_p95_s": _Name("their 95th percentile", lambda report: report.answer_p95_s, missing=_NEVER),
    "answer_max_s": _Name("the slowest of them", lambda report: report.answer_max_s, missing=_NEVER),
    "interruptions": _Name("how often the caller interrupted", lambda report: len(report.interruptions), "least"),
    "silent_after_s": _Name(
        "seconds from an interruption to silence; the slowest of them",
        _silent_after_s,
        "most known",
        "nothing was interrupted",
    ),
    "furthest_ahead_s": _Name("how far ahead of real time the server was", lambda report: report.furthest_ahead_s),
    "overflow_frames": _Name("frames that a full buffer dropped", lambda report: report.overflow_frames),
    "wrong_size_frames": _Name("audio messages of a wrong size", lambda report: report.wrong_size_frames),
    "wrong_transport_frames": _Name("audio in a wrong form", lambda report: report.wrong_transport_frames),
    "fragmented_messages": _Name("messages in several WebSocket frames", lambda report: report.fragmented_messages),
    "clears": _Name("clear commands", lambda report: report.clears, "least"),
    "texts": _Name("texts of the server without audio", lambda report: report.texts_received, "least"),
    "same_as_question": _Name(
        "how well the question was heard again, up to 1",
        lambda report: report.same_as_question,
        "least",
        "it was not compared",
    ),
    "send_lateness_max_ms": _Name(
        "how late the simulator was itself, in milliseconds", lambda report: report.send_lateness_max_ms
    ),
}

_OF_ALL = {"streams": "how many calls there were", "failed": "how many of them are not ok"}

CHECK_NAMES: Mapping[str, str] = {name: entry.meaning for name, entry in _NAMES.items()} | _OF_ALL
"""What a check may name, and what it means. Of several calls each is the worst."""

SAMPLES: Mapping[str, Value] = {name: entry.sample for name, entry in _NAMES.items()} | dict.fromkeys(_OF_ALL, 1.0)
"""A value of the kind of each."""

MISSING: Mapping[str, str] = {name: entry.missing for name, entry in _NAMES.items() if entry.missing}
"""Why a name may have no value."""


def check_values(*reports: SimulationReport) -> dict[str, Value]:
    """The values of all names. Of several calls each is the worst, whichever call that is of.

    Raises:
        AudioConnectorConfigError: there is no report.
    """
    if not reports:
        raise AudioConnectorConfigError("reports must be one or more")
    failed = [report for report in reports if not report.ok]
    worst = (failed or reports)[0]
    values: dict[str, Value] = {}
    for name, entry in _NAMES.items():
        if entry.worst == "of the worst call":
            values[name] = entry.of(worst)
        else:
            values[name] = _worst([entry.of(report) for report in reports], entry.worst)
    return values | {"streams": len(reports), "failed": len(failed)}


def _worst(values: Sequence[Any], worst: Worst) -> Value:
    known: list[float] = [value for value in values if value is not None]
    if not known or (len(known) < len(values) and worst != "most known"):
        return None
    return min(known) if worst == "least" else max(known)
