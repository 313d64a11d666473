"""One connection: who reads, who runs the user's code, and how it ends. With `writer.py`, the only place with tasks.

Reading. One task at a time waits in `receive` and runs `on_message` itself. A handler that waits makes another task
read on, so that a slow handler never hides the end of the connection, and the keep-alive goes on.

Ending. The first cause wins. All waits end, user code in progress has `GRACE_S` to finish, then it is cancelled, and
`on_disconnect` runs last.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc

from .config import AudioConnectorConfig
from .core.session import Session
from .errors import AudioConnectorClosedError, AudioConnectorProtocolError
from .models import AudioFormat
from .stepping import FirstStep, call, is_being_cancelled
from .writer import ASGIMessage, Writer, backend_clock

logger = logging.getLogger("vonage_audio_connector_server")

Message = bytes | str
Handler = Callable[..., object]  # a plain or a coroutine function; what it returns is of no interest

GRACE_S = 5.0
"""How long user code in progress may go on after the connection has ended, before it is cancelled."""

CANCELLED_GRACE_S = 10.0
"""How long `on_disconnect` may take where the ASGI server cancelled the connection."""

INBOX_BYTES = 1024 * 1024
"""Messages that nobody has taken wait up to this size, 32 s at 16 kHz; then the oldest are dropped."""

NORMAL, NO_STATUS, TOO_BIG, INTERNAL_ERROR, RESTART = 1000, 1005, 1009, 1011, 1012  # RFC 6455 §7.4, IANA


class Connection:
    """One accepted WebSocket, from the accept to the end of `run`.

    Args:
        receive: the ASGI `receive` of the connection.
        send: the ASGI `send` of the connection.
        config: the settings.
        connection_id: stands in every log line about it.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[ASGIMessage]],
        send: Callable[[ASGIMessage], Awaitable[None]],
        config: AudioConnectorConfig,
        connection_id: str,
    ) -> None:
        self.on_message: Handler | None = None
        self.on_disconnect: Handler | None = None
        self.on_error: Handler | None = None
        self.id = connection_id
        self.clock = backend_clock()
        self.started_s = self.clock()
        self.ended_s: float | None = None
        self.close_code: int | None = None
        self.dropped_in = 0
        self.session = Session(
            self.started_s,
            assumed_format=config.audio_format,
            lead_s=config.lead_s,
            clear_commands=config.clear_commands,
        )
        self._receive = receive
        self._max_message_bytes = config.max_message_bytes
        self._tasks: anyio.abc.TaskGroup | None = None
        self._inbox: deque[Message] = deque()
        self._inbox_bytes = 0
        self.is_iterating = False
        self._setting_up = True  # until on_connect returns: it may still set a handler
        self._handling = False  # a message is being handed over
        self._news: anyio.Event | None = None  # tells of a message, a format, or the end
        self._writer = Writer(self.session, send, self.clock, self._end)

    # For the app

    async def run(self, on_connect: Callable[[], object]) -> None:
        """Serve the accepted connection until it ends; `on_disconnect` has run when this returns.

        Cancelling it ends the connection: user code is cancelled, `on_disconnect` still runs, within
        `CANCELLED_GRACE_S`.
        """
        finish_s = math.inf
        try:
            async with anyio.create_task_group() as self._tasks:
                self._writer.tasks = self._tasks
                self._tasks.start_soon(self._set_up, on_connect)
                await self._read()
        except anyio.get_cancelled_exc_class():
            finish_s = CANCELLED_GRACE_S
            raise
        finally:
            self._tasks = self._writer.tasks = None
            if self._setting_up:
                logger.warning("connection %s: its on_connect went on after the end and was cancelled", self.id)
            with anyio.move_on_after(finish_s, shield=True):
                await self._finish()

    # For the client

    @property
    def is_open(self) -> bool:
        """Whether anything can still be sent."""
        return self.ended_s is None and self._writer.closing is None

    def check_open(self) -> None:
        """Raise `AudioConnectorClosedError` where nothing can be sent any more."""
        if not self.is_open:
            code = "" if self.close_code is None else f" (close code {self.close_code})"
            raise AudioConnectorClosedError(f"connection {self.id} is closed{code}: nothing can be sent on it")

    async def send_audio(self, pcm: bytes, **how: Any) -> None:
        """Queue audio as `Session.queue_audio` does, and write what is due now."""
        self.session.queue_audio(pcm, self.clock(), **how)
        await self._writer.audio_queued()

    async def send_text(self, text: str) -> None:
        """Write a text; returns when it is on the wire.

        Raises:
            AudioConnectorClosedError: the connection ended before.
        """
        self.session.queue_text(text)
        await self.written()
        self.check_open()

    def flush(self) -> None:
        """Drop all queued audio now; the clear commands go out ahead of anything that is queued later."""
        self.session.clear()
        self._writer.play_from(self.clock())

    def close(self, code: int, reason: str = "") -> None:
        """End the connection now: queued audio is dropped, texts that are queued go out, then the close."""
        if self.is_open:
            self._writer.closing = (code, reason)
            self.session.drop_audio()
            self._drop_inbox()
            self._tell_news()
            self._writer.play_from(self.clock())

    async def written(self) -> None:
        """Wait until every text queued so far, and the close if there is one, is on the wire, or all is over."""
        await self._writer.written()

    async def wait_format(self) -> AudioFormat:
        """Wait until the audio format is known; one second after the accept it is assumed."""
        with anyio.move_on_after(self.session.format_due_s - self.clock()):
            while self.session.audio_format is None and self.is_open:
                await self._wait_news()
        return self.session.assume_format()

    def take_handlers(
        self, on_message: Handler | None, on_disconnect: Handler | None, on_error: Handler | None
    ) -> None:
        """Set the handlers. What waits in the inbox is handed over first."""
        self.on_message, self.on_disconnect, self.on_error = on_message, on_disconnect, on_error
        if on_message is not None and self._inbox and not self._handling and self._tasks is not None:
            self._handling = True  # from now on, so that the end of the call waits for it
            self._tasks.start_soon(self._hand_over_inbox)

    def iterate(self) -> None:
        """From now on messages wait for `next_message` instead of a handler."""
        self.is_iterating = True

    async def next_message(self) -> Message | None:
        """The next message in order; None when the connection has ended and all were taken."""
        while not self._inbox:
            if not self.is_open:
                return None
            await self._wait_news()
        return self._take()

    # Reading

    async def _read(self) -> None:
        while self.ended_s is None:
            step = FirstStep(self._receive())
            if step.finished:
                message = step.result
                await self._writer.let_turn()  # a backlog, and handlers that take their time
            else:
                message = await step
                self._writer.turned()
            if message["type"] == "websocket.disconnect":
                self._end(message.get("code") or NO_STATUS)
            elif self._writer.closing is None:
                data = message.get("bytes")
                if data is None:
                    data = message["text"]
                    self._take_text(data)
                else:
                    self._take_bytes(data)
                if len(data) > self._max_message_bytes:
                    self._refuse_big(len(data))
                elif self._handling or self._inbox or self.is_iterating or self.on_message is None:
                    self._keep(data)
                elif await self._hand_over(data):
                    return  # another task reads on

    def _take_text(self, text: str) -> None:
        known = self.session.audio_format
        self.session.receive_text(text)
        if self.session.audio_format is not known:
            self._format_known()

    def _take_bytes(self, pcm: bytes) -> None:
        known = self.session.audio_format
        self.session.receive_bytes(pcm)
        if self.session.audio_format is not known:
            self._format_known()

    def _format_known(self) -> None:
        self._tell_news()
        if self.session.queued_s:
            self._writer.play_from(self.clock())  # what waited for the format is due now

    def _refuse_big(self, size_bytes: int) -> None:
        error = AudioConnectorProtocolError(
            f"connection {self.id}: a message of {size_bytes} bytes came, {self._max_message_bytes} are allowed",
            close_code=TOO_BIG,
        )
        logger.warning("%s: closed with %d", error, error.close_code)
        self.close(error.close_code, "message too big")

    def _keep(self, message: Message) -> None:
        if self.on_message is None and not self.is_iterating and not self._setting_up:
            return  # on_connect is done and nobody listens: a program that only speaks
        self._inbox.append(message)
        self._inbox_bytes += len(message)
        while self._inbox_bytes > INBOX_BYTES:
            self._take()
            if not self.dropped_in:
                logger.warning(
                    "connection %s: nobody took its messages for so long that the oldest are dropped (%s)",
                    self.id,
                    _name(self.on_message) if self.on_message else "no on_message handler is set",
                )
            self.dropped_in += 1
        self._tell_news()

    def _take(self) -> Message:
        message = self._inbox.popleft()
        self._inbox_bytes -= len(message)
        return message

    def _drop_inbox(self) -> None:
        self._inbox.clear()
        self._inbox_bytes = 0

    # User code

    async def _set_up(self, on_connect: Callable[[], object]) -> None:
        await self._call(on_connect)
        self._setting_up = False
        if self.on_message is None and not self.is_iterating:
            self._drop_inbox()
        self._stop_if_over()

    async def _hand_over(self, message: Message, *, reading: bool = True) -> bool:
        """Run `on_message` for a message and for what comes meanwhile; tells whether another task reads on."""
        self._handling = True
        try:
            while True:
                assert self.on_message is not None
                try:
                    result = self.on_message(message)
                    if result is not None and hasattr(result, "__await__"):
                        step = FirstStep(result)
                        if not step.finished:
                            if reading and self._tasks is not None:
                                self._tasks.start_soon(self._read)
                                reading = False
                            await step
                except anyio.get_cancelled_exc_class():
                    if is_being_cancelled():
                        raise
                    logger.warning(  # it waited for a task that was cancelled: its own affair, the call goes on
                        "connection %s: %s ended by a cancellation of its own", self.id, _name(self.on_message)
                    )
                except Exception as exc:  # noqa: BLE001 (user code may raise anything; it is told to the user)
                    await self._report(exc)
                if not self._inbox or self.on_message is None:
                    return not reading
                message = self._take()
        finally:
            self._handling = False
            self._stop_if_over()

    async def _hand_over_inbox(self) -> None:
        await self._hand_over(self._take(), reading=False)

    async def _call(self, handler: Handler, *args: object) -> None:
        try:
            await call(handler, *args)
        except Exception as exc:  # noqa: BLE001 (user code may raise anything; it is told to the user)
            await self._report(exc)

    async def _report(self, error: Exception) -> None:
        """Tell an error of user code: to `on_error`, and the call goes on; else to the log, and the call ends."""
        if isinstance(error, AudioConnectorClosedError) and not self.is_open:
            return  # the code was sending when the call ended: the usual end, not an error
        if self.on_error is not None:
            try:
                await call(self.on_error, error)
                return
            except Exception as exc:  # noqa: BLE001 (as above; the first error is its context)
                error = exc
        logger.error("connection %s: a handler failed, closed with %d", self.id, INTERNAL_ERROR, exc_info=error)
        self.close(INTERNAL_ERROR, "internal error")

    # Ending

    def _end(self, code: int) -> None:
        """The connection is over: end all waits, and give user code its grace."""
        if self.ended_s is not None:
            return
        self.ended_s = self.clock()
        self.close_code = code
        self._writer.end()
        self._tell_news()
        if self._tasks is not None:
            self._tasks.cancel_scope.deadline = anyio.current_time() + GRACE_S
            self._stop_if_over()

    def _stop_if_over(self) -> None:
        """End the tasks that only wait, once no user code is in progress."""
        if self.ended_s is not None and not self._setting_up and not self._handling and self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _finish(self) -> None:
        await self._writer.close(RESTART, "server stops")  # unless it ended: the ASGI server cancelled it
        if self.on_disconnect is not None:
            try:
                await call(self.on_disconnect)
            except Exception as exc:
                logger.error("connection %s: on_disconnect failed", self.id, exc_info=exc)
        # Handlers hold the client, which holds us: without them the connection goes when its client does.
        self.on_message = self.on_disconnect = self.on_error = None

    # News

    def _tell_news(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    async def _wait_news(self) -> None:
        self._news = self._news or anyio.Event()
        await self._news.wait()


def _name(handler: Handler) -> str:
    return getattr(handler, "__qualname__", type(handler).__qualname__)
