"""What a simulated call was like. Every number is counted from what really went out and came in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ..formats import AudioFormat
from .form import TransportName
from .loudness import loud_ticks
from .router import Router

Outcome = Literal[
    "answered",
    "no answer",
    "limit",
    "server closed",
    "connection lost",
    "protocol error",
    "not connected",
]

GAP_S = 1.0
"""A hole up to this long is a gap; a longer one is a pause between two utterances."""

GAP_IN_SPEECH_S = 3.0
"""A hole up to this long is a gap if it is loud on both of its sides: nobody stops in the middle of a word."""

_SIDE_MS = 100  # how far from a hole its sides reach


@dataclass(frozen=True, slots=True)
class Hole:
    """A time without audio between two stretches of it.

    Attributes:
        at_s: when it began, in seconds from the start of the call.
        ms: how long it lasted.
        cleared: whether the server asked for it, by a clear command.
    """

    at_s: float
    ms: int
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended.

    Attributes:
        outcome: why it ended.
        error: what was wrong, as a sentence; None where nothing was.
        close_code: the WebSocket close code; 1006 where the connection was lost; None where there was none.
        close_reason: the reason beside it.
        closed_by: who closed; None where nobody did.
    """

    outcome: Outcome
    error: str | None = None
    close_code: int | None = None
    close_reason: str = ""
    closed_by: Literal["server", "simulator"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    """What a simulated call was like, and what a participant heard.

    Attributes:
        outcome: `answered`; `no answer`, a server that only listens; `limit`, an answer without end; `server closed`;
            `connection lost`, without a close frame; `protocol error`, of the server; `not connected`.
        error: what was wrong with the connection, as a sentence; None where nothing was.
        close_code: the WebSocket close code; 1006 where the connection was lost; None where there was none.
        close_reason: the reason beside it.
        closed_by: who closed; None where nobody did.
        rate_hz: the sample rate of the call.
        frame_ms: how long a frame of it lasted.
        transport: how the audio came and went: `binary` messages, or `json` texts.
        duration_s: from the first frame sent to the end.
        frames_sent: frames of the question and of the silence after it.
        send_lateness_max_ms: how late the latest of them was. Where it is large, the simulator's own machine was busy,
            or the server did not read: judge nothing else by this call.
        frames_received: audio messages of the server in the transport of the call.
        frames_heard: how many of them were played.
        heard_s: seconds of audio that were played.
        unheard_s: seconds of audio that still waited when the call ended.
        gaps: holes inside speech, up to 1 s long, or up to 3 s with speech on both sides; none that was asked for.
        pauses: all other holes between two stretches of audio, the cleared ones among them.
        furthest_ahead_s: how far ahead of real time the server was at the most.
        overflow_frames: frames that were dropped because the router's buffer was full.
        wrong_size_frames: audio messages that were not exactly one frame.
        wrong_transport_frames: messages with audio in another form than the transport's: a binary one instead of a
            JSON text, or the other way round; a text with the audio in another field, or with no base64 of whole
            samples in it. Nothing of them was played.
        clears: clear commands.
        cleared_frames: frames that they took back.
        texts_received: text messages without audio, clear commands included.
        question_end_s: when the last loud frame of the question went out; None for a question without one.
        answer_after_s: from there to the first loud frame that was played after it; None if there was none.
        same_as_question: the best normalised cross-correlation of the question's speech with what was heard; None if
            it was not asked for, or there is no speech in the question.
        heard: what a participant heard, silence included, from the first frame sent; 16-bit mono PCM.
    """

    outcome: Outcome
    error: str | None
    close_code: int | None
    close_reason: str
    closed_by: Literal["server", "simulator"] | None
    rate_hz: int
    frame_ms: int
    transport: TransportName
    duration_s: float
    frames_sent: int
    send_lateness_max_ms: float
    frames_received: int
    frames_heard: int
    heard_s: float
    unheard_s: float
    gaps: tuple[Hole, ...]
    pauses: tuple[Hole, ...]
    furthest_ahead_s: float
    overflow_frames: int
    wrong_size_frames: int
    wrong_transport_frames: int
    clears: int
    cleared_frames: int
    texts_received: int
    question_end_s: float | None
    answer_after_s: float | None
    same_as_question: float | None
    heard: bytes = field(repr=False)

    @property
    def gap_ms(self) -> int:
        """How long all gaps are together."""
        return sum(gap.ms for gap in self.gaps)

    @property
    def problems(self) -> tuple[str, ...]:
        """What a server must not do, and what kept the call from working, as sentences. Gaps are not among them."""
        found = [self.error] if self.error else []
        if self.wrong_size_frames:
            wanted_bytes = AudioFormat(self.rate_hz, self.frame_ms).frame_bytes
            found.append(f"{self.wrong_size_frames} of the server's frames were not {wanted_bytes} bytes long")
        if self.wrong_transport_frames:
            agreed = "binary messages" if self.transport == "binary" else "JSON texts with base64 in the agreed field"
            found.append(f"{self.wrong_transport_frames} of the server's messages carried audio, but not as {agreed}")
        if self.overflow_frames:
            found.append(f"{self.overflow_frames} frames were dropped because the router's buffer was full")
        return tuple(found)

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """All of it but `heard`, in values that JSON can express; seconds to the tenth of a millisecond."""
        values = {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self) if entry.name != "heard"}
        return {"ok": self.ok, "problems": list(self.problems), **values, "gap_ms": self.gap_ms}


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
    gaps, pauses = _holes(peer, set(heard_loud))
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


def _holes(peer: Router, loud: set[int]) -> tuple[tuple[Hole, ...], tuple[Hole, ...]]:
    """The gaps and the pauses between what was played."""
    frame_s, frame_ms = peer.audio_format.frame_s, peer.audio_format.frame_ms
    side_ticks = _SIDE_MS // frame_ms
    gaps: list[Hole] = []
    pauses: list[Hole] = []
    for before, after in zip(peer.runs, peer.runs[1:], strict=False):
        start = before.start + before.ticks
        ticks = after.start - start
        if not ticks:  # the answer to a clear came at once
            continue
        in_speech = not loud.isdisjoint(range(start - side_ticks, start)) and not loud.isdisjoint(
            range(after.start, after.start + side_ticks)
        )
        longest_ms = (GAP_IN_SPEECH_S if in_speech else GAP_S) * 1000
        is_gap = not before.cleared and ticks * frame_ms <= longest_ms
        (gaps if is_gap else pauses).append(Hole(start * frame_s, ticks * frame_ms, before.cleared))
    return tuple(gaps), tuple(pauses)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, tuple):
        return [{"at_s": _plain(hole.at_s), "ms": hole.ms, "cleared": hole.cleared} for hole in value]
    return value
