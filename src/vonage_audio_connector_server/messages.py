"""The messages of a call, taken with `async for`: as fast as a handler gets them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
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
Form = Callable[[Item, float], T]  # what is made of a message, and of the seconds from the accept to when it came


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
        self._form = form
        self._check_no_handler()
        self._waiter: Any = None
        if get_ident() == call.thread_id:
            self._waiter = call.dispatcher.iterate()
        elif not call.is_over:
            act(call, lambda: (None, call.dispatcher.iterate), ends_well=True)

    def __anext__(self) -> Awaitable[T]:
        """Wait for the next message. Cancelling the wait loses none."""
        if self._call.dispatcher.handlers.listener is not None:
            self._check_no_handler()
        waiter, call = self._waiter, self._call
        if waiter is None or waiter.waits or call.is_over or call.dispatcher.inbox.items:
            return self._take()
        return _Next(self)

    async def _take(self) -> T:
        """Take what waits in the inbox, or wait for it, in whatever event loop this is."""
        call, inbox = self._call, self._call.dispatcher.inbox
        if get_ident() == call.thread_id and not call.is_over:
            await call.output.give_way()  # a backlog must not hold up the loop

        def start() -> tuple[Question, Callable[[], tuple[Item, float] | None]]:
            return (
                lambda now_s: None if inbox.items or not call.is_open else CHANGED,
                lambda: inbox.take() if inbox.items else None,
            )

        def put_back(taken: tuple[Item, float] | None) -> None:
            if taken is not None:
                inbox.put_back(*taken)
                call.output.changed()

        call.dispatcher.takers += 1
        try:
            taken = await act(call, start, ends_well=True, on_lost=put_back)
        finally:
            call.dispatcher.takers -= 1
        if taken is None:
            raise StopAsyncIteration
        return self._form(taken[0], taken[1] - call.started_s)

    def _check_no_handler(self) -> None:
        if self._call.dispatcher.handlers.listener is not None:
            raise AudioConnectorConfigError("messages go to a handler already: use either it or 'async for'")


class _Next(Generic[T]):
    """The wait for one message that has not come yet: the call resumes the task that waits, in place, with it."""

    __slots__ = ("_messages",)

    def __init__(self, messages: Messages[T]) -> None:
        self._messages = messages

    def __await__(self) -> Generator[Any, Any, T]:
        messages = self._messages
        item = yield from messages._waiter.wait().__await__()
        if item is None:  # it was only woken: to a message that waits, or to the end
            return (yield from messages._take().__await__())
        call = messages._call
        return messages._form(item, call.dispatcher.came_s - call.started_s)


def as_message(item: Item, at_s: float) -> Message:
    """A message as it came: a frame of PCM, or a JSON text."""
    return item if isinstance(item, bytes) else item.text


def as_event(item: Item, at_s: float) -> Event:
    """A message as a typed event."""
    return Audio(item, at_s) if isinstance(item, bytes) else item
