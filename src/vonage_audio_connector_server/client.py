"""The handle on one connection that users hold: the reference SDK's `client`, and what it lacks.

In the thread of the connection a call goes straight to it; in any other it is posted to the connection's event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .config import check_lead_s, check_rewind_s
from .connection import NORMAL, Connection
from .core.events import Event
from .core.framing import as_pcm
from .core.pacing import MAX_LEAD_S, MIN_LEAD_S
from .core.wire import encode_packet, notify_command
from .elsewhere import at_home
from .errors import AudioConnectorClosedError, AudioConnectorConfigError, AudioConnectorError
from .inbox import Item
from .models import FRAME_MS, AudioConnectorConnectionData, AudioFormat, ConnectionStats
from .outcomes import CloseReport, FlushResult
from .playback import Playback
from .reader import Handler, Handlers, as_event
from .stepping import Done
from .writer import TURN_S

if TYPE_CHECKING:
    from typing_extensions import Buffer

Message = bytes | str
T = TypeVar("T")


class _HandlerAttribute:
    """A handler that is read and set as an attribute of the client, as in the reference SDK."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, client: Client | None, owner: type) -> Any:
        if client is None:  # on the class
            return self
        handler: Handler | None = getattr(client._connection.reader.handlers, self._name)
        return handler

    def __set__(self, client: Client, handler: Handler | None) -> None:
        client._check_handler(self._name, handler)
        client._post(client._connection.change_handler, self._name, handler)


class Client:
    """One connection of a Vonage Video session: its audio and events in, audio and texts out.

    You get it in `on_connect`. Every method may be called from any task, from any thread, and from the event loop of
    another thread: what is called there acts in the connection's own event loop, in the order of the calls of that
    thread, and what it returns can be awaited there. A thread without an event loop may leave that alone, or ask for
    its `result()`, which blocks. Handlers run in the connection's own event loop.
    """

    on_message = _HandlerAttribute()
    on_disconnect = _HandlerAttribute()
    on_error = _HandlerAttribute()

    def __init__(self, connection: Connection, info: AudioConnectorConnectionData) -> None:
        self._connection = connection
        self._info = info
        self._thread_id = connection.home.thread_id

    def __repr__(self) -> str:
        state = "open" if self._connection.is_open else f"closed {self._connection.close_code or ''}".rstrip()
        return f"<Client {self._info.id} {state}>"

    # Receiving

    def set_handler(
        self,
        on_message: Handler | None = None,
        on_disconnect: Handler | None = None,
        on_error: Handler | None = None,
        on_audio: Handler | None = None,
        on_event: Handler | None = None,
    ) -> None:
        """Set the handlers: plain functions or coroutine functions. A handler that is left out is removed.

        Messages that came before are handed over first. They are handed over one at a time and in order, whatever the
        handlers do; what comes while one of them waits is kept, up to 1 MiB, then the oldest is dropped. One that is
        more than a second behind real time is named in the log.

        Args:
            on_message: called with each message: `bytes`, one frame of PCM, or `str`, a JSON text.
            on_disconnect: called once, last, whoever closed and however.
            on_error: called with an exception that another handler or `on_connect` raised; the call goes on. Without
                it the exception is logged and the connection closes with 1011.
            on_audio: called with each frame of PCM, after `on_message` if there is one.
            on_event: called with each text message as a typed event, after `on_message` if there is one.

        Raises:
            AudioConnectorConfigError: a handler can't be called, or an `async for` waits for a message.
        """
        handlers = {"on_message": on_message, "on_disconnect": on_disconnect, "on_error": on_error}
        handlers |= {"on_audio": on_audio, "on_event": on_event}
        for name, handler in handlers.items():
            self._check_handler(name, handler)
        chosen = Handlers(**handlers)
        self._post(self._connection.take_handlers, chosen)

    def __aiter__(self) -> AsyncIterator[Message]:
        """Take the messages with `async for`, instead of a handler; it ends when the connection does.

        A message is `bytes`, one frame of PCM, or `str`, a JSON text. Cancelling the wait for it loses none.

        Raises:
            AudioConnectorConfigError: a handler takes messages.
        """
        return _Messages(self, _as_message)

    def events(self) -> AsyncIterator[Event]:
        """Take the messages as typed events with `async for`, instead of a handler; it ends when the connection does.

        Cancelling the wait for an event loses none.

        Raises:
            AudioConnectorConfigError: a handler takes messages.
        """
        return _Messages(self, as_event)

    # Sending

    def send_json_packet(self, data: str | dict[str, Any] | list[Any]) -> Coroutine[Any, Any, None]:
        """Send a text message ahead of all queued audio; returns, when awaited, when it is on the wire.

        Args:
            data: a JSON text, sent as it is; or a dict or list, which is written as JSON.

        Raises:
            AudioConnectorJSONError: `data` is not JSON; nothing was sent.
            AudioConnectorClosedError: the connection has ended.
        """
        if get_ident() == self._thread_id:
            return self._send_json(data)
        return self._connection.home.call(self._connection.send_text, encode_packet(data))

    def send_audio_buffer(
        self,
        audio_data: Buffer,
        *,
        bytes_per_sample: int | None = None,
        frames_ms: int = FRAME_MS,
        pad_last_frame: bool = False,
        flush_buffer: bool = False,
    ) -> Coroutine[Any, Any, Playback]:
        """Send audio behind what is queued: 16-bit little-endian mono PCM at the connection's rate, of any length.

        What is due goes to the socket before this returns, unless another call is being held up by a peer that doesn't
        read; the rest is queued and sent in time, `lead_s` ahead of real time. Where more than `max_queued_s` waits
        then, it waits until it doesn't, or does what `when_full` says.
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

        Returns:
            When awaited, the `Playback`, which tells how much of it was heard.

        Raises:
            AudioConnectorAudioError: half a sample, not int16, not mono, or a frame that doesn't describe the
                connection's rate; nothing was queued, and nothing flushed.
            AudioConnectorFullError: the queue is full and `when_full` is `raise`; nothing was queued.
            AudioConnectorClosedError: the connection has ended.
        """
        if get_ident() == self._thread_id:
            return self._send_audio(audio_data, bytes_per_sample, frames_ms, pad_last_frame, flush_buffer)
        # Taken over now: its owner may change it before it is queued.
        frames = (bytes_per_sample, frames_ms, pad_last_frame, flush_buffer)
        return self._connection.home.call(self._send_audio, as_pcm(audio_data), *frames)

    def flush_buffer(self) -> Awaitable[FlushResult]:
        """The barge-in: drop all queued audio at once, and tell the router to forget what it has.

        It acts when it is called; with `await` it returns when the clear commands are on the wire, and tells how much
        was heard and how much was dropped. Audio sent afterwards is never lost and starts at once. What the router has
        already, at most the lead and one batch, it may still play if it knows none of the clear commands. It ends a
        pause.

        Raises:
            AudioConnectorClosedError: the connection has ended.
        """
        return self._act(self._connection.flush)

    def pause(self) -> Awaitable[None]:
        """The barge-in that can be undone: fall silent now, and keep what was not heard, for `resume`.

        It acts when it is called. Audio that is sent meanwhile waits. What the router has already is taken back, as
        `flush_buffer` does; a router that knows none of the clear commands plays it now, and hears it again later.
        Does nothing while it is paused.

        Raises:
            AudioConnectorClosedError: the connection has ended.
        """
        return self._act(self._connection.pause)

    def resume(self, rewind_s: float = 0.0) -> Awaitable[None]:
        """Go on speaking where `pause` fell silent, with the whole frame in which that was. It acts when it is called.

        Args:
            rewind_s: repeat so many seconds of what was heard before, 0 to 1; of a live source there is nothing to
                repeat.

        Raises:
            AudioConnectorConfigError: `rewind_s` is outside of that range.
            AudioConnectorClosedError: the connection has ended.
        """
        check_rewind_s(rewind_s)
        return self._act(self._connection.resume, rewind_s)

    def drain(self) -> Coroutine[Any, Any, None]:
        """Wait until all queued audio has been heard, as a goodbye before `disconnect()`; while it is paused, too.

        It ends with the connection, without an error. Cancelling it changes nothing.
        """
        return at_home(self._connection, self._connection.drain)

    def notify(self, payload: object) -> Awaitable[None]:
        """Ask the router to answer with `websocket:notify` and this payload when all audio queued now has been played.

        Documented for Vonage's Voice API; whether the Audio Connector answers is unknown, so never wait for it alone.

        Args:
            payload: a value that JSON can express.

        Raises:
            AudioConnectorJSONError: it is not; nothing was sent.
            AudioConnectorClosedError: the connection has ended.
        """
        notify_command(payload)  # an error is the caller's, in whichever thread that is
        return self._act(self._connection.notify, payload)

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
        if get_ident() == self._thread_id:
            return self._act(self._connection.close, code, reason)
        return at_home(self._connection, self._close, code, reason)

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
            self._post(self._connection.set_lead, active_seconds)

    # What is known

    @property
    def id(self) -> str:
        """Unique for every connection that this process accepts; the same as `info().id`."""
        return self._info.id

    def info(self) -> AudioConnectorConnectionData:
        """What is known of the connection by now; the custom keys and the format come with its first message."""
        session = self._connection.session
        return replace(self._info, custom=session.custom, audio_format=session.audio_format)

    @property
    def audio_format(self) -> AudioFormat | None:
        """The negotiated audio format; None until it is known, see `wait_format`."""
        return self._connection.session.audio_format

    def wait_format(self) -> Coroutine[Any, Any, AudioFormat]:
        """Wait for the audio format. It comes with the first message or, without one, with the first frame of audio.

        One second after the accept the configured format is taken. Cancelling it changes nothing.
        """
        return at_home(self._connection, self._connection.wait_format)

    @property
    def heard_s(self) -> float:
        """Seconds of audio that have been heard since the accept, by the playout clock: silence is not counted."""
        return self._connection.session.heard_s(self._connection.now_s())

    @property
    def close_report(self) -> CloseReport | None:
        """How the connection ended, and what it was like; None as long as it lasts."""
        return self._connection.close_report

    def stats(self) -> ConnectionStats:
        """The counters of this connection, now."""
        return self._connection.stats()

    # Inside

    def _check_handler(self, name: str, handler: object) -> None:
        if handler is not None and not callable(handler):
            raise AudioConnectorConfigError(f"{name} must be a function or None, not {handler!r}")
        takes_messages = handler is not None and name not in ("on_disconnect", "on_error")
        if takes_messages and self._connection.reader.is_awaited:
            raise AudioConnectorConfigError(
                f"messages are taken by 'async for' already: set only on_disconnect and on_error, not {name}"
            )

    async def _send_json(self, data: object) -> None:
        try:
            await self._connection.send_text(encode_packet(data))
        except AudioConnectorError:
            await self._connection.writer.let_turn()  # as below
            raise

    async def _send_audio(
        self, audio: Buffer, frame_bytes: int | None, frame_ms: int, end: bool, flush: bool
    ) -> Playback:
        connection = self._connection
        session, writer = connection.session, connection.writer
        now_s = connection.clock()
        try:
            connection.check_open()
            pcm = as_pcm(audio)
            if frame_bytes is None and frame_ms is FRAME_MS and not (end or flush):
                mark = session.send_live(pcm, now_s, writer.write_frame)
                if mark is not None:
                    if now_s - writer.turned_s > TURN_S:
                        await writer.let_turn()
                    return Playback(connection, mark)
            mark = session.queue_audio(pcm, now_s, frame_bytes, frame_ms, end=end, flush=flush)
        except AudioConnectorError:
            await writer.let_turn()  # a loop that tries for ever must not hold up all other calls
            raise
        if flush:
            connection.tell_news()
        if not writer.write_at_once(now_s):
            await connection.write_audio()
        return Playback(connection, mark)

    async def _close(self, code: int, reason: str) -> None:
        if self._connection.ended_s is None:
            await self._act_and_write(self._connection.close, code, reason)

    def _act(self, function: Callable[..., T], *args: object) -> Awaitable[T]:
        """Do it now; what is returned waits until it is on the wire."""
        if get_ident() == self._thread_id:
            return Done(partial(self._written, function(*args)))
        return self._connection.home.call(self._act_and_write, function, *args)

    async def _act_and_write(self, function: Callable[..., T], *args: object) -> T:
        return await self._written(function(*args))

    async def _written(self, result: T) -> T:
        await self._connection.writer.written()
        return result

    def _post(self, function: Callable[..., None], *args: object) -> None:
        """Do it now or, from another thread, soon; after the end it makes no difference."""
        if get_ident() == self._thread_id:
            function(*args)
        elif self._connection.ended_s is None:
            with suppress(AudioConnectorClosedError):
                self._connection.home.call(function, *args)


class _Messages(AsyncIterator[T], Generic[T]):
    """The messages of a client, one after the other."""

    def __init__(self, client: Client, form: Callable[[Item], T]) -> None:
        self._connection = client._connection
        self._form = form
        self._check_no_handler()
        client._post(self._connection.reader.iterate)

    async def __anext__(self) -> T:
        self._check_no_handler()
        connection = self._connection
        item = await at_home(connection, connection.next_item, on_lost=connection.put_back)
        if item is None:
            raise StopAsyncIteration
        return self._form(item)

    def _check_no_handler(self) -> None:
        if self._connection.reader.handlers.listener is not None:
            raise AudioConnectorConfigError("messages go to a handler already: use either it or 'async for'")


def _as_message(item: Item) -> Message:
    return item if isinstance(item, bytes) else item.text


_CLOSE_CODES = frozenset({1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})  # RFC 6455, IANA
