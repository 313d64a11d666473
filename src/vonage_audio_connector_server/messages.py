"""The messages of a call, taken with `async for`, where a handler would get them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from threading import get_ident
from typing import Any, Generic, TypeVar

from .call.actions import act
from .call.call import Call
from .call.inbox import Item
from .call.waits import CHANGED, Question
from .core.events import Audio, Event
from .errors import AudioConnectorConfigError

T = TypeVar("T")

Message = bytes | str
Form = Callable[[Item, float], T]  # what is made of a message, and of the time when it came


class Messages(AsyncIterator[T], Generic[T]):
    """The messages of a call, one after the other, in any event loop.

    Args:
        call: whose messages they are.
        form: what is made of each.

    Raises:
        AudioConnectorConfigError: a handler takes messages.
    """

    def __init__(self, call: Call, form: Form[T]) -> None:
        self._call = call
        self._dispatcher = call.dispatcher
        self._form = form
        self._check_no_handler()
        self._waiter: Any = None  # on which the call's own event loop waits, where that is asyncio
        if get_ident() == call.thread_id:
            self._waiter = call.dispatcher.iterate()
        elif not call.is_over:
            act(call, lambda: (None, call.dispatcher.iterate), ends_well=True)

    def __anext__(self) -> Awaitable[T]:
        """Wait for the next message. Cancelling the wait loses none."""
        waiter, dispatcher = self._waiter, self._dispatcher
        if (
            waiter is None
            or waiter.waits
            or dispatcher.inbox.items
            or dispatcher.handlers.listener is not None
            or self._call.is_over
        ):
            return self._take()
        dispatcher.form = self._form
        awaited: Awaitable[T] = waiter
        return awaited

    async def _take(self) -> T:
        """Take what waits in the inbox, or wait for it, in whatever event loop this is."""
        call, dispatcher = self._call, self._dispatcher
        self._check_no_handler()
        if self._waiter is not None and self._waiter.is_woken:  # with a message, for a wait that was cancelled
            message: T = await self._waiter
            return message
        if get_ident() == call.thread_id and not call.is_over:
            await call.output.give_way()  # a backlog must not hold up the loop
        inbox = dispatcher.inbox

        def start() -> tuple[Question, Callable[[], tuple[Item, float] | None]]:
            return (
                lambda now_s: None if inbox.items or not call.is_open else CHANGED,
                lambda: inbox.take() if inbox.items else None,
            )

        def put_back(taken: tuple[Item, float] | None) -> None:
            if taken is not None:
                dispatcher.put_back(*taken)
                call.output.changed()

        dispatcher.takers += 1
        try:
            taken = await act(call, start, ends_well=True, on_lost=put_back)
        finally:
            dispatcher.takers -= 1
        if taken is None:
            raise StopAsyncIteration
        return self._form(*taken)

    def _check_no_handler(self) -> None:
        if self._dispatcher.handlers.listener is not None:
            raise AudioConnectorConfigError("messages go to a handler already: use either it or 'async for'")


def as_message(item: Item, came_s: float) -> Message:
    """A message as it came: a frame of PCM, or a JSON text."""
    return item if isinstance(item, bytes) else item.text


def events(call: Call) -> Messages[Event]:
    """The messages of a call as typed events."""

    def as_event(item: Item, came_s: float) -> Event:
        return Audio(item, came_s - call.started_s) if isinstance(item, bytes) else item

    return Messages(call, as_event)
