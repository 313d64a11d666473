"""Where somebody's turn begins and ends, from frames, from the clock, and from what else is known. No I/O, no clock.

Times are seconds since the accept. A turn ends where the last voiced frame ended, however that becomes known: by frames
without voice, by time without frames, by a mute, or by the end of the call.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..audio.levels import LOUD_DBFS, is_loud
from ..errors import AudioConnectorConfigError
from ..formats import SAMPLE_BYTES
from .voice_activity import VoiceActivity

FRAME_S = 0.02
"""What comes is frames of 20 ms."""

SLACK_S = 0.2
"""A frame that comes so much later than the one before ended stands where it came: there was a hole. What is less is
the network's jitter. One that comes too early follows the one before: it was held up, or is quicker than real time."""

LATE_S = 0.06
"""So much later than the frames would tell it the clock tells that nobody speaks any more: they may be on their way."""

START_WINDOW_S = 0.3
"""Voiced frames within this time are one beginning."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody has begun to speak.

    Attributes:
        start_s: when, in seconds since the accept.
        at_s: when that was noticed.
    """

    start_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """Somebody has ended.

    Attributes:
        pcm: what was said, with `pre_roll_s` before it and `post_roll_s` behind it, as far as there is any: 16-bit mono
            PCM at `sample_rate_hz`.
        sample_rate_hz: of `pcm`.
        start_s: when the speech began, in seconds since the accept.
        end_s: when it ended; not, when that was noticed.
        at_s: when that was noticed.
        is_cut: it was cut at `max_turn_s`, and the next turn goes on where this one ends.
    """

    pcm: bytes = field(repr=False)
    sample_rate_hz: int
    start_s: float
    end_s: float
    at_s: float
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class SpeechPaused(SpeechEnded):
    """Somebody has paused, and may have ended: whoever knows says so with `TurnDetector.end`, or `wait`."""


@dataclass(frozen=True, slots=True)
class SpeechProgress:
    """Somebody goes on to speak.

    Attributes:
        pcm: what was said until now, as in `SpeechEnded`.
        sample_rate_hz: of `pcm`.
        start_s: when the speech began, in seconds since the accept.
        at_s: until when it is.
    """

    pcm: bytes = field(repr=False)
    sample_rate_hz: int
    start_s: float
    at_s: float


Turn = SpeechStarted | SpeechProgress | SpeechEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRules:
    """What a turn is.

    Attributes:
        min_speech_s: so much voice within 0.3 s (or one and a half times this) begins a turn; less is a click, a cough.
        min_level_dbfs: what is softer is no voice: the room, somebody further off, echo.
        pre_roll_s: so much of what was before belongs to a turn: speech begins softer than a detector hears.
        hang_over_s: so long without voice ends a turn.
        post_roll_s: so much of that belongs to it.
        max_turn_s: a longer turn is cut.
        patience_s: where a model tells the end (`asks`), so long without voice ends a turn in any case.
        progress_s: a `SpeechProgress` after each so much more of a turn; None: none.
        asks: after `hang_over_s` comes a `SpeechPaused`, and somebody has to tell whether that was the end.

    Raises:
        AudioConnectorConfigError: a value is wrong; the message names it.
    """

    min_speech_s: float = 0.1
    min_level_dbfs: float = LOUD_DBFS
    pre_roll_s: float = 0.3
    hang_over_s: float = 0.6
    post_roll_s: float = 0.2
    max_turn_s: float = 60.0
    patience_s: float = 3.0
    progress_s: float | None = None
    asks: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (
            ("min_speech_s", FRAME_S, 2.0),
            ("min_level_dbfs", -100.0, 0.0),
            ("pre_roll_s", 0.0, 5.0),
            ("hang_over_s", FRAME_S, 30.0),
            ("post_roll_s", 0.0, 5.0),
            ("max_turn_s", 1.0, 3600.0),
            ("patience_s", 0.1, 60.0),
            ("progress_s", 0.1, 60.0),
        ):
            value = getattr(self, name)
            if value is None and name == "progress_s":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise AudioConnectorConfigError(f"{name} must be {least:g} to {most:g}, not {value!r}")


@dataclass(slots=True)
class _Frame:
    pcm: bytes
    start_s: float
    is_voiced: bool


class TurnDetector:
    """Finds the turns of one stream.

    Args:
        voice: judges its frames.
        rules: what a turn is.
    """

    def __init__(self, voice: VoiceActivity, rules: TurnRules) -> None:
        self._voice = voice
        self._rules = rules
        window_s = max(START_WINDOW_S, 1.5 * rules.min_speech_s)
        self._window_frames = round(window_s / FRAME_S)
        self._start_frames = round(rules.min_speech_s / FRAME_S)
        self._recent: deque[_Frame] = deque(maxlen=round((window_s + rules.pre_roll_s) / FRAME_S))
        self._turn: list[_Frame] | None = None  # of the turn that goes on
        self._start_s = self._told_s = self._voiced_s = self._next_s = (
            0.0  # `_voiced_s`: where the last voiced frame ended
        )
        self._voiced_came_s = 0.0  # when that frame came
        self._rate_hz = 0
        self._is_paused = self._was_paused = False  # `_was_paused`: since then nobody has spoken

    @property
    def is_speaking(self) -> bool:
        """Whether a turn goes on."""
        return self._turn is not None

    @property
    def due_s(self) -> float | None:
        """When to call `tick`, if nothing comes until then; None while nobody speaks."""
        if self._turn is None:
            return None
        wait_s = self._rules.patience_s if self._was_paused else self._rules.hang_over_s
        return self._voiced_came_s + wait_s + LATE_S

    def audio(self, pcm: bytes, rate_hz: int, at_s: float) -> list[Turn]:
        """A frame came."""
        start_s = self._place(at_s)
        self._rate_hz = rate_hz
        # The detector hears all, because it gets used to what is in the room.
        size_bytes = round(rate_hz * FRAME_S) * SAMPLE_BYTES
        whole = pcm if len(pcm) == size_bytes else pcm[:size_bytes].ljust(size_bytes, b"\0")
        is_voiced = self._voice.is_speech(whole, rate_hz) and is_loud(whole, self._rules.min_level_dbfs)
        frame = _Frame(pcm, start_s, is_voiced)
        if self._turn is not None:
            return self._go_on(self._turn, frame, at_s)
        self._recent.append(frame)
        return self._begin(at_s) if is_voiced else []

    def tick(self, now_s: float) -> list[Turn]:
        """So late is it; whatever comes, comes later."""
        due_s = self.due_s
        return [] if due_s is None or now_s < due_s else self._pause(now_s)

    def end(self, at_s: float) -> list[Turn]:
        """The turn is over, if one goes on: the stream is muted, the call has ended, or a model says so."""
        if self._turn is None:
            return []
        ended = self._ended(at_s)
        self._turn, self._is_paused, self._was_paused = None, False, False
        self._recent.clear()
        return [ended]

    def wait(self) -> None:
        """Behind a `SpeechPaused`: that wasn't the end."""
        self._is_paused = False

    @property
    def is_paused(self) -> bool:
        """Whether a `SpeechPaused` waits to be answered; not where somebody has gone on to speak."""
        return self._is_paused

    @property
    def voiced_s(self) -> float:
        """Where the last voiced frame ended."""
        return self._voiced_s

    # Inside

    def _place(self, at_s: float) -> float:
        """Where on the time line a frame that came at `at_s` begins."""
        start_s = at_s - FRAME_S
        late_s = start_s - self._next_s
        is_idle = self._turn is None
        if late_s > SLACK_S:
            if is_idle:
                self._recent.clear()  # what was before a hole is no pre-roll
        elif late_s >= -SLACK_S or not is_idle or any(frame.is_voiced for frame in self._recent):
            start_s = self._next_s
        # Else the time line has run ahead of the clock: back to it, where nobody speaks.
        self._next_s = start_s + FRAME_S
        return start_s

    def _begin(self, at_s: float) -> list[Turn]:
        """The last frame is voiced: perhaps a turn begins."""
        recent = list(self._recent)
        window = max(0, len(recent) - self._window_frames)
        voiced = [number for number in range(window, len(recent)) if recent[number].is_voiced]
        if len(voiced) < self._start_frames:
            return []
        self._start_s = self._told_s = recent[voiced[0]].start_s
        self._voiced_s, self._voiced_came_s = self._next_s, at_s
        self._turn = recent[max(0, voiced[0] - round(self._rules.pre_roll_s / FRAME_S)) :]
        self._recent.clear()
        return [SpeechStarted(self._start_s, at_s)]

    def _go_on(self, turn: list[_Frame], frame: _Frame, at_s: float) -> list[Turn]:
        turn.append(frame)
        if frame.is_voiced:
            self._voiced_s, self._voiced_came_s = self._next_s, at_s
            self._is_paused = self._was_paused = False
        silent_s = self._next_s - self._voiced_s + FRAME_S / 2
        wait_s = self._rules.patience_s if self._was_paused else self._rules.hang_over_s
        if silent_s >= wait_s:
            return self._pause(at_s)
        if self._next_s - self._start_s >= self._rules.max_turn_s:
            return self._cut(at_s) if frame.is_voiced else self.end(at_s)
        progress_s = self._rules.progress_s
        if progress_s is not None and frame.is_voiced and self._next_s - self._told_s >= progress_s:
            self._told_s = self._next_s
            pcm = b"".join(one.pcm for one in turn)
            return [SpeechProgress(pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES], self._rate_hz, self._start_s, at_s)]
        return []

    def _pause(self, at_s: float) -> list[Turn]:
        """Nobody has spoken for so long."""
        if not self._rules.asks or self._was_paused:
            return self.end(at_s)
        self._is_paused = self._was_paused = True
        ended = self._ended(at_s)
        return [SpeechPaused(ended.pcm, ended.sample_rate_hz, ended.start_s, ended.end_s, at_s)]

    def _cut(self, at_s: float) -> list[Turn]:
        """In the middle of speech: the next turn goes on where this one ends."""
        ended = self._ended(at_s, is_cut=True)
        self._turn, self._start_s, self._told_s = [], self._voiced_s, self._voiced_s
        return [ended, SpeechStarted(self._start_s, at_s)]

    def _ended(self, at_s: float, *, is_cut: bool = False) -> SpeechEnded:
        frames = self._turn or []
        last = max((number for number, frame in enumerate(frames, 1) if frame.is_voiced), default=0)
        keep = last + (0 if is_cut else round(self._rules.post_roll_s / FRAME_S))
        pcm = b"".join(frame.pcm for frame in frames[:keep])
        return SpeechEnded(
            pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES], self._rate_hz, self._start_s, self._voiced_s, at_s, is_cut
        )
