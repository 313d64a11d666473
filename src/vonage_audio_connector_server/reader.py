"""The way in of one connection: who reads, and how the program gets what came, one message at a time and in order.

One task at a time waits in `receive` and runs the handlers itself. A handler that waits makes another task read on, so
that a slow handler never hides the end of the connection, and the keep-alive goes on. What comes meanwhile waits in the
inbox. On our own server a frame is dealt with where it arrives, in the name of that task (`Reader.take`); the task
wakes only where the handler waits, or for anything else.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint

from .core.events import Audio, Event, Notified
from .direct import Listen
from .errors import AudioConnectorClosedError, AudioConnectorProtocolError
from .inbox import Inbox, Item, text_bytes
from .outcomes import CLOSED_BY_SERVER, ClosedBy
from .stepping import FirstStep, is_being_cancelled
from .writer import ABNORMAL, TURN_S, ASGIMessage

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger("vonage_audio_connector_server")

Handler = Callable[..., object]  # a plain or a coroutine function; what it returns is of no interest

LISTEN_S = 1.0
"""Messages wait for a listener this long after `on_connect` returned: it may have started a task that listens."""

LAG_S = 1.0
"""A handler that is this far behind real time is named in the log: a second is a pause that callers notice."""

IDLE_S = 0.005
"""Who waits this long for a message has read all that came: what is in a socket is there within a turn of the loop."""

NO_STATUS, TOO_BIG, INTERNAL_ERROR, RESTART = 1005, 1009, 1011, 1012  # RFC 6455 §7.4, IANA


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the program gave to `set_handler`; the meaning of each stands there."""

    on_message: Handler | None = None
    on_disconnect: Handler | None = None
    on_error: Handler | None = None
    on_audio: Handler | None = None
    on_event: Handler | None = None

    @property
    def listener(self) -> Handler | None:
        """One that takes messages, to be named in a log; None where none does."""
        return self.on_message or self.on_audio or self.on_event


_NONE = Handlers()


class Reader:
    """Reads what comes on a connection, tells the session, and hands it to the program.

    Args:
        connection: whose messages they are.
        receive: the ASGI `receive` of the connection.
        max_message_bytes: a longer message closes it.
        listen: see `Direct`.
    """

    def __init__(
        self,
        connection: Connection,
        receive: Callable[[], Awaitable[ASGIMessage]],
        max_message_bytes: int,
        listen: Listen | None = None,
    ) -> None:
        self.handlers = _NONE
        self._listener: Handler | None = None  # one of the handlers that take messages
        self._only: Handler | None = None  # on_message, where no other takes messages
        self.inbox = Inbox()
        self.last_s: float | None = None  # when the last message came
        self.is_iterating = False  # messages are taken by Connection.next_item
        self.is_awaited = False  # and one is being waited for
        self.is_handling = False  # a message is being handed over
        self._connection = connection
        self._receive = receive
        self._max_message_bytes = max_message_bytes
        self._listen = listen
        self._taken: tuple[Handler, _Begun | None] | None = None  # a handler that was begun and has not ended
        self._set_up_s = math.inf  # when on_connect returned; until then it may still set a handler
        self._relieved = False  # another task reads on meanwhile
        self._caught_up_s = connection.clock()  # when all that came had been read
        self._backlog_s = 0.0  # seconds of audio that were read since
        self._busy_lag_s = 0.0  # how far that was behind
        self._asked_s = self._caught_up_s  # when a message was last asked for
        self._lag_told = False  # in this episode

    # Reading

    async def read(self) -> None:
        """Read until the connection ends, or another task reads on."""
        connection, writer = self._connection, self._connection.writer
        clock, receive = connection.clock, self._receive
        if self._listen is not None:
            self._listen(self.take)
        while connection.ended_s is None:
            self._asked_s = clock()
            message = await receive()
            if self._taken is None:
                now_s = clock()
                if now_s - self._asked_s > IDLE_S:
                    writer.turned_s = now_s
                elif now_s - writer.turned_s > TURN_S:  # a backlog, and handlers that take their time
                    await checkpoint()
                    now_s = writer.turned()
                if message["type"] == "websocket.disconnect":
                    self._gone(message)
                elif writer.closing is None and await self._read_message(message, now_s):
                    return
            if self._taken is not None:
                taken, self._taken = self._taken, None
                if await self._hand_over_rest(*taken):
                    return  # another task reads on

    async def _read_message(self, message: ASGIMessage, now_s: float) -> bool:
        """Deal with a message, or keep it; tells whether another task reads on."""
        connection = self._connection
        text = message.get("text")
        item: Item
        if text is None:
            item = data = message["bytes"]
            if self._deal_with(data, now_s):
                return False
            if len(data) > self._max_message_bytes:
                self._refuse_big(len(data), now_s)
                return False
            if connection.session.receive_bytes(data):
                connection.format_known()
        else:
            if len(text) * 4 > self._max_message_bytes and text_bytes(text) > self._max_message_bytes:
                self._refuse_big(text_bytes(text), now_s)
                return False
            item = self._read_text(text)
        self._count(item, now_s)
        if self.is_handling or self.is_iterating or self._listener is None or self.inbox.items:
            self._keep(item, now_s)
            return False
        return await self._hand_over(item)

    def take(self, data: bytes) -> bool:
        """Deal with a frame of audio in the stead of `read`, which waits for it, as far as that needs no waiting.

        Returns False where `read` has to deal with it, or to go on with its handler.
        """
        connection = self._connection
        writer = connection.writer
        if connection.ended_s is not None or writer.closing is not None or not self._deal_with(data, writer.turned()):
            return False
        if self._taken is not None:
            return False
        self._asked_s = connection.clock()
        return True

    def _deal_with(self, data: bytes, now_s: float) -> bool:
        """Tell the session of a frame, and begin the one handler of all messages; `_taken` has what that leaves to do.

        Returns False where it has to wait for another message, or for more than that handler: nothing was done.
        """
        only, items = self._only, self.inbox.items
        if only is None or self.is_handling or items or len(data) > self._max_message_bytes:
            return False
        connection = self._connection
        if connection.session.receive_bytes(data):
            connection.format_known()
        self._count(data, now_s)
        self.is_handling, self._relieved = True, False
        begun = _begin(only, data)
        if begun is None and not items and connection.ended_s is None and not self._lag_told:
            self.is_handling = False
        else:
            self._taken = only, begun
        return True

    def _count(self, item: Item, now_s: float) -> None:
        """A message has come: when, and how far behind that is."""
        connection = self._connection
        self.last_s = now_s
        if connection.session.out.has_history:
            connection.session.out.forget_heard(now_s)
        if now_s - self._asked_s > IDLE_S + 2 * connection.turn_s:
            self._caught_up_s, self._backlog_s, self._busy_lag_s = now_s, 0.0, 0.0
        else:
            self._behind(item, now_s)

    def lag_s(self, now_s: float) -> float:
        """How far behind real time the program is with what came."""
        since_s = self.inbox.since_s
        if not self.is_handling and now_s - self._asked_s > LAG_S:
            self._busy_lag_s = 0.0  # it waits for a message, and none is there
        return max(self._busy_lag_s, 0.0 if since_s is None else now_s - since_s)

    def _read_text(self, text: str) -> Item:
        session = self._connection.session
        known = session.audio_format
        event = session.receive_text(text)
        if session.audio_format is not known:
            self._connection.format_known()
        if isinstance(event, Audio):
            return event.pcm
        if isinstance(event, Notified):
            self._connection.tell_news()
        return event

    def _gone(self, message: ASGIMessage) -> None:
        closing = self._connection.writer.closing
        if closing is not None:  # ours came first; some servers tell of the end before `send` returns
            self._connection.end(*closing)
            return
        code = message.get("code") or NO_STATUS
        by: ClosedBy = "session"
        if code == ABNORMAL:
            by = "network"
        elif message.get(CLOSED_BY_SERVER):
            by = "library"
        elif code == RESTART:  # the session is a client: so this is an ASGI server that stops
            by = "server"
        self._connection.end(code, by, message.get("reason") or "")

    def _refuse_big(self, size_bytes: int, now_s: float) -> None:
        self.last_s = now_s
        connection = self._connection
        error = AudioConnectorProtocolError(
            f"connection {connection.id}: a message of {size_bytes} bytes came, {self._max_message_bytes} are allowed",
            close_code=TOO_BIG,
        )
        logger.warning("%s: closed with %d", error, error.close_code)
        connection.close(error.close_code, "message too big", by="library")

    def _behind(self, item: Item, now_s: float) -> None:
        """A message was there already: so much audio since all had been read tells how far behind it is."""
        audio_format = self._connection.session.audio_format
        if isinstance(item, bytes) and audio_format is not None:
            self._backlog_s += audio_format.frame_s
            self._busy_lag_s = max(0.0, now_s - self._caught_up_s - self._backlog_s)
            if self._busy_lag_s > LAG_S:
                self._tell_lag(self._busy_lag_s)
        if self._busy_lag_s < LAG_S / 2 and not self.inbox:
            self._lag_told = False

    def _keep(self, item: Item, now_s: float) -> None:
        listener = self._listener
        if listener is None and not self.is_iterating and now_s - self._set_up_s > LISTEN_S:
            self.inbox.clear()
            return  # on_connect is done and nobody listens: a program that only speaks
        was_dropping = self.inbox.dropped
        self.inbox.put(item, now_s)
        if self.inbox.dropped and not was_dropping:
            logger.warning(
                "connection %s: nobody took its messages for so long that the oldest are dropped (%s)",
                self._connection.id,
                name_of(listener) if listener else "no on_message handler is set",
            )
        if (listener or self.is_iterating) and (lag_s := self.lag_s(now_s)) > LAG_S:
            self._tell_lag(lag_s)
        self._connection.tell_news()

    def _tell_lag(self, lag_s: float) -> None:
        if not self._lag_told:
            self._lag_told = True
            listener = self._listener
            name = name_of(listener) if listener else "its 'async for'"
            logger.warning("connection %s: %s is %.1f s behind real time", self._connection.id, name, lag_s)

    # For the client

    def take_handlers(self, handlers: Handlers) -> None:
        """Set the handlers. What waits in the inbox is handed over first."""
        self.handlers = handlers
        self._listener = handlers.listener
        self._only = handlers.on_message if handlers.on_audio is handlers.on_event is None else None
        listens = self._listener is not None
        self.is_iterating = self.is_iterating and not listens
        tasks = self._connection.tasks
        if listens and self.inbox and not self.is_handling and tasks is not None:
            self.is_handling = True  # from now on, so that the end of the call waits for it
            tasks.start_soon(self._hand_over_inbox)

    def iterate(self) -> None:
        """From now on messages wait for `Connection.next_item` instead of a handler."""
        self.is_iterating = True

    # User code

    async def set_up(self, on_connect: Handler) -> None:
        """Run `on_connect`."""
        error = await self.run(on_connect)
        if error is not None:
            await self._report(error)
        self._set_up_s = self._connection.clock()

    async def _hand_over(self, item: Item, *, reading: bool = True) -> bool:
        """Run the handlers for a message and for what comes meanwhile; tells whether another task reads on."""
        self.is_handling, self._relieved = True, not reading
        try:
            await self._handle(item)
            return await self._handle_inbox()
        finally:
            self._handled()

    async def _hand_over_rest(self, handler: Handler, begun: _Begun | None) -> bool:
        """The same, once the handler of the message has been begun."""
        try:
            if begun is not None:
                await self._go_on(handler, begun)
            return await self._handle_inbox()
        finally:
            self._handled()

    async def _handle(self, item: Item) -> None:
        handlers = self.handlers
        is_audio = isinstance(item, bytes)
        if handlers.on_message is not None:
            message = item if isinstance(item, bytes) else item.text
            if (begun := _begin(handlers.on_message, message)) is not None:
                await self._go_on(handlers.on_message, begun)
        handler = handlers.on_audio if is_audio else handlers.on_event
        if handler is not None and (begun := _begin(handler, item)) is not None:
            await self._go_on(handler, begun)

    async def _handle_inbox(self) -> bool:
        while self.inbox.items and self._listener is not None:
            await self._connection.writer.let_turn()  # a backlog must not hold up the loop
            if self.inbox.items and self._listener is not None:  # not closed, nor removed, meanwhile
                await self._handle(self.inbox.take())
        if self._lag_told and self._busy_lag_s < LAG_S / 2:
            self._lag_told = False
        return self._relieved

    def _handled(self) -> None:
        self.is_handling = False
        if self._connection.ended_s is not None:
            self._connection.stop_if_over()

    async def _go_on(self, handler: Handler, begun: _Begun) -> None:
        """See a handler of messages through, and tell its error."""
        error = await self._see_through(handler, begun, relieve=True)
        if error is not None:
            await self._report(error, relieve=True)

    async def _hand_over_inbox(self) -> None:
        if self.inbox and self._listener is not None:
            await self._hand_over(self.inbox.take(), reading=False)
        else:  # closed, or without a handler again, since this was started
            self.is_handling = False
            self._connection.stop_if_over()

    async def run(self, function: Handler, *args: object, relieve: bool = False) -> Exception | None:
        """Run user code; returns what it raised. `relieve`: where it waits, another task reads on."""
        begun = _begin(function, *args)
        return None if begun is None else await self._see_through(function, begun, relieve=relieve)

    async def _see_through(self, function: Handler, begun: _Begun, *, relieve: bool) -> Exception | None:
        """Run the rest of what was begun; returns what it raised."""
        connection = self._connection
        try:
            if isinstance(begun, BaseException):
                raise begun
            if relieve and not self._relieved and connection.tasks is not None:
                self._relieved = True
                # What the handler has set in its context is its own affair.
                connection.home.context.run(connection.tasks.start_soon, self.read)
            await begun
        except anyio.get_cancelled_exc_class():
            if is_being_cancelled():
                if connection.ended_s is not None:
                    name = name_of(function)
                    logger.warning("connection %s: %s went on after the end and was cancelled", connection.id, name)
                raise
            # It waited for a task that was cancelled, in order to fall silent for example: its own affair.
            logger.warning("connection %s: %s ended by a cancellation of its own", connection.id, name_of(function))
        except Exception as exc:  # noqa: BLE001 (user code may raise anything; the caller tells the user)
            return exc
        return None

    async def _report(self, error: Exception, *, relieve: bool = False) -> None:
        """Tell an error of user code: to `on_error`, and the call goes on; else to the log, and the call ends."""
        connection = self._connection
        if not connection.is_open and _is_only_closed(error):
            return  # the code was sending when the call ended: the usual end, not an error
        if self.handlers.on_error is not None:
            failed = await self.run(self.handlers.on_error, error, relieve=relieve)
            if failed is None:
                return
            failed.__context__ = failed.__context__ or error
            error = failed
        logger.error("connection %s: a handler failed, closed with %d", connection.id, INTERNAL_ERROR, exc_info=error)
        connection.close(INTERNAL_ERROR, "internal error", by="library")

    def forget(self) -> None:
        """All is over. Let the connection, and the client that handlers hold, go without the collector."""
        self.handlers, self._listener, self._only = _NONE, None, None
        if self._listen is not None:
            self._listen(None)
            self._listen = None
        del self._connection
        if not self.is_iterating:
            self.inbox.clear()


_Begun = FirstStep[Any] | BaseException


def _begin(function: Handler, *args: object) -> _Begun | None:
    """Run user code up to its first wait: returns what is left of it, or what it raised; None where it is done."""
    try:
        result = function(*args)
        if result is not None and hasattr(result, "__await__"):
            return FirstStep.of(result)
    except BaseException as exc:  # noqa: BLE001 (raised again by who sees it through)
        return exc
    return None


def as_event(item: Item) -> Event:
    """A message as a typed event."""
    return Audio(item) if isinstance(item, bytes) else item


def name_of(handler: Handler) -> str:
    """How to call a handler in a log."""
    while isinstance(handler, partial):
        handler = handler.func
    return getattr(handler, "__qualname__", type(handler).__qualname__)


def _is_only_closed(error: Exception) -> bool:
    """Whether it says no more than that the connection has ended, as several tasks of a group may say at once."""
    if isinstance(error, ExceptionGroup):
        return error.split(AudioConnectorClosedError)[1] is None
    return isinstance(error, AudioConnectorClosedError)
