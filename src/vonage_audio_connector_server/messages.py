"""The messages of a call, taken with `async for`, where a handler would get them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from threading import get_ident
from typing import Any, Generic, TypeVar, cast

from .call.actions import act
from .call.call import Call
from .call.dispatcher import TAKEN
from .call.inbox import Form, Item, formed
from .core.events import Audio, Event
from .errors import AudioConnectorConfigError
from .waits import CHANGED, Question

T = TypeVar("T")

Message = bytes | str


class _Busy:
    """Stands for a waiter where there is none: somebody waits on it already, so it is of no use."""

    wakeup = True


class Messages(AsyncIterator[T], Generic[T]):
    """The messages of a call, one after the other, in any event loop.

    Args:
        call: whose messages they are.
        form: what is made of each; None: they are taken as they came.

    Raises:
        AudioConnectorConfigError: a handler takes messages.
    """

    def __init__(self, call: Call, form: Form[T] | None) -> None:
        self._call = call
        self._dispatcher = call.dispatcher
        self._form = form
        self._check_no_handler()
        self._waiter: Any = _Busy  # on which the call's own event loop waits, where that is asyncio
        if get_ident() == call.thread_id:
            self._waiter = call.dispatcher.iterate() or _Busy
        elif not call.is_over:
            act(call, lambda: (None, call.dispatcher.iterate), ends_well=True)

    async def __anext__(self) -> T:
        """Wait for the next message. Cancelling the wait loses none."""
        waiter, dispatcher = self._waiter, self._dispatcher
        if waiter.wakeup is not None or dispatcher.inbox.items or not dispatcher.is_readable:
            return await self._take()
        dispatcher.form = self._form
        await waiter
        message: T | None = waiter.item  # `take` without a call of it, because this is done for every frame
        waiter.item = None
        return await self._take() if message is None else message  # it was nudged: one may wait in the inbox

    async def _take(self) -> T:
        """Take what waits in the inbox, or wait for it, in whatever event loop this is."""
        call, dispatcher = self._call, self._dispatcher
        self._check_no_handler()
        if get_ident() == call.thread_id and not call.is_over:
            await call.output.give_way()  # a backlog must not hold up the loop
        inbox = dispatcher.inbox

        def is_over(now_s: float) -> float | None:
            return None if inbox.items or not call.is_open or dispatcher.handlers.listener is not None else CHANGED

        def start() -> tuple[Question, Callable[[], tuple[Item, float] | None]]:
            return is_over, lambda: inbox.take() if inbox.items and dispatcher.handlers.listener is None else None

        def put_back(taken: tuple[Item, float] | None) -> None:
            if taken is not None:
                dispatcher.put_back(*taken)

        while True:
            dispatcher.takers += 1
            try:
                taken = await act(call, start, ends_well=True, on_lost=put_back)
            finally:
                dispatcher.takers -= 1
            if taken is not None:
                return cast("T", formed(self._form, *taken))
            self._check_no_handler()  # another thread may have set one meanwhile
            if not call.is_open:  # else somebody else, who waited too, has taken it
                raise StopAsyncIteration

    def _check_no_handler(self) -> None:
        if self._dispatcher.handlers.listener is not None:
            raise AudioConnectorConfigError(TAKEN)


def events(call: Call) -> Messages[Event]:
    """The messages of a call as typed events."""

    def as_event(item: Item, came_s: float) -> Event:
        return Audio(item, came_s - call.started_s) if isinstance(item, bytes) else item

    return Messages(call, as_event)
