"""Who gets what comes on a call: handlers, or an `async for`; one message at a time, and in order.

While nobody is busy with a message before it, a handler is begun at once, in the callback that brings the message (see
`waiter.py`). One that waits is seen through by the call's own task. What comes meanwhile waits in the inbox. All ways
of listening go through here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Protocol

import anyio

from ..errors import AudioConnectorConfigError
from ..link.base import TURN_S, LoopTurn
from ..runtime import is_being_cancelled, make_waiter, running_task
from ..steps import DONE, Handler, Steps, name_of
from ..waiter import WOKEN, cancel_again, current_task, enter_task, leave_task
from .handlers import Handlers
from .inbox import Form, Inbox, Item, formed

Deliver = Callable[[Item, float], None]
"""Takes a message, and when it came."""

logger = logging.getLogger("vonage_audio_connector_server")

LISTEN_S = 1.0
"""Messages wait for a listener this long after `on_connect` returned: it may have started a task that listens."""

TAKEN = "messages go to a handler already: use either it or 'async for'"

LAG_S = 1.0
"""A handler that is this far behind real time is named in the log: a second is a pause that callers notice."""


class Owner(Protocol):
    """The call, as far as its dispatcher needs it."""

    id: str

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""

    def give_way(self) -> Awaitable[None]:
        """Let others run, where the event loop has not turned for `TURN_S`."""

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
        is_iterating: messages are taken by `async for`.
        is_tapped: somebody listens beside the program, which need not listen then.
        is_readable: one may wait for the next: no handler takes messages, and the call is not over.
        form: makes of a message what the `async for` that waits wants; None: it wants the message as it came.
        takers: how many wait for a message in the inbox.
    """

    def __init__(self, owner: Owner, context: Context, turn: LoopTurn) -> None:
        self.handlers = Handlers()
        self.inbox = Inbox()
        self.is_iterating = self.is_tapped = False
        self.is_readable = True
        self.form: Form[object] | None = None
        self.takers = 0
        self._owner: Owner | None = owner  # until all is over
        self._context = context
        self._turn = turn
        self._waiter: Any = make_waiter()  # on which the call's task waits
        self._loop, _ = running_task()  # None on trio
        self._task: object = None  # the call's, while its `run` runs
        self._is_direct = False  # the call's task waits, and nothing waits for a handler; never on trio
        self._audio_steps: Steps | None = None  # of the handlers that are set
        self._text_steps: Steps | None = None
        self._reader: Any = None  # on which an `async for` waits
        self._set_up_s = math.inf  # when on_connect returned; until then it may still set a handler
        self._missed = 0  # messages that nobody listened to
        self._was_late = False  # and the log has told so

    # The call's side

    def dispatch(self, item: Item, now_s: float) -> None:
        """A message came. Called out of no task."""
        steps = self._audio_steps if type(item) is bytes else self._text_steps
        if steps is None:
            reader = self._reader
            if reader is None or reader.wakeup is None:
                self._keep(item, now_s)
            elif now_s - self._turn.began_s > TURN_S:
                self._keep(item, now_s)
                reader.nudge()
            else:
                is_as_it_came = self.form is None and type(item) is bytes
                if not reader.resume(item if is_as_it_came else formed(self.form, item, now_s)):
                    reader.take()
                    self.put_back(item, now_s)
            return
        if not self._is_direct or now_s - self._turn.began_s > TURN_S:
            self._keep(item, now_s)
            return
        self._is_direct = False
        loop, task = self._loop, self._task
        enter_task(loop, task)
        try:  # `Steps.begin` without a call of it, because this is done for every frame
            run = steps.run
            pending = run(steps.send, item)
        except BaseException as exc:  # noqa: BLE001 (raised again by the task that sees it through)
            pending = steps.failed(exc, item)
        leave_task(loop, task)
        if pending is DONE and not self.inbox.items:
            self._is_direct = True
        else:
            rest = WOKEN if pending is DONE else steps.rest(pending)
            del pending  # it may be an error, whose traceback holds this frame
            if self._waiter.wakeup is None:  # the call has ended meanwhile, or its task is cancelled
                self._waiter.wake(rest)
            else:
                self._waiter.resume(rest)

    async def run(self) -> None:
        """Be the call's task: see handlers through, and hand over what waits. Ends when the call is over."""
        owner, inbox = self._owner, self.inbox
        assert owner is not None
        _, self._task = running_task()
        while True:
            rest = None
            if inbox.items and self._audio_steps is not None:
                await owner.give_way()
                if inbox.items:  # nobody else has taken it meanwhile
                    item, _ = inbox.take()
                    steps = self._audio_steps if isinstance(item, bytes) else self._text_steps
                    rest = None if steps is None else steps.rest(steps.begin(item))
            elif owner.is_over and self._set_up_s < math.inf:
                return
            else:
                self._is_direct = self._loop is not None
                try:
                    await self._waiter
                except anyio.get_cancelled_exc_class() as exc:
                    if self._waiter.item in (None, WOKEN):
                        raise
                    cancel_again(exc)  # the handler goes on in the name of this task
                rest = self._waiter.take()
                self._is_direct = False
            if rest is not None and rest is not WOKEN:
                error = await self._outcome(self.handlers.listener, rest)
                if error is not None:
                    await owner.report(error)
                del error  # its traceback leads to this frame

    def in_own_task(self, function: Callable[[], object]) -> None:
        """Do what takes a running task in the name of the call's, where none runs: in a callback. It must not wait."""
        loop, task = self._loop, self._task
        if loop is None or current_task(loop) is not None:
            function()
            return
        enter_task(loop, task)
        try:
            function()
        finally:
            leave_task(loop, task)

    async def run_handler(self, handler: Handler, *args: object) -> Exception | None:
        """Run user code in the task that runs now; returns what it raises."""
        steps = Steps(self._context, lambda _: handler(*args))
        return await self._outcome(handler, steps.rest(steps.begin(None)))

    def wake(self) -> None:
        """The call is over: let its task, and an `async for`, look again."""
        self._is_direct = self.is_readable = False
        self._waiter.wake()
        if self._reader is not None:
            self._reader.fail(StopAsyncIteration())

    def set_up(self, now_s: float) -> None:
        """`on_connect` has returned."""
        self._set_up_s = now_s
        if self._owner is not None and self._owner.is_over:
            self.wake()

    def lag_s(self, now_s: float) -> float:
        """How far behind real time the program is with what came."""
        return self.inbox.age_s(now_s)

    def forget(self) -> None:
        """All is over: let go what user code holds, and what holds the call."""
        self.handlers = Handlers()
        self._owner = self._task = self._reader = self._audio_steps = self._text_steps = self.form = None
        if not self.is_iterating:
            self.inbox.clear()

    # The client's side

    def set_handlers(self, handlers: Handlers) -> None:
        """Set the handlers. What waits in the inbox is handed over first."""
        if self._owner is None:
            return
        self.handlers = handlers
        self._audio_steps = self._text_steps = None
        self.is_readable = handlers.listener is None and not self._owner.is_over
        if handlers.listener is None:
            return
        if self._reader is not None:  # set from another thread meanwhile
            self._reader.fail(AudioConnectorConfigError(TAKEN))
        self._owner.changed()
        on_message, on_audio = handlers.on_message, handlers.on_audio
        both = self._hand_audio if on_message is not None and on_audio is not None else None
        self._audio_steps = Steps(self._context, both or on_message or on_audio or _ignore)
        self._text_steps = Steps(self._context, self._hand_text)
        self.is_iterating = False
        self._tell_missed()
        if self.inbox.items:
            self._is_direct = False
            self._waiter.wake()

    def iterate(self) -> Any:
        """From now on messages are taken by `async for`; returns what it may wait on, None on trio."""
        self.is_iterating = True
        self._tell_missed()
        if self._reader is None and self._loop is not None:
            self._reader = make_waiter()
        return self._reader

    def put_back(self, item: Item, came_s: float) -> None:
        """Who took a message from the inbox can't use it."""
        self.inbox.put_back(item, came_s)
        reader = self._reader
        if reader is not None:
            reader.nudge()
        if self._owner is not None:
            self._owner.changed()

    @property
    def is_awaited(self) -> bool:
        """Whether an `async for` waits for a message."""
        return self.takers > 0 or (self._reader is not None and self._reader.wakeup is not None)

    # Inside

    async def _hand_audio(self, pcm: bytes) -> None:
        for handler in (self.handlers.on_message, self.handlers.on_audio):
            if handler is not None and hasattr(result := handler(pcm), "__await__"):
                await result

    async def _hand_text(self, event: Any) -> None:
        handlers = self.handlers
        if handlers.on_message is not None and hasattr(result := handlers.on_message(event.text), "__await__"):
            await result
        if handlers.on_event is not None and hasattr(result := handlers.on_event(event), "__await__"):
            await result

    def _keep(self, item: Item, now_s: float) -> None:
        """Let a message wait, and let whoever takes it know."""
        owner = self._owner
        assert owner is not None
        listens = self.is_iterating or self._audio_steps is not None
        # A program that only speaks, or listens elsewhere, or one that comes late.
        if not listens and (self.is_tapped or now_s - self._set_up_s > LISTEN_S):
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
        if self._audio_steps is not None and (self._is_direct or self._loop is None):
            self._is_direct = False
            self._waiter.wake()
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

    async def _outcome(self, handler: Handler | None, rest: Awaitable[None]) -> Exception | None:
        """See user code through; returns what it raises. `handler` is named in the log."""
        owner = self._owner
        assert owner is not None
        try:
            await rest
        except anyio.get_cancelled_exc_class():
            if is_being_cancelled():
                if owner.is_over:
                    logger.warning(
                        "connection %s: %s went on after the end and was cancelled", owner.id, name_of(handler)
                    )
                raise
            # It waited for a task that was cancelled, in order to fall silent for example: its own affair.
            logger.warning("connection %s: %s ended by a cancellation of its own", owner.id, name_of(handler))
        except Exception as exc:  # noqa: BLE001 (user code may raise anything; the caller tells the user)
            return exc
        return None


def _ignore(pcm: bytes) -> None:
    """Stands for a handler of audio where only texts are listened to."""
