"""One connection: who reads, who runs the user's code, and how it ends. With `writer.py`, the only place with tasks.

Reading. One task at a time waits in `receive` and runs `on_message` itself. A handler that waits makes another task
read on, so that a slow handler never hides the end of the connection, and the keep-alive goes on.

Ending. The first cause wins. All waits end, user code in progress has `GRACE_S` to finish, then it is cancelled, and
`on_disconnect` runs last.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.abc

from .config import AudioConnectorConfig
from .core.session import Session
from .errors import AudioConnectorClosedError, AudioConnectorProtocolError
from .inbox import Inbox, Message, size_bytes
from .models import AudioFormat
from .stepping import FirstStep, is_being_cancelled
from .writer import ABNORMAL, ASGIMessage, Writer, backend_clock

logger = logging.getLogger("vonage_audio_connector_server")

Handler = Callable[..., object]  # a plain or a coroutine function; what it returns is of no interest

GRACE_S = 5.0
"""How long user code in progress may go on after the connection has ended, before it is cancelled."""

CANCELLED_GRACE_S = 10.0
"""How long `on_disconnect` may take where the ASGI server cancelled the connection."""

LISTEN_S = 1.0
"""Messages wait for a listener this long after `on_connect` returned: it may have started a task that listens."""

CLOSE_S = 1.0
"""How long the close may take that is written for a cancelled connection."""

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
        self.session = Session(
            self.started_s,
            assumed_format=config.audio_format,
            lead_s=config.lead_s,
            clear_commands=config.clear_commands,
        )
        self._receive = receive
        self._max_message_bytes = config.max_message_bytes
        self._tasks: anyio.abc.TaskGroup | None = None
        self._inbox = Inbox()
        self.is_iterating = False  # messages are taken by next_message
        self.is_awaited = False  # and one is being waited for
        self._setting_up = True  # until on_connect returns: it may still set a handler
        self._set_up_s = math.inf  # when it returned
        self._handling = False  # a message is being handed over
        self._relieved = False  # another task reads on meanwhile
        self._news: anyio.Event | None = None  # tells of a message, a format, or the end
        self._writer = Writer(self.session, send, self.clock, self._end)

    # For the app

    async def run(self, on_connect: Callable[[], object]) -> None:
        """Serve the accepted connection until it ends; `on_disconnect` has run when this returns.

        Cancelling it ends the connection: user code is cancelled, `on_disconnect` still runs, within
        `CANCELLED_GRACE_S`.
        """
        grace_s = math.inf
        try:
            async with anyio.create_task_group() as self._tasks:
                self._writer.tasks = self._tasks
                self._tasks.start_soon(self._set_up, on_connect)
                await self._read()
        except anyio.get_cancelled_exc_class():
            grace_s = CANCELLED_GRACE_S
            raise
        finally:
            self._tasks = self._writer.tasks = None
            await self._finish(grace_s)

    # For the client

    @property
    def is_open(self) -> bool:
        """Whether anything can still be sent."""
        return self.ended_s is None and self._writer.closing is None

    @property
    def dropped_in(self) -> int:
        """How many messages were dropped because nobody took them in time."""
        return self._inbox.dropped

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
        if self.session.has_unsent or self.close_code == ABNORMAL:
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
            self._inbox.clear()
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
        self.is_iterating = self.is_iterating and on_message is None
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
            self.is_awaited = True
            try:
                await self._wait_news()
            finally:
                self.is_awaited = False
        await self._writer.let_turn()  # a backlog must not hold up the loop
        return self._inbox.take() if self._inbox else await self.next_message()

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
                if (size := size_bytes(data)) > self._max_message_bytes:
                    self._refuse_big(size)
                    continue
                self._tell_session(data)
                if self._handling or self._inbox or self.is_iterating or self.on_message is None:
                    self._keep(data)
                elif await self._hand_over(data):
                    return  # another task reads on

    def _tell_session(self, message: Message) -> None:
        session = self.session
        known = session.audio_format
        if type(message) is bytes:
            session.receive_bytes(message)
        else:
            session.receive_text(str(message))
        if session.audio_format is not known:
            self._tell_news()
            if session.queued_s:
                self._writer.play_from(self.clock())  # what waited for the format is due now

    def _refuse_big(self, size_bytes: int) -> None:
        error = AudioConnectorProtocolError(
            f"connection {self.id}: a message of {size_bytes} bytes came, {self._max_message_bytes} are allowed",
            close_code=TOO_BIG,
        )
        logger.warning("%s: closed with %d", error, error.close_code)
        self.close(error.close_code, "message too big")

    def _keep(self, message: Message) -> None:
        if self.on_message is None and not self.is_iterating and self.clock() - self._set_up_s > LISTEN_S:
            self._inbox.clear()
            return  # on_connect is done and nobody listens: a program that only speaks
        was_dropping = self._inbox.dropped
        self._inbox.put(message)
        if self._inbox.dropped and not was_dropping:
            logger.warning(
                "connection %s: nobody took its messages for so long that the oldest are dropped (%s)",
                self.id,
                _name(self.on_message) if self.on_message else "no on_message handler is set",
            )
        self._tell_news()

    # User code

    async def _set_up(self, on_connect: Callable[[], object]) -> None:
        error = await self._run(on_connect)
        if error is not None:
            await self._report(error)
        self._setting_up = False
        self._set_up_s = self.clock()
        self._stop_if_over()

    async def _hand_over(self, message: Message, *, reading: bool = True) -> bool:
        """Run `on_message` for a message and for what comes meanwhile; tells whether another task reads on."""
        self._handling = True
        self._relieved = not reading
        try:
            while self.on_message is not None:
                error = await self._run(self.on_message, message, relieve=True)
                if error is not None:
                    await self._report(error, relieve=True)
                if not self._inbox:
                    break
                await self._writer.let_turn()  # a backlog must not hold up the loop
                if not self._inbox:  # closed meanwhile
                    break
                message = self._inbox.take()
            return self._relieved
        finally:
            self._handling = False
            self._stop_if_over()

    async def _hand_over_inbox(self) -> None:
        if self._inbox and self.on_message is not None:
            await self._hand_over(self._inbox.take(), reading=False)
        else:  # closed, or without a handler again, since this was started
            self._handling = False
            self._stop_if_over()

    async def _run(self, function: Handler, *args: object, relieve: bool = False) -> Exception | None:
        """Run user code; returns what it raised. `relieve`: where it waits, another task reads on."""
        try:
            result = function(*args)
            if result is not None and hasattr(result, "__await__"):
                step = FirstStep(result)
                if not step.finished:
                    if relieve and not self._relieved and self._tasks is not None:
                        self._relieved = True
                        self._tasks.start_soon(self._read)
                    await step
        except anyio.get_cancelled_exc_class():
            if is_being_cancelled():
                if self.ended_s is not None:
                    name = _name(function)
                    logger.warning("connection %s: %s went on after the end and was cancelled", self.id, name)
                raise
            # It waited for a task that was cancelled, in order to fall silent for example: its own affair.
            logger.warning("connection %s: %s ended by a cancellation of its own", self.id, _name(function))
        except Exception as exc:  # noqa: BLE001 (user code may raise anything; the caller tells the user)
            return exc
        return None

    async def _report(self, error: Exception, *, relieve: bool = False) -> None:
        """Tell an error of user code: to `on_error`, and the call goes on; else to the log, and the call ends."""
        if not self.is_open and _is_only_closed(error):
            return  # the code was sending when the call ended: the usual end, not an error
        if self.on_error is not None:
            failed = await self._run(self.on_error, error, relieve=relieve)
            if failed is None:
                return
            failed.__context__ = failed.__context__ or error
            error = failed
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
        self.session.drop_audio()  # nobody will hear it
        self._tell_news()
        if self._tasks is not None:
            self._tasks.cancel_scope.deadline = anyio.current_time() + GRACE_S
            self._stop_if_over()

    def _stop_if_over(self) -> None:
        """End the tasks that only wait, once no user code is in progress."""
        if self.ended_s is not None and not self._setting_up and not self._handling and self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _finish(self, grace_s: float) -> None:
        try:
            if self.ended_s is None:  # cancelled by the ASGI server, or by an error of ours
                with anyio.move_on_after(CLOSE_S, shield=True):  # it must not eat the time of on_disconnect
                    await self._writer.close(RESTART, "server stops")
                self._end(RESTART)
            if self.on_disconnect is not None:
                with anyio.move_on_after(grace_s, shield=True):
                    error = await self._run(self.on_disconnect)
                    if error is not None:
                        logger.error("connection %s: on_disconnect failed", self.id, exc_info=error)
        finally:
            # Handlers hold the client, which holds us: let all of it go without the collector.
            self.on_message = self.on_disconnect = self.on_error = None
            if not self.is_iterating:
                self._inbox.clear()

    # News

    def _tell_news(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    async def _wait_news(self) -> None:
        self._news = self._news or anyio.Event()
        await self._news.wait()


def _name(handler: Handler) -> str:
    while isinstance(handler, partial):
        handler = handler.func
    return getattr(handler, "__qualname__", type(handler).__qualname__)


def _is_only_closed(error: Exception) -> bool:
    """Whether it says no more than that the connection has ended, as several tasks of a group may say at once."""
    if isinstance(error, ExceptionGroup):
        return error.split(AudioConnectorClosedError)[1] is None
    return isinstance(error, AudioConnectorClosedError)
