"""Who gets what comes on a call: handlers, or an `async for`; one message at a time, and in order.

While nobody is busy with a message before it, a handler is begun at once, in the callback that brings the message (see
`runtime.py`). One that waits is seen through by the call's own task. What comes meanwhile waits in the inbox. All ways
of listening cost the same.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable
from contextvars import Context
from types import CoroutineType
from typing import Any, Protocol

import anyio

from ..link.base import LoopTurn
from ..runtime import Waiter, enter_task, is_being_cancelled, leave_task, make_waiter, running_task
from ..steps import Begun, Handler, begin, go_on, name_of, rest
from .handlers import Handlers
from .inbox import Inbox, Item
from .output import TURN_S

logger = logging.getLogger("vonage_audio_connector_server")

LISTEN_S = 1.0
"""Messages wait for a listener this long after `on_connect` returned: it may have started a task that listens."""

LAG_S = 1.0
"""A handler that is this far behind real time is named in the log: a second is a pause that callers notice."""


class Owner(Protocol):
    """The call, as far as its dispatcher needs it."""

    id: str

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""

    def give_way(self) -> Awaitable[None]:
        """Let others have their turn, where the event loop has not turned for `TURN_S`."""

    def changed(self) -> None:
        """A message waits in the inbox."""

    async def report(self, error: Exception) -> None:
        """A handler has failed."""


class Dispatcher:
    """Hands over the messages of one call.

    Args:
        owner: the call.
        context: in which all user code of it runs.
        turn: of the event loop.

    Attributes:
        handlers: those that are set.
        inbox: what waits.
        is_handling: a message is being handed over.
        is_iterating: messages are taken by `async for`.
        came_s: when the message came that is being handed over.
        takers: how many wait for a message in the inbox.
    """

    def __init__(self, owner: Owner, context: Context, turn: LoopTurn) -> None:
        self.handlers = Handlers()
        self.inbox = Inbox()
        self.is_handling = self.is_iterating = False
        self.came_s = 0.0
        self.takers = 0
        self._owner: Owner | None = owner  # until all is over
        self._context = context
        self._turn = turn
        self._waiter: Any = make_waiter()  # on which the call's task waits
        self._loop, _ = running_task()  # None on trio
        self._task: object = None  # the call's, while its `run` runs
        self._queues = True  # messages go to the inbox: always on trio, else while the call's task is busy
        self._audio_handler: Handler | None = None  # what is begun with a frame of audio
        self._reader: Any = None  # on which an `async for` waits
        self._set_up_s = math.inf  # when on_connect returned; until then it may still set a handler
        self._missed = 0  # messages that nobody listened to
        self._was_late = False  # and the log has told so

    # The call's side

    def dispatch(self, item: Item, now_s: float) -> None:
        """A message came. Called out of no task."""
        if self._queues or self.inbox.items or now_s - self._turn.began_s > TURN_S:
            self._keep(item, now_s)
            return
        self.came_s = now_s
        handler: Handler | None
        if type(item) is bytes:
            handler = self._audio_handler
        else:
            handler = self._deliver_text if self.handlers.listener is not None else None
        if handler is None:
            reader = self._reader
            if reader is not None and reader.waits:
                reader.resume(item)
            else:
                self._keep(item, now_s)
            return
        self._queues = self.is_handling = True
        # As `begin` does it, without a function of its own, because this is done for every frame.
        loop, task, run = self._loop, self._task, self._context.run
        result: Any = begin  # nothing that a handler returns
        begun: Begun | None = None
        enter_task(loop, task)
        try:
            result = run(handler, item)
            if type(result) is CoroutineType:
                begun = result, run(result.send, None)
            elif result is not None:
                begun = run(go_on, result)
        except StopIteration as exc:
            if result is begin:  # a plain function has raised it
                begun = exc
        except BaseException as exc:  # noqa: BLE001 (raised again by the task that sees it through)
            begun = exc
        finally:
            leave_task(loop, task)
        if begun is None and not self.inbox.items:
            self._queues = self.is_handling = False
        else:
            self._waiter.resume((handler, begun))

    async def run(self) -> None:
        """Be the call's task: see handlers through, and hand over what waits. Ends when the call is over."""
        owner, inbox = self._owner, self.inbox
        assert owner is not None
        _, self._task = running_task()
        while True:
            while inbox.items and self.handlers.listener is not None:
                self.is_handling = True
                await owner.give_way()
                if inbox.items and (listener := self.handlers.listener) is not None:  # nothing has changed meanwhile
                    item, self.came_s = inbox.take()
                    handler = self._audio_handler if isinstance(item, bytes) else self._deliver_text
                    if handler is not None:
                        await self._see_through(listener, self._context.run(begin, handler, item))
            self.is_handling = False
            if owner.is_over and self._set_up_s < math.inf:
                return
            self._queues = self._loop is None
            begun = await self._waiter.wait()
            self._queues = True
            if begun is not None:
                self.is_handling = True
                await self._see_through(*begun)

    async def run_handler(self, handler: Handler, *args: object) -> Exception | None:
        """Run user code in the task that runs now; returns what it raises."""
        return await self._outcome(handler, self._context.run(begin, handler, *args))

    def wake(self) -> None:
        """Let the call's task, and an `async for`, look again."""
        self._waiter.wake()
        if self._reader is not None:
            self._reader.wake()

    def set_up(self, now_s: float) -> None:
        """`on_connect` has returned."""
        self._set_up_s = now_s
        if self._owner is not None and self._owner.is_over:
            self._waiter.wake()

    def lag_s(self, now_s: float) -> float:
        """How far behind real time the program is with what came."""
        return self.inbox.age_s(now_s)

    def forget(self) -> None:
        """All is over: let go what user code holds, and what holds the call."""
        self.handlers, self._audio_handler = Handlers(), None
        self._owner = self._task = self._reader = None
        if not self.is_iterating:
            self.inbox.clear()

    # The client's side

    def set_handlers(self, handlers: Handlers) -> None:
        """Set the handlers. What waits in the inbox is handed over first."""
        if self._owner is None:
            return
        self.handlers = handlers
        if handlers.on_message is not None and handlers.on_audio is not None:
            self._audio_handler = self._deliver_audio
        else:
            self._audio_handler = handlers.on_message or handlers.on_audio or (handlers.on_event and _ignore)
        if handlers.listener is not None:
            self.is_iterating = False
            self._tell_missed()
            if self.inbox.items:
                self._queues = True
                self._waiter.wake()

    def iterate(self) -> Waiter:
        """From now on messages are taken by `async for`; returns what it waits on."""
        self.is_iterating = True
        self._tell_missed()
        if self._reader is None:
            self._reader = make_waiter()
        reader: Waiter = self._reader
        return reader

    @property
    def is_awaited(self) -> bool:
        """Whether an `async for` waits for a message."""
        return self.takers > 0 or (self._reader is not None and bool(self._reader.waits))

    # Inside

    async def _deliver_audio(self, pcm: bytes) -> None:
        for handler in (self.handlers.on_message, self.handlers.on_audio):
            if handler is not None and hasattr(result := handler(pcm), "__await__"):
                await result

    async def _deliver_text(self, event: Any) -> None:
        handlers = self.handlers
        if handlers.on_message is not None and hasattr(result := handlers.on_message(event.text), "__await__"):
            await result
        if handlers.on_event is not None and hasattr(result := handlers.on_event(event), "__await__"):
            await result

    def _keep(self, item: Item, now_s: float) -> None:
        """Let a message wait, and let whoever takes it know."""
        owner = self._owner
        assert owner is not None
        listens = self.is_iterating or self.handlers.listener is not None
        if not listens and now_s - self._set_up_s > LISTEN_S:  # a program that only speaks, or one that comes late
            self.inbox.put(item, now_s)
            self._missed += self.inbox.keep_connected()
            return
        dropped = self.inbox.dropped
        self.inbox.put(item, now_s)
        if self.inbox.dropped and not dropped:
            logger.warning(
                "connection %s: nobody took its messages for so long that the oldest are dropped (%s)",
                owner.id,
                self._listener_name(),
            )
        if listens:
            self._tell_lag(owner.id, now_s)
        if not self.is_handling and self.handlers.listener is not None:
            self._queues = True
            self._waiter.wake()
        elif self._reader is not None:
            self._reader.wake()
        owner.changed()

    def _listener_name(self) -> str:
        listener = self.handlers.listener
        if listener is not None:
            return name_of(listener)
        return "its 'async for'" if self.is_iterating else "no on_message handler is set"

    def _tell_lag(self, call_id: str, now_s: float) -> None:
        lag_s = self.inbox.age_s(now_s)
        if self._was_late:
            self._was_late = lag_s > LAG_S / 2
        elif lag_s > LAG_S:
            self._was_late = True
            logger.warning("connection %s: %s is %.1f s behind real time", call_id, self._listener_name(), lag_s)

    def _tell_missed(self) -> None:
        if self._missed and self._owner is not None:
            self.inbox.dropped += self._missed
            logger.warning(
                "connection %s: %d messages had come and were dropped when somebody began to listen: they are kept for "
                "%g s behind the end of on_connect",
                self._owner.id,
                self._missed,
                LISTEN_S,
            )
            self._missed = 0

    async def _see_through(self, handler: Handler, begun: Begun | None) -> None:
        """Run the rest of a handler, and tell what it raises."""
        error = await self._outcome(handler, begun)
        if error is not None and self._owner is not None:
            await self._owner.report(error)

    async def _outcome(self, handler: Handler, begun: Begun | None) -> Exception | None:
        """Run what is left of user code; returns what it raises."""
        if begun is None:
            return None
        owner = self._owner
        assert owner is not None
        try:
            await rest(self._context, begun)
        except anyio.get_cancelled_exc_class():
            if is_being_cancelled():
                if owner.is_over:
                    name = name_of(handler)
                    logger.warning("connection %s: %s went on after the end and was cancelled", owner.id, name)
                raise
            # It waited for a task that was cancelled, in order to fall silent for example: its own affair.
            logger.warning("connection %s: %s ended by a cancellation of its own", owner.id, name_of(handler))
        except Exception as exc:  # noqa: BLE001 (user code may raise anything; the caller tells the user)
            return exc
        return None


def _ignore(pcm: bytes) -> None:
    """Stands for a handler of audio where only texts are listened to."""
