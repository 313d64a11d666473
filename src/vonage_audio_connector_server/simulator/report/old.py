"""The report of a call as it is made from a live router. It goes when the simulator makes recordings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ..form import TransportName
from ..loudness import loud_ticks
from ..router import Router
from .ending import Ending
from .hole import holes_of
from .report import SimulationReport


def build_report(
    peer: Router,
    ending: Ending,
    *,
    question_loud: Sequence[int],
    transport: TransportName = "binary",
    duration_s: float = 0.0,
    frames_sent: int = 0,
    send_lateness_max_s: float = 0.0,
    wrong_transport_frames: int = 0,
    texts_received: int = 0,
    same_as_question: float | None = None,
) -> SimulationReport:
    """The report of a call that is over: `peer` has played up to its end, `question_loud` are the loud ticks sent."""
    audio_format = peer.audio_format
    frames_heard = sum(run.ticks for run in peer.runs)
    heard_loud = loud_ticks(peer.heard, audio_format)
    gaps, pauses = holes_of(peer, set(heard_loud))
    question_end_s = answer_after_s = None
    if question_loud:
        question_end_s = question_loud[-1] * audio_format.frame_s
        answer = bisect_right(heard_loud, question_loud[-1])
        if answer < len(heard_loud):
            answer_after_s = (heard_loud[answer] - question_loud[-1]) * audio_format.frame_s
    return SimulationReport(
        outcome=ending.outcome,
        error=ending.error,
        close_code=ending.close_code,
        close_reason=ending.close_reason,
        closed_by=ending.closed_by,
        rate_hz=audio_format.rate_hz,
        frame_ms=audio_format.frame_ms,
        transport=transport,
        duration_s=duration_s,
        frames_sent=frames_sent,
        send_lateness_max_ms=send_lateness_max_s * 1000,
        frames_received=peer.frames_received,
        frames_heard=frames_heard,
        heard_s=frames_heard * audio_format.frame_s,
        unheard_s=peer.buffered_s,
        gaps=gaps,
        pauses=pauses,
        furthest_ahead_s=peer.furthest_ahead_s,
        overflow_frames=peer.overflowed,
        wrong_size_frames=peer.wrong_size,
        wrong_transport_frames=wrong_transport_frames,
        clears=peer.clears,
        cleared_frames=peer.cleared_frames,
        texts_received=texts_received,
        question_end_s=question_end_s,
        answer_after_s=answer_after_s,
        same_as_question=same_as_question,
        heard=bytes(peer.heard),
    )
