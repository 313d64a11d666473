"""Our side of one connection: what came, what is to be sent, and when. No I/O, no clock.

The caller feeds what arrives (`receive_text`, `receive_bytes`) and what its user wants sent (`queue_audio`,
`queue_text`, `notify`, `clear`, `pause`, `resume`), then asks `poll(now_s)` and does what it says:

    Send(payloads)   take them from the left, write each as one message, poll again
    Wait(until_s)    nothing is due before that time
    Idle()           nothing is queued

Whoever writes takes one payload at a time from the deque of `Send`, so that `clear` can still take back what a
blocked socket has not accepted. All times are seconds on the caller's monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import AudioConnectorFullError
from ..models import FRAME_MS, SAMPLE_BYTES, AudioFormat
from ..outcomes import FlushResult
from .events import Audio, Cleared, Connected, Event, Notified
from .frame_format import named_format
from .gaps import Blocked
from .ledger import Mark
from .outbound import Outbound
from .pacing import DEFAULT_LEAD_S
from .transport import JSONTransport
from .wire import DEFAULT_CLEAR_COMMANDS, load_object, notify_command, read_object

FORMAT_WAIT_S = 1.0
"""How long after the accept the format may stay unknown before the configured one is assumed."""

MAX_QUEUED_S = 120.0
"""Audio that waits to be sent: two minutes are more than any answer; 3.8 MB at 16 kHz."""

WhenFull = Literal["wait", "raise", "drop_oldest"]

_PLAYBACK = "vonage_audio_connector_server.playback"  # the key of our own notify payloads


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


def _never_blocked(start_s: float, end_s: float) -> bool:
    return False


class Session:
    """What one connection has to send and when, and what it has received.

    Args:
        now_s: the time of the accept.
        assumed_format: the format where neither the peer nor the caller names one.
        lead_s: how far ahead of real time audio is sent.
        clear_commands: the texts that tell the router to forget what it has queued.
        transport: how audio travels: as binary messages, as JSON texts, or `auto`, as the first frame of the peer does.
        max_queued_s: how much audio may wait to be sent.
        when_full: what happens beyond: the caller waits (its affair: see `is_full`), an error, or the oldest goes.
        blocked: whether the event loop was blocked between two times; tells the causes of gaps apart.
    """

    __slots__ = (
        "_asked",
        "_assumed_format",
        "_awaited",
        "_clear_commands",
        "_connected",
        "_early",
        "_early_at_s",
        "_early_bytes",
        "_early_notices",
        "_format_stated",
        "_frame_bytes",
        "_max_queued_bytes",
        "_max_queued_s",
        "_receives",
        "_send",
        "_transport_settled",
        "_when_full",
        "audio_format",
        "bytes_in",
        "clears_acknowledged",
        "custom",
        "flushes",
        "format_due_s",
        "frames_in",
        "odd_frames_in",
        "out",
        "sends",
        "texts_in",
        "texts_out",
    )

    def __init__(
        self,
        now_s: float,
        *,
        assumed_format: AudioFormat | None = None,
        lead_s: float = DEFAULT_LEAD_S,
        clear_commands: Sequence[str] = DEFAULT_CLEAR_COMMANDS,
        transport: Literal["auto", "binary"] | JSONTransport = "auto",
        max_queued_s: float = MAX_QUEUED_S,
        when_full: WhenFull = "wait",
        blocked: Blocked = _never_blocked,
    ) -> None:
        self.audio_format: AudioFormat | None = None
        self._frame_bytes = -1  # of the audio format, once it is known
        self.custom: Mapping[str, Any] = {}
        self.format_due_s = now_s + FORMAT_WAIT_S
        self.frames_in = self.bytes_in = self.texts_in = self.odd_frames_in = 0
        self.texts_out = self.flushes = self.clears_acknowledged = 0
        self._assumed_format = assumed_format or AudioFormat()
        self.out = Outbound(now_s, self._assumed_format.rate_hz, lead_s, blocked)
        self.sends: JSONTransport | None = transport if isinstance(transport, JSONTransport) else None
        self._receives = JSONTransport() if transport == "auto" else self.sends
        self._transport_settled = transport != "auto"
        self._connected = False  # the first message has come
        self._format_stated = False  # by the peer; what a caller or the configuration said can still be corrected
        self._clear_commands = tuple(clear_commands)
        self._max_queued_s = max_queued_s
        self._max_queued_bytes = round(max_queued_s * self._assumed_format.rate_hz) * SAMPLE_BYTES
        self._when_full = when_full
        self._early: list[tuple[bytes, int, bool]] = []  # (pcm, frame_ms, end), before the format came
        self._early_notices: list[tuple[int, str]] = []  # (how much of what was taken they follow, text)
        self._early_bytes, self._early_at_s = 0, now_s
        self._awaited: dict[int, Mark] = {}  # whose end the router was asked to acknowledge
        self._asked = 0  # how often it was: an answer that comes late must not be taken for another mark's
        self._send = Send(self.out.outbox)

    # What arrives

    def receive_text(self, text: str) -> Event:
        """Take a text message of the peer; the first one tells the format and the custom keys."""
        data = load_object(text)
        if data is not None and self._receives is not None and self._receives.carries_audio(data):
            pcm = self._receives.decode(data)
            if pcm is not None:
                if not self._transport_settled:
                    self._transport_settled, self.sends = True, self._receives
                self._receive_frame(pcm)
                return Audio(pcm)
            self.odd_frames_in += 1
        self.texts_in += 1
        event = read_object(text, data, connected=self._connected)
        if isinstance(event, Connected):
            self._connected = True
            self.custom = event.custom
            if event.audio_format is not None:
                self._format_stated = True
                self._adopt(event.audio_format)
        elif isinstance(event, Cleared):
            self.clears_acknowledged += 1
        elif isinstance(event, Notified) and isinstance(event.payload, dict):
            number = event.payload.get(_PLAYBACK)
            if type(number) is int and number in self._awaited:
                self._awaited.pop(number).acknowledged = True
        return event

    def receive_bytes(self, pcm: bytes) -> bool:
        """Take a binary message of the peer: one frame of audio. It tells the format where no text did.

        Returns whether the format has become known by it, or another one.
        """
        if not self._transport_settled:
            self._transport_settled, self._receives = True, None
        return self._receive_frame(pcm)

    # What the user wants sent

    def queue_text(self, text: str) -> None:
        """Send a text ahead of all audio that is not on its way yet."""
        self.out.outbox.append(text)
        self.texts_out += 1

    def queue_audio(
        self,
        pcm: bytes,
        now_s: float,
        frame_bytes: int | None = None,
        frame_ms: int = FRAME_MS,
        *,
        end: bool = False,
        flush: bool = False,
    ) -> Mark:
        """Queue whole samples of PCM behind what is queued; `end` pads the last frame with silence now.

        `flush` does what `clear` does first, in the same step, once the audio is known to be playable.

        Without `end`, what is left of the last frame waits for the next call. Where none comes, it goes out padded in
        time for its turn to be played. A live source, which is never ahead, has `REMAINDER_WAIT_S` instead: padding
        would put silence into its middle.

        Raises:
            AudioConnectorAudioError: `frame_bytes` and `frame_ms` don't describe the connection's rate.
            AudioConnectorFullError: too much audio waits, and `when_full` is `raise`.
        """
        audio_format = self.audio_format
        if frame_bytes is not None or frame_ms is not FRAME_MS:  # 20.0 is refused, too
            audio_format = named_format(audio_format, frame_bytes, frame_ms)
            if audio_format is not None and self.audio_format is None:
                self._adopt(audio_format)
        if flush:
            self.clear(now_s)
        elif self._when_full == "raise" and self.is_full:
            raise AudioConnectorFullError(
                f"{self.queued_s:.1f} s of audio wait to be sent, {self._max_queued_s:g} are allowed: send more later, "
                "or let send_audio_buffer wait (when_full='wait')"
            )
        mark = self.out.ledger.take(len(pcm) // SAMPLE_BYTES)
        if audio_format is None:
            self._early.append((pcm, frame_ms, end))
            self._early_bytes += len(pcm)
            self._early_at_s = now_s
        else:
            self.out.push(pcm, now_s, frame_ms, end=end)
        if self._when_full == "drop_oldest":
            self.out.remember(mark, now_s)
            if self.is_full and audio_format is not None:
                self.out.drop_oldest(self._max_queued_bytes, now_s)
        return mark

    def send_live(self, pcm: bytes, now_s: float, write: Callable[[bytes, float], bool]) -> Mark | None:
        """Let `write` take one whole frame to the wire, if it is due and nothing waits before it.

        `write` tells whether it took it. None: nothing was done, and `queue_audio` is needed.
        """
        out = self.out
        if self.audio_format is None or self.sends is not None or out.frame_ms != FRAME_MS:
            return None
        return out.ledger.take(len(pcm) // SAMPLE_BYTES) if out.push_live(pcm, now_s, write) else None

    def notify(self, payload: object) -> None:
        """Ask the router to say when all audio that is queued now has been played.

        Raises:
            AudioConnectorJSONError: JSON can't express the payload.
        """
        self._notify(notify_command(payload), self.out.ledger.taken)

    def confirm(self, mark: Mark) -> None:
        """Ask the router to say when `mark` has been played; then it is `acknowledged`. Not after a `clear`."""
        if mark.acknowledged is None and mark.epoch is self.out.ledger.epoch:
            mark.acknowledged = False
            self._asked += 1
            self._awaited[self._asked] = mark
            self._notify(notify_command({_PLAYBACK: self._asked}), mark.end)

    def forget(self, mark: Mark) -> None:
        """Nobody waits for the acknowledgement any more."""
        self._awaited = {number: awaited for number, awaited in self._awaited.items() if awaited is not mark}
        mark.acknowledged = mark.acknowledged or None

    def clear(self, now_s: float) -> FlushResult:
        """The barge-in, in one step: drop all queued audio, forget the schedule, send the clear commands.

        Audio that is queued afterwards is due at once.
        """
        result = self.drop_audio(now_s)
        self._send_clear()
        self.flushes += 1
        return result

    def drop_audio(self, now_s: float) -> FlushResult:
        """Drop all audio that was not heard. Texts stay queued."""
        heard, dropped, sent_dropped = self.out.drop(now_s)
        self._early.clear()
        self._early_notices.clear()
        self._early_bytes = 0
        self._awaited.clear()  # what is never played is never acknowledged
        rate_hz = self.out.pacer.rate_hz
        return FlushResult(heard / rate_hz, dropped / rate_hz, sent_dropped / rate_hz)

    def pause(self, now_s: float) -> None:
        """The barge-in that can be undone: fall silent now, and keep what was not heard."""
        if not self.out.paused:
            self.out.pause(now_s)
            self._send_clear()

    def resume(self, rewind_s: float, now_s: float) -> None:
        """Go on where the pause began, or `rewind_s` before."""
        self.out.resume(rewind_s, now_s)

    # What to do now

    def poll(self, now_s: float) -> Action:
        """Say what is to be done now. Frames that are due move into the deque of `Send` and count as sent."""
        out = self.out
        if out.outbox:
            return self._send
        if dry_s := out.pacer.written(now_s):
            out.written_late(dry_s, now_s)
        if self._early and now_s >= self.format_due_s:
            self.assume_format()
        due_s = out.next_s(now_s)
        if out.outbox:
            return self._send
        if due_s is not None:
            return Wait(due_s)
        return Wait(self.format_due_s) if self._early else _IDLE

    def assume_format(self) -> AudioFormat:
        """Settle on the configured format if none is known by now; return the one that holds."""
        if self.audio_format is None:
            self._adopt(self._assumed_format)
        assert self.audio_format is not None
        return self.audio_format

    # What is known

    @property
    def lead_s(self) -> float:
        """How far ahead of real time audio is sent; may be changed at any time."""
        return self.out.pacer.lead_s

    @lead_s.setter
    def lead_s(self, lead_s: float) -> None:
        self.out.pacer.lead_s = lead_s

    @property
    def has_unsent(self) -> bool:
        """Whether payloads are to be written at once."""
        return bool(self.out.outbox)

    @property
    def queued_s(self) -> float:
        """Seconds of audio that wait to be sent, the remainder included."""
        return self.out.seconds(self.out.queued_bytes + self.out.remainder_bytes + self._early_bytes)

    @property
    def is_full(self) -> bool:
        """Whether more audio waits than may."""
        return self.out.queued_bytes + self.out.remainder_bytes + self._early_bytes > self._max_queued_bytes

    @property
    def too_much_s(self) -> float:
        """Seconds of audio that a caller has to wait for until they are sent, because the queue is full; mostly 0."""
        return max(0.0, self.queued_s - self._max_queued_s) if self._when_full == "wait" else 0.0

    def heard_s(self, now_s: float) -> float:
        """Seconds of audio that were heard by now, in all."""
        return self.out.ledger.heard(self.out.heard_wire(now_s)) / self.out.pacer.rate_hz

    # Inside

    def _receive_frame(self, pcm: bytes) -> bool:
        self.frames_in += 1
        size_bytes = len(pcm)
        self.bytes_in += size_bytes
        if size_bytes == self._frame_bytes and self._format_stated:
            return False
        known = self.audio_format
        if not self._format_stated:
            heard_format = AudioFormat.from_frame_bytes(size_bytes)
            if heard_format is not None:
                self._format_stated = True
                self._adopt(heard_format)
        if size_bytes != self._frame_bytes:
            if known is not None and self.frames_in == 1 and size_bytes * 2 == self._frame_bytes:
                self._adopt(AudioFormat(known.rate_hz, FRAME_MS // 2))  # the rate was stated; its frames last 10 ms
            else:
                self.odd_frames_in += 1
        return self.audio_format is not known

    def _notify(self, text: str, taken: int) -> None:
        """Send a text behind so much of the audio that was taken."""
        self.texts_out += 1
        if self._early:
            self._early_notices.append((taken, text))
        else:
            self.out.notify(text, self.out.ledger.wire_of(taken))

    def _send_clear(self) -> None:
        outbox, commands = self.out.outbox, self._clear_commands
        if tuple(outbox)[-len(commands) :] != commands:  # else they wait already
            for command in commands:
                self.queue_text(command)

    def _adopt(self, audio_format: AudioFormat) -> None:
        """Take this format from now on. Audio that was cut for another one and has not gone out is cut anew."""
        known, self.audio_format = self.audio_format, audio_format
        self._frame_bytes = audio_format.frame_bytes
        self._max_queued_bytes = round(self._max_queued_s * audio_format.rate_hz) * SAMPLE_BYTES
        if audio_format.rate_hz != self.out.pacer.rate_hz:
            self.out.change_rate(audio_format.rate_hz)
        if known is None:
            early, self._early, self._early_bytes = self._early, [], 0
            for pcm, frame_ms, end in early:
                self.out.push(pcm, self._early_at_s, frame_ms, end=end)
            if self._when_full == "drop_oldest" and self.is_full:
                self.out.drop_oldest(self._max_queued_bytes, self._early_at_s)
            notices, self._early_notices = self._early_notices, []
            for taken, text in notices:
                self.out.notify(text, self.out.ledger.wire_of(taken))
