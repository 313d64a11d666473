"""What a call was like, in numbers. Every one is counted from what really went out and came in."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from ...formats import AudioFormat
from ..form import TransportName
from .ending import Closer, Outcome
from .hole import Hole
from .sound import Sound
from .turns import Answer, Interruption
from .verdict import Verdict


@dataclass(frozen=True, slots=True)
class Text:
    """A text, or a key, and when it was sent."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    """What a call was like, and what a participant heard.

    Times are seconds from the accept of the connection.

    Attributes:
        outcome: `answered`; `no answer`, a server that only listens; `limit`, an answer without end; `server closed`;
            `connection lost`, without a close frame; `protocol error`, of the server; `not connected`; `open`, of a
            recording that ends before the call.
        error: what was wrong with the connection, as a sentence; None where nothing was.
        close_code: the WebSocket close code; 1006 where the connection was lost; None where there was none.
        close_reason: the reason beside it.
        closed_by: who closed; None where nobody did.
        rate_hz: the sample rate of the call.
        frame_ms: how long a frame of it lasted.
        transport: how the audio came and went: `binary` messages, or `json` texts.
        duration_s: from the accept to the end.
        frames_sent: frames of the question and of the silence after it.
        send_lateness_max_ms: how late the latest of them was. Where it is large, the simulator's own machine was busy,
            or the server did not read: judge nothing else by this call.
        frames_received: audio messages of the server in the transport of the call.
        frames_heard: how many of them were played.
        heard_s: seconds of audio that were played.
        unheard_s: seconds of audio that still waited when the call ended.
        gaps: holes inside speech, up to 1 s long, or up to 3 s with speech on both sides; none that was asked for.
            Each with its cause, where it is known.
        pauses: all other holes between two stretches of audio, the cleared ones among them.
        furthest_ahead_s, buffer_max_s: how far ahead of real time the server was at the most: how long the audio in
            the router's buffer would have lasted.
        overflow_frames: frames that were dropped because the router's buffer was full.
        wrong_size_frames: audio messages that were not exactly one frame.
        wrong_transport_frames: messages with audio in another form than the transport's: a binary one instead of a
            JSON text, or the other way round; a text with the audio in another field, or with no base64 of whole
            samples in it. Nothing of them was played.
        fragmented_messages: messages that came in several WebSocket frames, which a router drops, all but the lenient
            one.
        clears: clear commands.
        cleared_frames: frames that they took back.
        texts_received: text messages without audio, clear commands included.
        question_end_s: when the last loud frame of all that was said had been said; None where nothing loud was.
        answer_after_s: from there to the first loud frame that was played after it; None if there was none.
        same_as_question: the best normalised cross-correlation of the question's speech with what was heard from its
            beginning until the caller spoke again; of several, the worst. None if it was not asked for, or there is no
            speech in the question.
        sentence: all of it in one sentence.
        verdicts: one for each rule.
        greeting_s: when something was heard before the caller's first word; None: nothing was, or the recording does
            not begin with the call.
        answers: for each thing said, how soon it was answered.
        answer_p50_s, answer_p95_s, answer_max_s: the median, the 95th percentile and the slowest of those that were
            answered; None: none was.
        interruptions: for each, how soon the loudspeaker was silent.
        first_received_s: when the first message of the server came; None: none did.
        frame_interval_p99_ms: the 99th percentile of the time between two audio messages of the server, pauses left
            out; None: there were fewer than two.
        sound: what is wrong with the sound of it.
        texts: the texts of the server without audio, with their times.
        keys: the keys that were pressed, with their times.
        seen_by: `router` or `server`, whoever recorded the call. Where the server did, what was heard is what a router
            that obeys the clear commands has played.
        heard: what a participant heard, silence included, from the accept, or from the beginning of the recording where
            that is later; 16-bit mono PCM.
    """

    outcome: Outcome
    error: str | None
    close_code: int | None
    close_reason: str
    closed_by: Closer | None
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
    fragmented_messages: int = 0
    sentence: str = ""
    verdicts: tuple[Verdict, ...] = ()
    greeting_s: float | None = None
    answers: tuple[Answer, ...] = ()
    answer_p50_s: float | None = None
    answer_p95_s: float | None = None
    answer_max_s: float | None = None
    interruptions: tuple[Interruption, ...] = ()
    first_received_s: float | None = None
    frame_interval_p99_ms: float | None = None
    sound: Sound = field(default_factory=Sound)
    texts: tuple[Text, ...] = ()
    keys: tuple[Text, ...] = ()
    seen_by: str = "router"
    heard: bytes = field(repr=False)

    @property
    def buffer_max_s(self) -> float:
        """The same as `furthest_ahead_s`."""
        return self.furthest_ahead_s

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
        if self.fragmented_messages:
            found.append(f"{self.fragmented_messages} of the server's messages came in several WebSocket frames")
        if self.overflow_frames:
            found.append(f"{self.overflow_frames} frames were dropped because the router's buffer was full")
        return tuple(found)

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """All of it but `heard`, in values that JSON can express; seconds to the tenth of a millisecond."""
        values = _plain(self)
        assert isinstance(values, dict)
        more = {"gap_ms": self.gap_ms, "buffer_max_s": values["furthest_ahead_s"]}
        return {"ok": self.ok, "problems": list(self.problems), **values, **more}


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value) if entry.repr}
    return value
