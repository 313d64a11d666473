"""Our side of one connection: what to send, and when. No I/O, no clock.

The caller feeds what arrives (`receive_text`, `receive_bytes`) and what its user wants sent (`queue_audio`,
`queue_text`, `clear`), then asks `poll(now_s)` and does what it says:

    Send(payloads)   take them from the left, write each as one message, poll again
    Wait(until_s)    nothing is due before that time
    Idle()           nothing is queued

Whoever writes takes one payload at a time from the deque of `Send`, so that `clear` can still take back what a
blocked socket has not accepted. All times are seconds on the caller's monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import AudioConnectorAudioError
from ..models import FRAME_MS, SAMPLE_BYTES, AudioFormat
from .framing import Framer
from .pacing import DEFAULT_LEAD_S, MIN_LEAD_S, Pacer
from .wire import DEFAULT_CLEAR_COMMANDS, Connected, Event, parse_text

FORMAT_WAIT_S = 1.0
"""How long after the accept the format may stay unknown before the configured one is assumed."""

REMAINDER_WAIT_S = 0.2
"""How long part of a frame waits for the rest where its source is live, that is, not ahead of the listener."""

_AHEAD_S = REMAINDER_WAIT_S / 2  # a source this far ahead of the listener is not live
_REMAINDER_MARGIN_S = MIN_LEAD_S  # two frames: a remainder that is sent at the moment of its turn is heard too late
_PAUSE_S = 1.0  # a listener who was dry for longer heard a pause, not a gap


@dataclass(frozen=True, slots=True)
class Send:
    """Write these now, from the left, each as one message: `bytes` is an audio frame, `str` a text."""

    payloads: deque[bytes | str]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due before `until_s`."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is queued."""


Action = Send | Wait | Idle
_IDLE = Idle()


class Session:
    """What one connection has to send and when, and what it has received.

    Args:
        now_s: the time of the accept.
        assumed_format: the format where neither the peer nor the caller names one.
        lead_s: how far ahead of real time audio is sent.
        clear_commands: the texts that tell the router to forget what it has queued.
    """

    __slots__ = (
        "_assumed_format",
        "_batch_samples",
        "_clear_commands",
        "_connected",
        "_early",
        "_format_stated",
        "_frame_ms",
        "_framer",
        "_frames",
        "_live",
        "_outbox",
        "_pacer",
        "_queued_at_s",
        "_queued_bytes",
        "_send",
        "audio_format",
        "bytes_in",
        "bytes_out",
        "custom",
        "dropped_out_samples",
        "flushes",
        "format_due_s",
        "frames_in",
        "frames_out",
        "odd_frames_in",
        "texts_in",
        "texts_out",
        "underruns",
    )

    def __init__(
        self,
        now_s: float,
        *,
        assumed_format: AudioFormat | None = None,
        lead_s: float = DEFAULT_LEAD_S,
        clear_commands: Sequence[str] = DEFAULT_CLEAR_COMMANDS,
    ) -> None:
        self.audio_format: AudioFormat | None = None
        self.custom: Mapping[str, Any] = {}
        self.format_due_s = now_s + FORMAT_WAIT_S
        self.frames_in = self.bytes_in = self.texts_in = self.odd_frames_in = 0
        self.frames_out = self.bytes_out = self.texts_out = 0
        self.underruns = self.flushes = self.dropped_out_samples = 0
        self._assumed_format = assumed_format or AudioFormat()
        self._connected = False  # the first message has come
        self._format_stated = False  # by the peer; what a caller or the configuration said can still be corrected
        self._clear_commands = tuple(clear_commands)
        self._framer = Framer()
        self._pacer = Pacer(self._assumed_format.rate_hz, lead_s)
        self._early: list[tuple[bytes, int, bool]] = []  # (pcm, frame_ms, end) queued before the format was known
        self._frames: deque[bytes] = deque()
        self._outbox: deque[bytes | str] = deque()
        self._send = Send(self._outbox)
        self._queued_bytes = 0  # in _frames, and in _early
        self._batch_samples = 0  # moved to the outbox by the last poll
        self._frame_ms = FRAME_MS  # of the audio that was last queued
        self._queued_at_s = now_s  # when it was
        self._live = True  # whether its source was not ahead of the listener then

    # What arrives

    def receive_text(self, text: str) -> Event:
        """Take a text message of the peer; the first one tells the format and the custom keys."""
        self.texts_in += 1
        event = parse_text(text, connected=self._connected)
        if isinstance(event, Connected):
            self._connected = True
            self.custom = event.custom
            if event.audio_format is not None:
                self._format_stated = True
                self._adopt(event.audio_format)
        return event

    def receive_bytes(self, pcm: bytes) -> None:
        """Take a binary message of the peer: one frame of audio. It tells the format where no text did."""
        self.frames_in += 1
        size_bytes = len(pcm)
        self.bytes_in += size_bytes
        if not self._format_stated:
            heard_format = AudioFormat.from_frame_bytes(size_bytes)
            if heard_format is not None:
                self._format_stated = True
                self._adopt(heard_format)
        if self.audio_format is None or size_bytes != self.audio_format.frame_bytes:
            self.odd_frames_in += 1

    # What the user wants sent

    def queue_text(self, text: str) -> None:
        """Send a text ahead of all audio that is not on its way yet."""
        self._outbox.append(text)
        self.texts_out += 1

    def queue_audio(
        self,
        pcm: bytes,
        now_s: float,
        *,
        frame_bytes: int | None = None,
        frame_ms: int = FRAME_MS,
        end: bool = False,
        flush: bool = False,
    ) -> None:
        """Queue whole samples of PCM behind what is queued; `end` pads the last frame with silence now.

        `flush` does what `clear` does first, in the same step, once the audio is known to be playable.

        Without `end`, what is left of the last frame waits for the next call. Where none comes, it goes out padded in
        time for its turn to be played. A live source, which is never ahead, has `REMAINDER_WAIT_S` instead: padding
        would put silence into its middle.

        Raises:
            AudioConnectorAudioError: `frame_bytes` and `frame_ms` don't describe the connection's rate.
        """
        audio_format = self._format_of(frame_bytes, frame_ms)
        if flush:
            self.clear()
        if pcm:
            self._queued_at_s = now_s
        if audio_format is None:
            self._early.append((pcm, frame_ms, end))
            self._queued_bytes += len(pcm)
            return
        self._frame_ms = frame_ms
        frame_bytes = self._frame_bytes(audio_format)
        frames = self._framer.push(pcm, frame_bytes)
        if end:
            frames += self._framer.flush(frame_bytes)
        self._frames.extend(frames)
        self._queued_bytes += len(frames) * frame_bytes
        if pcm:
            self._live = self.ahead_s(now_s) + self._seconds(self._queued_bytes) < _AHEAD_S

    def clear(self) -> float:
        """The barge-in, in one step: drop all queued audio, forget the schedule, send the clear commands.

        Returns the seconds of audio that were dropped. Audio that is queued afterwards is due at once.
        """
        dropped_s = self.drop_audio()
        if tuple(self._outbox)[-len(self._clear_commands) :] != self._clear_commands:  # else they wait already
            for command in self._clear_commands:
                self.queue_text(command)
        self.flushes += 1
        return dropped_s

    def drop_audio(self) -> float:
        """Drop all audio that the socket has not accepted; returns its seconds. Texts stay queued."""
        dropped_bytes = sum(map(len, self._take_back()))
        self._pacer.reset()
        self.dropped_out_samples += dropped_bytes // SAMPLE_BYTES
        return self._seconds(dropped_bytes)

    # What to do now

    def poll(self, now_s: float) -> Action:
        """Say what is to be done now. Frames that are due move into the deque of `Send` and count as sent."""
        if self._outbox:
            return self._send
        if self._batch_samples:  # it has just been written, perhaps to a socket that was blocked
            self._pacer.held_up(self._batch_samples, now_s)
            self._batch_samples = 0
        if self._early and now_s >= self.format_due_s:
            self.assume_format()
        if self._frames or (self._framer.remainder_bytes and now_s >= self._remainder_due_s()):
            self._take_due(now_s)
        if self._outbox:
            return self._send
        if self._frames:
            return Wait(self._pacer.due_s)
        if self._framer.remainder_bytes:
            return Wait(self._remainder_due_s())
        return Wait(self.format_due_s) if self._early else _IDLE

    def assume_format(self) -> AudioFormat:
        """Settle on the configured format if none is known by now; return the one that holds."""
        if self.audio_format is None:
            self._adopt(self._assumed_format)
        assert self.audio_format is not None
        return self.audio_format

    @property
    def lead_s(self) -> float:
        """How far ahead of real time audio is sent; may be changed at any time."""
        return self._pacer.lead_s

    @lead_s.setter
    def lead_s(self, lead_s: float) -> None:
        self._pacer.lead_s = lead_s

    @property
    def has_unsent(self) -> bool:
        """Whether payloads are to be written at once."""
        return bool(self._outbox)

    @property
    def queued_s(self) -> float:
        """Seconds of audio that wait to be sent, the remainder included."""
        return self._seconds(self._queued_bytes + self._framer.remainder_bytes)

    @property
    def dropped_out_s(self) -> float:
        """Seconds of queued audio that were dropped before they went out."""
        return self.dropped_out_samples / self._pacer.rate_hz

    def ahead_s(self, now_s: float) -> float:
        """Seconds of audio that went out and can't have been heard yet."""
        return max(0.0, self._pacer.position_s - now_s)

    # Inside

    def _seconds(self, size_bytes: int) -> float:
        return size_bytes / SAMPLE_BYTES / self._pacer.rate_hz

    def _frame_bytes(self, audio_format: AudioFormat) -> int:
        return audio_format.rate_hz * self._frame_ms // 1000 * SAMPLE_BYTES

    def _remainder_due_s(self) -> float:
        """When the remainder goes out padded, all frames before it being sent."""
        due_s = self._pacer.position_s - _REMAINDER_MARGIN_S
        return max(due_s, self._queued_at_s + REMAINDER_WAIT_S) if self._live else due_s

    def _take_due(self, now_s: float) -> None:
        budget_samples = self._pacer.budget_samples(now_s)
        if not budget_samples:
            return
        frames, outbox = self._frames, self._outbox
        if not frames:  # only the remainder is left, and nobody brought the rest in time
            assert self.audio_format is not None
            frames.extend(self._framer.flush(self._frame_bytes(self.audio_format)))
            self._queued_bytes += sum(map(len, frames))
        taken_bytes = taken_frames = 0
        budget_bytes = budget_samples * SAMPLE_BYTES
        while frames and taken_bytes + len(frames[0]) <= budget_bytes:
            frame = frames.popleft()
            taken_bytes += len(frame)
            taken_frames += 1
            outbox.append(frame)
        self._queued_bytes -= taken_bytes
        self.frames_out += taken_frames
        self.bytes_out += taken_bytes
        self._batch_samples = taken_bytes // SAMPLE_BYTES
        dry_s = self._pacer.sent(self._batch_samples, now_s)
        if FRAME_MS / 1000 <= dry_s <= _PAUSE_S:
            self.underruns += 1

    def _format_of(self, frame_bytes: int | None, frame_ms: int) -> AudioFormat | None:
        """The connection's format, if what the caller says of its frames agrees with it; None: not known yet."""
        if frame_bytes is not None and type(frame_bytes) is not int:
            raise AudioConnectorAudioError(f"bytes_per_sample={frame_bytes!r}: a frame is a whole number of bytes")
        if type(frame_ms) is not int or frame_ms not in (10, 20):
            raise AudioConnectorAudioError(f"frames_ms={frame_ms!r}: a frame lasts 20 or 10 milliseconds")
        known = self.audio_format
        if frame_bytes is None:
            return known
        rate_hz = frame_bytes * 1000 / (frame_ms * SAMPLE_BYTES)
        if known is None:
            named = AudioFormat.from_rate(int(rate_hz)) if rate_hz.is_integer() else None
            if named is None:
                raise AudioConnectorAudioError(
                    f"bytes_per_sample={frame_bytes} with frames_ms={frame_ms} is {rate_hz:g} Hz, which is no rate of "
                    "the Audio Connector. It is the bytes of one frame: 320 at 8 kHz, 640 at 16 kHz, 960 at 24 kHz "
                    "for 20 ms"
                )
            self._adopt(named)
            return named
        if rate_hz != known.rate_hz:
            fits_bytes = known.rate_hz * frame_ms // 1000 * SAMPLE_BYTES
            raise AudioConnectorAudioError(
                f"bytes_per_sample={frame_bytes} with frames_ms={frame_ms} is {rate_hz:g} Hz, but this connection "
                f"carries {known.rate_hz} Hz: pass bytes_per_sample={fits_bytes}, or leave it out"
            )
        return known

    def _adopt(self, audio_format: AudioFormat) -> None:
        """Take this format from now on. Audio that was cut for another one and has not gone out is cut anew."""
        if audio_format == self.audio_format:
            return
        early, self._early = self._early, []
        waiting, frame_ms = self._take_back(), self._frame_ms
        self.audio_format = audio_format
        self._pacer.change_rate(audio_format.rate_hz)
        for pcm in waiting:
            self.queue_audio(pcm, self._queued_at_s, frame_ms=frame_ms)
        for pcm, frame_ms, end in early:
            self.queue_audio(pcm, self._queued_at_s, frame_ms=frame_ms, end=end)

    def _take_back(self) -> list[bytes]:
        """Empty all queues of audio, and return it in order; texts stay in the outbox."""
        unsent = [payload for payload in self._outbox if isinstance(payload, bytes)]
        unsent_bytes = sum(map(len, unsent))
        self.frames_out -= len(unsent)
        self.bytes_out -= unsent_bytes
        self._pacer.unsent(unsent_bytes // SAMPLE_BYTES)
        self._batch_samples = 0
        texts = [payload for payload in self._outbox if isinstance(payload, str)]
        self._outbox.clear()
        self._outbox.extend(texts)
        waiting = [*unsent, *self._frames, self._framer.clear(), *(pcm for pcm, _, _ in self._early)]
        self._frames.clear()
        self._early.clear()
        self._queued_bytes = 0
        return waiting
