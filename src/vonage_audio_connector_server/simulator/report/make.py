"""Making the report of a recorded call. A pure function: the same recording always gives the same report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, zip_longest

from ...audio.levels import loud_ticks
from ...recording import Kind, Recording
from ..compare import similarity
from ..form import TransportName
from .ending import Ending, ending_of
from .judge import sentence, verdicts_of
from .noted import keys_of
from .report import SimulationReport, Text
from .sound import sound_of
from .speed import speed_of
from .timeline import Timeline


def report_of(recording: Recording, ending: Ending | None = None, *, compare: bool = False) -> SimulationReport:
    """The report of a recorded call.

    Args:
        recording: the call, seen by the router or by the server.
        ending: how it ended; None: as its note `closed` says.
        compare: work out `same_as_question`, and at which speed the question came back, with numpy and soxr.

    Raises:
        MissingExtraError: `compare` needs numpy or soxr, which is not installed.
    """
    return report_from(Timeline.of(recording), ending, compare=compare)


def report_from(timeline: Timeline, ending: Ending | None = None, *, compare: bool = False) -> SimulationReport:
    """The same, where the time line is there already."""
    router, audio_format, turns = timeline.router, timeline.audio_format, timeline.turns
    frame_s, meta = audio_format.frame_s, timeline.recording.meta
    loud = loud_ticks(timeline.heard, audio_format)
    after_s = sorted(answer.after_s for answer in turns.answers if answer.after_s is not None)
    ending = ending or ending_of(timeline.recording, answered=bool(after_s or (loud and not turns.answers)))
    resumed = frozenset(round((gap.until_s - timeline.begin_s) / frame_s) for gap in timeline.gaps)
    sound = sound_of(timeline.heard, audio_format, loud, timeline.begin_s, resumed)
    same = None
    if compare and timeline.utterances:
        # The worst of all that was said: where something of it is missing, this tells.
        compared = [(similarity(speech, heard), speech, heard) for speech, heard in _said_and_heard(timeline)]
        same, speech, heard = min(compared)
        sound = replace(sound, speed=speed_of(speech, heard, audio_format.rate_hz, same))
    texts = [entry for entry in timeline.recording.entries if entry.kind is Kind.TEXT_FROM_SERVER]
    frames_heard = sum(run.ticks for run in router.runs)
    transport: TransportName = "json" if meta.get("transport") == "json" else "binary"
    report = SimulationReport(
        outcome=ending.outcome,
        error=ending.error,
        close_code=ending.close_code,
        close_reason=ending.close_reason,
        closed_by=ending.closed_by,
        rate_hz=audio_format.rate_hz,
        frame_ms=audio_format.frame_ms,
        transport=transport,
        duration_s=timeline.end_s,
        frames_sent=len(timeline.sent_s),
        send_lateness_max_ms=0.0 if timeline.seen_by_server else _lateness_s(timeline.sent_s, frame_s) * 1000,
        frames_received=router.frames_received,
        frames_heard=frames_heard,
        heard_s=frames_heard * frame_s,
        unheard_s=router.buffered_s,
        gaps=timeline.gaps,
        pauses=timeline.pauses,
        furthest_ahead_s=router.furthest_ahead_s,
        overflow_frames=router.overflowed,
        wrong_size_frames=router.wrong_size,
        wrong_transport_frames=timeline.wrong_transport,
        fragmented_messages=timeline.fragmented,
        clears=router.clears,
        cleared_frames=router.cleared_frames,
        texts_received=len(texts),
        question_end_s=turns.answers[-1].said_until_s if turns.answers else None,
        answer_after_s=turns.answers[-1].after_s if turns.answers else None,
        same_as_question=same,
        greeting_s=None if timeline.begin_s else turns.greeting_s,
        answers=turns.answers,
        answer_p50_s=percentile(after_s, 50),
        answer_p95_s=percentile(after_s, 95),
        answer_max_s=after_s[-1] if after_s else None,
        interruptions=turns.interruptions,
        first_received_s=_first_received_s(timeline),
        frame_interval_p99_ms=percentile(sorted(1000 * took_s for _, took_s in timeline.intervals), 99),
        sound=sound,
        texts=tuple(Text(entry.at_s, entry.text) for entry in texts),
        keys=tuple(Text(at_s, key) for at_s, key in keys_of(timeline.recording)),
        seen_by=str(meta.get("seen_by", "router")),
        heard=timeline.heard,
    )
    return replace(report, verdicts=verdicts_of(report), sentence=sentence(report))


def _said_and_heard(timeline: Timeline) -> Iterator[tuple[bytes, bytes]]:
    """What the caller said each time, and what was heard from then on until the caller spoke again."""
    audio_format, said = timeline.audio_format, timeline.utterances
    for utterance, after in zip_longest(said, said[1:]):
        from_s, until_s = utterance.start_s, after.start_s if after is not None else timeline.end_s
        ticks = (max(0, math.floor((at_s - timeline.begin_s) / audio_format.frame_s)) for at_s in (from_s, until_s))
        first, last = (tick * audio_format.frame_bytes for tick in ticks)
        yield utterance.speech, timeline.heard[first : last + audio_format.frame_bytes]


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """The smallest value that `percent` of all don't exceed; for the median of an even count the middle of two."""
    if not ascending:
        return None
    if percent == 50 and len(ascending) % 2 == 0:
        return (ascending[len(ascending) // 2 - 1] + ascending[len(ascending) // 2]) / 2
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def _lateness_s(sent_s: Sequence[float], frame_s: float) -> float:
    """How late the latest frame was: of those that went out at one time, the last was due at the tick before it."""
    latest_s = 0.0
    for at_s, together in groupby(sent_s):
        ticks_late = sum(1 for _ in together) - 1
        due_s = (math.floor(at_s / frame_s + 1e-6) - ticks_late) * frame_s
        latest_s = max(latest_s, at_s - due_s)
    return latest_s


def _first_received_s(timeline: Timeline) -> float | None:
    kinds = (Kind.AUDIO_FROM_SERVER, Kind.TEXT_FROM_SERVER)
    return next((entry.at_s for entry in timeline.recording.entries if entry.kind in kinds), None)
