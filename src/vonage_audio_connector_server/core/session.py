"""Our side of one connection: what came, what is to be sent, and when. No I/O, no clock, and it calls nobody.

The caller feeds what arrives (`text_received`, `audio_received`) and what its user wants sent (`queue_audio`,
`queue_text`, `notify`, `clear`, `pause`, `resume`). What is to be written now stands in `out.outbox`: whoever writes
takes it from the left, so that `clear` can still take back what a blocked socket has not accepted, and says `written`
when all of it is. `due_s(now_s)` moves there what is due, and tells when to ask again. All times are seconds on the
caller's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..errors import AudioConnectorFullError
from ..formats import FRAME_MS, SAMPLE_BYTES, AudioFormat
from ..results import FlushResult
from .early import Early
from .events import Audio, Cleared, Connected, Event, Notified
from .frame_format import named_format
from .json_audio import JSONTransport
from .ledger import Mark
from .pacer import DEFAULT_LEAD_S
from .playout import Playout
from .wire import DEFAULT_CLEAR_COMMANDS, load_object, notify_command, read_object

FORMAT_WAIT_S = 1.0
"""How long after the accept the format may stay unknown before the configured one is assumed."""

MAX_QUEUED_S = 120.0
"""Audio that waits to be sent: two minutes are more than any answer; 3.8 MB at 16 kHz."""

WhenFull = Literal["wait", "raise"]

_PLAYBACK = "vonage_audio_connector_server.playback"  # the key of our own notify payloads


class Session:
    """What one connection has to send and when, and what it has received.

    Args:
        now_s: the time of the accept.
        assumed_format: the format where neither the peer nor the caller names one.
        lead_s: how far ahead of real time audio is sent.
        frame_bytes: of the audio format, once that is stated and the transport is settled; -1 before. A message of this
            size needs no `audio_received`: whoever brings it counts it, because that is done for every frame.
        clear_commands: the texts that tell the router to forget what it has queued.
        transport: how audio travels: as binary messages, as JSON texts, or `auto`, as the first frame of the peer does.
        max_queued_s: how much audio may wait to be sent.
        when_full: what happens beyond: the caller waits (its affair: see `is_full`), or an error.

    Attributes:
        out: the audio that goes out.
        max_queued_s: as given.
        clear_commands: as given.
        sends: how to write a frame of audio as a text; None: as a binary message.
        acknowledged: what the router has played, as it says.
    """

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
    ) -> None:
        self.audio_format: AudioFormat | None = None
        self.frame_bytes = -1
        self.custom: Mapping[str, Any] = {}
        self.format_due_s = now_s + FORMAT_WAIT_S
        self.frames_in = self.bytes_in = self.texts_in = self.odd_frames_in = 0
        self.texts_out = self.flushes = self.clears_acknowledged = 0
        self._assumed_format = assumed_format or AudioFormat()
        self.out = Playout(now_s, self._assumed_format.rate_hz, lead_s)
        self.sends: JSONTransport | None = transport if isinstance(transport, JSONTransport) else None
        self._receives = JSONTransport() if transport == "auto" else self.sends
        self._transport_settled = transport != "auto"
        self._connected = False  # the first message has come
        self._format_stated = False  # by the peer; what a caller or the configuration said can still be corrected
        self.clear_commands = tuple(clear_commands)
        self.max_queued_s = max_queued_s
        self._max_queued_bytes = round(max_queued_s * self._assumed_format.rate_hz) * SAMPLE_BYTES
        self._when_full = when_full
        self._early = Early()
        self.acknowledged: set[Mark] = set()
        self._awaited: dict[int, Mark] = {}  # whose end the router was asked to acknowledge, by the number asked with
        self._asked = 0  # how often it was: an answer that comes late must not be taken for another mark's

    @property
    def transport(self) -> Literal["binary", "json"] | None:
        """How audio travels; None: no frame has told."""
        if not self._transport_settled:
            return None
        return "binary" if self.sends is None else "json"

    # What arrives

    def text_received(self, text: str) -> Event:
        """Take a text message of the peer; the first one tells the format and the custom keys."""
        data = load_object(text)
        if data is not None and self._receives is not None and self._receives.carries_audio(data):
            pcm = self._receives.decode(data)
            if pcm is not None:
                if not self._transport_settled:
                    self._transport_settled, self.sends = True, self._receives
                self._frame_received(pcm)
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
                self.acknowledged.add(self._awaited.pop(number))
        return event

    def audio_received(self, pcm: bytes) -> bool:
        """Take a binary message of the peer: one frame of audio. It tells the format where no text did.

        Returns whether the format has become known by it, or another one.
        """
        if not self._transport_settled:
            self._transport_settled, self._receives = True, None
        return self._frame_received(pcm)

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
        has_room: bool = False,
    ) -> Mark:
        """Queue whole samples of PCM behind what is queued; `end` pads the last frame with silence now.

        `flush` does what `clear` does first, in the same step, once the audio is known to be playable. `has_room`: who
        calls has made sure that there is.

        Without `end`, what is left of the last frame waits for the next call. Where none comes, it goes out padded in
        time to be played behind it. A live source, which is never ahead, has `REMAINDER_WAIT_S` instead: padding
        would put silence into its middle.

        Raises:
            AudioConnectorAudioError: `frame_bytes` and `frame_ms` don't describe the connection's rate.
            AudioConnectorFullError: too much audio waits, and `when_full` is `raise`.
        """
        if frame_bytes is not None or frame_ms is not FRAME_MS:  # 20.0 is refused, too
            named = named_format(self.audio_format, frame_bytes, frame_ms)
            if named is not None and self.audio_format is None:
                self._adopt(named)
        if flush:
            self.clear(now_s)
        elif not has_room:
            self.check_room()
        mark = self.out.ledger.accept(len(pcm) // SAMPLE_BYTES)
        if self.audio_format is None:
            self._early.push(pcm, now_s, end=end)
            self.out.has_more = True
        else:
            self.out.push(pcm, now_s, end=end)
        return mark

    def check_room(self) -> None:
        """Raise `AudioConnectorFullError` where too much audio waits, and `when_full` is `raise`."""
        if self.raises_when_full and self.is_full:
            raise AudioConnectorFullError(
                f"{self.queued_s:.1f} s of audio wait to be sent, {self.max_queued_s:g} are allowed: send more later, "
                "or let send_audio_buffer wait (when_full='wait')"
            )

    def notify(self, payload: object) -> None:
        """Ask the router to say when all audio that is queued now has been played.

        Raises:
            AudioConnectorJSONError: JSON can't express the payload.
        """
        self._notify(notify_command(payload), self.out.ledger.accepted)

    def confirm(self, mark: Mark) -> None:
        """Ask the router to say when `mark` has been played; then it is `acknowledged`. Not after a `clear`."""
        asked = mark in self.acknowledged or self.is_awaited(mark)
        if not asked and mark.epoch is self.out.ledger.epoch:
            self._asked += 1
            self._awaited[self._asked] = mark
            self._notify(notify_command({_PLAYBACK: self._asked}), mark.end)

    def is_awaited(self, mark: Mark) -> bool:
        """Whether the router was asked for `mark`, and may still answer."""
        return mark in self._awaited.values()

    def forget(self, mark: Mark) -> None:
        """Nobody waits for the acknowledgement any more."""
        self._awaited = {number: awaited for number, awaited in self._awaited.items() if awaited != mark}

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
        self._awaited.clear()  # what is never played is never acknowledged
        self.acknowledged.clear()
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

    def due_s(self, now_s: float) -> float | None:
        """Move what is due by now to the outbox; tells when more will be. None: nothing waits for its time."""
        if self._early:
            if now_s < self.format_due_s:
                return self.format_due_s
            self.assume_format()
        return self.out.due_s(now_s)

    def undelivered(self, size_bytes: int) -> None:
        """So many bytes are known not to have reached the peer's machine: what they hold can't have been heard."""
        pacer, frame_bytes = self.out.pacer, self.out.frame_bytes
        pacer.undelivered_samples = 0
        if size_bytes and frame_bytes:
            wire_bytes = frame_bytes + 4 if self.sends is None else len(self.sends.encode(bytes(frame_bytes))) + 4
            pacer.undelivered_samples = -(-size_bytes // wire_bytes) * frame_bytes // SAMPLE_BYTES

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
        self.out.pacer.set_lead(lead_s)

    @property
    def queued_s(self) -> float:
        """Seconds of audio that wait to be sent, the remainder included."""
        return self.out.seconds(self.out.queued_bytes + self._early.size_bytes)

    @property
    def raises_when_full(self) -> bool:
        """Whether too much audio is an error."""
        return self._when_full == "raise"

    @property
    def is_full(self) -> bool:
        """Whether more audio waits than may."""
        return self.out.queued_bytes + self._early.size_bytes > self._max_queued_bytes

    @property
    def too_much_s(self) -> float:
        """Seconds of audio that a caller has to wait for until they are sent, because the queue is full; mostly 0."""
        return max(0.0, self.queued_s - self.max_queued_s) if self._when_full == "wait" else 0.0

    def heard_s(self, now_s: float) -> float:
        """Seconds of audio that were heard by now, in all."""
        return self.out.ledger.heard(self.out.heard_wire(now_s)) / self.out.pacer.rate_hz

    # Inside

    def _frame_received(self, pcm: bytes) -> bool:
        self.frames_in += 1
        size_bytes = len(pcm)
        self.bytes_in += size_bytes
        known = self.audio_format
        if not self._format_stated:
            heard_format = AudioFormat.from_frame_bytes(size_bytes)
            if heard_format is not None:
                self._format_stated = True
                self._adopt(heard_format)
        if self.audio_format is not None and size_bytes == self.audio_format.frame_bytes:
            if self._format_stated and self._receives is None:
                self.frame_bytes = size_bytes
        else:
            self.odd_frames_in += 1
        return self.audio_format is not known

    def _notify(self, text: str, accepted: int) -> None:
        """Send a text behind so much of the audio that was accepted."""
        self.texts_out += 1
        if self._early:
            self._early.notify(text, accepted)
        else:
            self.out.notify(text, self.out.ledger.wire_of(accepted))

    def _send_clear(self) -> None:
        outbox, commands = self.out.outbox, self.clear_commands
        if tuple(outbox[-len(commands) :]) != commands:  # else they wait already
            for command in commands:
                self.queue_text(command)

    def _adopt(self, audio_format: AudioFormat) -> None:
        """Take this format from now on. Audio that was cut for another one and has not gone out is cut anew."""
        known, self.audio_format = self.audio_format, audio_format
        self.frame_bytes = -1
        self._max_queued_bytes = round(self.max_queued_s * audio_format.rate_hz) * SAMPLE_BYTES
        if audio_format.rate_hz != self.out.pacer.rate_hz:
            self.out.change_rate(audio_format.rate_hz)
        if known is None:
            self.out.know_format()
            self._early.pour(self.out)
