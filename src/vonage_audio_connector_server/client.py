"""The handle on one connection that users hold: the reference SDK's `client`, and what it lacks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .config import check_lead_s
from .connection import NORMAL, Connection, Handler
from .core.framing import as_pcm
from .core.wire import encode_packet
from .errors import AudioConnectorConfigError
from .inbox import Message
from .models import FRAME_MS, AudioConnectorConnectionData, AudioFormat, ConnectionStats

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")


class Done(Coroutine[Any, Any, T], Generic[T]):
    """What a call returns that has acted already: awaiting it waits until the act is done on the wire.

    It is a coroutine object, so `asyncio.create_task` takes it; left alone it warns of nothing, because nothing of it
    was started.
    """

    __slots__ = ("_coroutine", "_wait")

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._wait = wait
        self._coroutine: Coroutine[Any, Any, T] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait until the act is done on the wire."""
        return self._wait().__await__()

    def send(self, value: Any, /) -> Any:
        """Part of the coroutine interface, for event loops."""
        if self._coroutine is None:
            self._coroutine = self._wait()
        return self._coroutine.send(value)

    def throw(self, *exc_info: Any) -> Any:
        """Part of the coroutine interface, for event loops."""
        if self._coroutine is None:
            self._coroutine = self._wait()
        return self._coroutine.throw(*exc_info)

    def close(self) -> None:
        """Part of the coroutine interface, for event loops."""
        if self._coroutine is not None:
            self._coroutine.close()


class Client:
    """One connection of a Vonage Video session: its audio and events in, audio and texts out.

    You get it in `on_connect`. Use it from any task of the event loop that serves the connection.
    """

    __slots__ = ("_connection", "_info")

    def __init__(self, connection: Connection, info: AudioConnectorConnectionData) -> None:
        self._connection = connection
        self._info = info

    def __repr__(self) -> str:
        state = "open" if self._connection.is_open else f"closed {self._connection.close_code or ''}".rstrip()
        return f"<Client {self._info.id} {state}>"

    # Receiving

    def set_handler(
        self,
        on_message: Handler | None = None,
        on_disconnect: Handler | None = None,
        on_error: Handler | None = None,
    ) -> None:
        """Set the handlers of this connection; plain functions serve as well as coroutine functions.

        Messages are handed over one at a time, in order. What came before `on_message` was set, while `on_connect`
        was running, is handed over first. Setting handlers again replaces all three.

        Args:
            on_message: called with `bytes`, one frame of PCM, or `str`, a JSON text. While it waits, messages wait up
                to 1 MiB (32 s of audio at 16 kHz); then the oldest are dropped, with a warning and a count in
                `stats()`.
            on_disconnect: called without arguments, once and last, whoever closed and however: when `on_connect` and
                `on_message` have returned, or were cancelled 5 s after the end. So don't wait for it in `on_connect`;
                `async for` ends with the connection.
            on_error: called with an exception that another handler or `on_connect` raised; the call goes on. Without
                it the exception is logged and the connection closes with 1011.

        Raises:
            AudioConnectorConfigError: a handler can't be called, or an `async for` waits for a message.
        """
        handlers = {"on_message": on_message, "on_disconnect": on_disconnect, "on_error": on_error}
        for name, handler in handlers.items():
            if handler is not None and not callable(handler):
                raise AudioConnectorConfigError(f"{name} must be a function or None, not {handler!r}")
        if on_message is not None and self._connection.is_awaited:
            raise AudioConnectorConfigError("messages are taken by 'async for' already: leave on_message out")
        self._connection.take_handlers(on_message, on_disconnect, on_error)

    def __aiter__(self) -> AsyncIterator[Message]:
        """Take the messages with `async for`, instead of `on_message`; it ends when the connection does.

        Raises:
            AudioConnectorConfigError: an `on_message` is set.
        """
        self._check_no_handler()
        self._connection.iterate()
        return self

    async def __anext__(self) -> Message:
        """The next message: `bytes`, one frame of PCM, or `str`, a JSON text. Cancelling it loses none."""
        self._check_no_handler()
        message = await self._connection.next_message()
        if message is None:
            raise StopAsyncIteration
        return message

    def _check_no_handler(self) -> None:
        if self._connection.on_message is not None:
            raise AudioConnectorConfigError("messages go to on_message already: use either it or 'async for'")

    # Sending

    async def send_json_packet(self, data: str | dict[str, Any] | list[Any]) -> None:
        """Send a text message ahead of all queued audio; returns when it is on the wire.

        Args:
            data: a JSON text, sent as it is; or a dict or list, which is written as JSON.

        Raises:
            AudioConnectorJSONError: `data` is not JSON; nothing was sent.
            AudioConnectorClosedError: the connection has ended.
        """
        text = encode_packet(data)
        self._connection.check_open()
        await self._connection.send_text(text)

    async def send_audio_buffer(
        self,
        audio_data: Buffer,
        *,
        bytes_per_sample: int | None = None,
        frames_ms: int = FRAME_MS,
        pad_last_frame: bool = False,
        flush_buffer: bool = False,
    ) -> None:
        """Send audio behind what is queued: 16-bit little-endian mono PCM at the connection's rate, of any length.

        What is due goes to the socket before this returns, unless another call is being held up by a peer that doesn't
        read; the rest is queued and sent in time, `lead_s` ahead of real time.
        Frames are cut across calls: what is left of the last frame waits for the next call, and if none comes before
        its turn to be played, it goes out padded with silence. Audio sent before the format is known waits for it,
        unless the call names its frame. Calls from several tasks are queued in the order in which they are made.

        Cancelling it takes nothing back: the audio is queued as a whole before the first wait.

        Args:
            audio_data: bytes-like, or a C-contiguous int16 array; whole samples.
            bytes_per_sample: bytes of one *frame* (the name is the reference SDK's): 320, 640 or 960 for 20 ms at 8,
                16 or 24 kHz. None: what the connection negotiated.
            frames_ms: milliseconds of one frame. 20 is what the router documents; 10 is there because the reference
                SDK takes it.
            pad_last_frame: the utterance ends here: pad the last frame with silence now.
            flush_buffer: drop what is queued first, in the same step, as `flush_buffer()` does.

        Raises:
            AudioConnectorAudioError: half a sample, not int16, not mono, or a frame that doesn't describe the
                connection's rate; nothing was queued, and nothing flushed.
            AudioConnectorClosedError: the connection has ended.
        """
        self._connection.check_open()
        await self._connection.send_audio(
            as_pcm(audio_data),
            frame_bytes=bytes_per_sample,
            frame_ms=frames_ms,
            end=pad_last_frame,
            flush=flush_buffer,
        )

    def flush_buffer(self) -> Awaitable[None]:
        """The barge-in: drop all queued audio at once, and tell the router to forget what it has.

        It acts when it is called; with `await` it returns when the clear commands are on the wire. Audio sent
        afterwards is never lost and starts at once. What the router has already, at most the lead and one batch, it
        may still play if it knows none of the clear commands.

        Raises:
            AudioConnectorClosedError: the connection has ended.
        """
        self._connection.check_open()
        self._connection.flush()
        return Done(self._connection.written)

    def disconnect(self, code: int = NORMAL, reason: str = "") -> Awaitable[None]:
        """Close the connection now. Queued audio is dropped; texts that are queued go out first.

        It acts when it is called; with `await` it returns when the close is on the wire. Again, or after the end, it
        does nothing.

        Args:
            code: the WebSocket close code: 1000, 1001, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes of UTF-8.

        Raises:
            AudioConnectorConfigError: the code or the reason can't be sent.
        """
        if type(code) is not int or (code not in _CLOSE_CODES and not 3000 <= code <= 4999):
            raise AudioConnectorConfigError(f"code must be a close code that may be sent, such as 1000, not {code!r}")
        if not isinstance(reason, str):
            raise AudioConnectorConfigError(f"reason must be a text, not {reason!r}")
        try:
            is_short = len(reason.encode()) <= 123
        except UnicodeEncodeError as exc:
            raise AudioConnectorConfigError(f"reason can't be written as UTF-8: {exc.reason}") from exc
        if not is_short:
            raise AudioConnectorConfigError("reason must be at most 123 bytes long in UTF-8")
        self._connection.close(code, reason)
        return Done(self._connection.written)

    def set_buffer_timing(self, active_seconds: float | None = None) -> None:
        """Set how far ahead of real time audio is sent, from now on.

        Args:
            active_seconds: 0.04 to 15 seconds; None changes nothing.

        Raises:
            AudioConnectorConfigError: it is outside of that range.
        """
        if active_seconds is not None:
            check_lead_s("active_seconds", active_seconds)
            self._connection.session.lead_s = active_seconds

    # What is known

    def info(self) -> AudioConnectorConnectionData:
        """What is known of the connection by now; the custom keys and the format come with its first message."""
        session = self._connection.session
        return replace(self._info, custom=session.custom, audio_format=session.audio_format)

    @property
    def audio_format(self) -> AudioFormat | None:
        """The negotiated audio format; None until it is known, see `wait_format`."""
        return self._connection.session.audio_format

    async def wait_format(self) -> AudioFormat:
        """Wait for the audio format. It comes with the first message or, without one, with the first frame of audio.

        One second after the accept the configured format is taken. Cancelling it changes nothing.
        """
        return await self._connection.wait_format()

    def stats(self) -> ConnectionStats:
        """The counters of this connection, now."""
        connection, session = self._connection, self._connection.session
        now_s = connection.clock()
        ended_s = now_s if connection.ended_s is None else connection.ended_s
        return ConnectionStats(
            duration_s=ended_s - connection.started_s,
            frames_in=session.frames_in,
            bytes_in=session.bytes_in,
            texts_in=session.texts_in,
            frames_out=session.frames_out,
            bytes_out=session.bytes_out,
            texts_out=session.texts_out,
            odd_frames_in=session.odd_frames_in,
            dropped_in=connection.dropped_in,
            queued_s=session.queued_s,
            ahead_s=session.ahead_s(now_s),
            underruns=session.underruns,
            flushes=session.flushes,
            dropped_out_s=session.dropped_out_s,
        )


_CLOSE_CODES = frozenset({1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})  # RFC 6455, IANA
