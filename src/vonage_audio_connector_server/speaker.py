"""What a program says into a call: the part of a `Client` that sends.

One rule for everything that acts: a method acts when it is called, in the order of the calls, from whatever thread, and
raises its errors there. Awaiting what it returns waits for the consequence.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from .call.actions import Action, act, refused
from .call.call import Call
from .call.output import TURN_S
from .call.questions import has_room, heard, written
from .call.waits import Question
from .config import check_lead_s, check_rewind_s
from .core.frame_format import named_format
from .core.framing import FILE_BYTES, as_pcm
from .core.pacing import MAX_LEAD_S, MIN_LEAD_S
from .core.wire import encode_packet, notify_command
from .errors import AudioConnectorClosedError, AudioConnectorError
from .models import FRAME_MS
from .outcomes import FlushResult
from .playback import Playback

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")

_new = object.__new__


class Speaker:
    """Sends audio and texts into one call; see `Client`."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._out = call.out
        self._output = call.output
        self._thread_id = call.thread_id

    def send_json_packet(self, data: str | dict[str, Any] | list[Any]) -> Action[None]:
        """Send a text message ahead of all queued audio. Awaited, it waits while the socket takes none.

        Args:
            data: a JSON text, sent as it is; or a dict or list, which is written as JSON.

        Raises:
            AudioConnectorJSONError: `data` is not JSON; nothing was sent.
            AudioConnectorClosedError: the connection has ended; awaited, that it ended before the text was written.
        """
        call = self._call
        in_own_thread = get_ident() == self._thread_id
        text = "" if in_own_thread else encode_packet(data)  # an error is the caller's, in whichever thread that is

        def start() -> tuple[Question, Callable[[], None]]:
            sent = encode_packet(data) if in_own_thread else text
            call.check_open()
            call.output.send_text(sent)
            return has_room(call), lambda: call.check_sent(sent)

        return act(call, start)

    def send_audio_buffer(
        self,
        audio_data: Buffer,
        *,
        bytes_per_sample: int | None = None,
        frames_ms: int = FRAME_MS,
        pad_last_frame: bool = False,
        flush_buffer: bool = False,
    ) -> Playback:
        """Send audio behind what is queued: 16-bit little-endian mono PCM at the connection's rate, of any length.

        What is due leaves at once; the rest is queued and sent in time, `lead_s` ahead of real time. Awaited, it waits
        while more than `max_queued_s` waits to be sent.
        Frames are cut across calls: what is left of the last frame waits for the next call, and if none comes before
        its turn to be played, it goes out padded with silence. Audio sent before the format is known waits for it,
        unless the call names its frame. Calls from several tasks are queued in the order in which they are made.

        Cancelling the wait takes nothing back: the audio is queued as a whole.

        Args:
            audio_data: bytes-like, or a C-contiguous int16 array; whole samples.
            bytes_per_sample: bytes of one *frame* (the name is the reference SDK's): 320, 640 or 960 for 20 ms at 8,
                16 or 24 kHz. None: what the connection negotiated.
            frames_ms: milliseconds of one frame, 20 or 10; it tells the rate, together with `bytes_per_sample`. On the
                wire all frames last 20 ms.
            pad_last_frame: the utterance ends here: pad the last frame with silence now.
            flush_buffer: drop what is queued first, in the same step, as `flush_buffer()` does.

        Returns:
            The `Playback`, which tells how much of it was heard; awaited, the same.

        Raises:
            AudioConnectorAudioError: half a sample, not int16, not mono, the beginning of a sound file, or a frame that
                doesn't describe the connection's rate; nothing was queued, and nothing flushed.
            AudioConnectorFullError: the queue is full and `when_full` is `raise`; nothing was queued.
            AudioConnectorClosedError: the connection has ended.
        """
        call, output = self._call, self._output
        try:
            # A whole frame that doesn't begin like a file, as all live audio does; `as_pcm` looks closer.
            is_frame = type(audio_data) is bytes and len(audio_data) == self._out.frame_bytes > 0
            if is_frame and audio_data[0] not in FILE_BYTES:  # type: ignore[index]
                pcm: bytes = audio_data  # type: ignore[assignment]
            else:
                pcm = as_pcm(audio_data)
            if get_ident() != self._thread_id:
                return self._post_audio(pcm, bytes_per_sample, frames_ms, pad_last_frame, flush_buffer)
            if call.ended_s is not None or call.closing is not None:
                call.check_open()
            now_s = call.clock()
            mark = None
            if bytes_per_sample is None and frames_ms is FRAME_MS and not pad_last_frame and not flush_buffer:
                mark = self._out.push_live(pcm, now_s)
            if mark is None:
                mark = output.queue_audio(pcm, now_s, bytes_per_sample, frames_ms, pad_last_frame, flush_buffer)
            else:
                output.pump_soon()
                if now_s - call.turn.began_s > TURN_S:
                    output.holds_back = True
        except AudioConnectorError as exc:
            if get_ident() == self._thread_id and call.fails_on():
                failed = refused(Playback, call, exc)
                failed._mark = None
                return failed
            raise
        playback: Playback = _new(Playback)
        playback._call, playback._mark, playback._answer, playback._finish = call, mark, None, None
        return playback

    def flush_buffer(self) -> Action[FlushResult]:
        """The barge-in: drop all audio that is not in the socket yet, and tell the router to forget what it has.

        It acts when it is called; awaited, it waits until the clear commands are on the wire, and tells how much was
        heard and how much was dropped. Audio sent afterwards is never lost and starts at once. What the router has
        already, at most the lead and one batch, it may still play if it knows none of the clear commands. It ends a
        pause.

        Raises:
            AudioConnectorClosedError: the connection has ended.
        """
        return self._act(self._output.flush)

    def pause(self) -> Action[None]:
        """The barge-in that can be undone: fall silent now, and keep what was not heard, for `resume`.

        It acts when it is called. Audio that is sent meanwhile waits. What the router has already is taken back, as
        `flush_buffer` does; a router that knows none of the clear commands plays it now, and hears it again later.
        Does nothing while it is paused.

        Raises:
            AudioConnectorClosedError: the connection has ended.
        """
        return self._act(self._output.pause)

    def resume(self, rewind_s: float = 0.0) -> Action[None]:
        """Go on speaking where `pause` fell silent, with the whole frame in which that was. It acts when it is called.

        Args:
            rewind_s: repeat so many seconds of what was heard before, 0 to 1; of a live source there is nothing to
                repeat.

        Raises:
            AudioConnectorConfigError: `rewind_s` is outside of that range.
            AudioConnectorClosedError: the connection has ended.
        """
        check_rewind_s(rewind_s)
        return self._act(lambda: self._output.resume(rewind_s))

    def drain(self) -> Action[None]:
        """Wait until all queued audio has been heard, as a goodbye before `disconnect()`; while it is paused, too.

        It ends with the connection, without an error. Cancelling it changes nothing.
        """
        return act(self._call, lambda: (heard(self._call), nothing), ends_well=True)

    def notify(self, payload: object) -> Action[None]:
        """Ask the router to answer with `websocket:notify` and this payload when all audio queued now has been played.

        Documented for Vonage's Voice API; whether the Audio Connector answers is unknown, so never wait for it alone.

        Args:
            payload: a value that JSON can express.

        Raises:
            AudioConnectorJSONError: it is not; nothing was sent.
            AudioConnectorClosedError: the connection has ended.
        """
        notify_command(payload)  # an error is the caller's, in whichever thread that is
        return self._act(lambda: self._output.notify(payload))

    def set_buffer_timing(self, active_seconds: float | None = None) -> None:
        """Set how far ahead of real time audio is sent, from now on.

        Args:
            active_seconds: more than 0; the nearest value from 0.04 to 15 seconds is taken. None changes nothing.

        Raises:
            AudioConnectorConfigError: it is 0 or less, or no number.
        """
        if active_seconds is not None:
            if isinstance(active_seconds, (int, float)) and active_seconds > 0:
                active_seconds = min(max(active_seconds, MIN_LEAD_S), MAX_LEAD_S)
            check_lead_s("active_seconds", active_seconds)
            lead_s = active_seconds
            self._do(lambda: self._output.set_lead(lead_s))

    # Inside

    def _post_audio(self, pcm: bytes, *frames: Any) -> Playback:
        """Send audio from another thread."""
        call = self._call
        call.session.check_room()
        named_format(call.session.audio_format, *frames[:2])
        playback = Playback(call, None, None)
        playback._mark = None

        def start() -> tuple[Question, Callable[[], Playback]]:
            call.check_open()
            playback._mark = call.output.queue_audio(pcm, call.clock(), *frames)
            return call.output.ask_room, lambda: playback

        playback._answer = call.threads.post(start)
        return playback

    def _act(self, function: Callable[[], T]) -> Action[T]:
        """Do something; awaited, it waits until that is on the wire."""
        call = self._call

        def start() -> tuple[Question, Callable[[], T]]:
            call.check_open()
            result = function()
            return written(call), lambda: result

        return act(call, start)

    def _do(self, function: Callable[[], None]) -> None:
        """Do something now or, from another thread, soon; after the end it makes no difference."""

        def start() -> tuple[None, Callable[[], None]]:
            function()
            return None, nothing

        if get_ident() == self._thread_id:
            function()
        elif not self._call.is_over:
            with suppress(AudioConnectorClosedError):
                self._call.threads.post(start)


def nothing() -> None:
    """The result of what has none."""
