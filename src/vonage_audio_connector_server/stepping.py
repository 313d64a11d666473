"""Run an awaitable up to its first wait, in the task that runs now, and the rest of it later.

Most handlers, and most writes to a socket, never wait. Finding that out costs one step and no task switch, which is
what makes the direct way through a connection cheap; and a first step that does wait tells that the loop turns.
User code and `receive` have both parts in one task, so cancel scopes and time-outs that the first part opened stay
right. A blocked write has its rest in another task, on asyncio alone: a `send` of a server or of a middleware must not
wait inside a cancel scope of its own.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import CoroutineType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


async def call(function: Callable[..., object], *args: object) -> None:
    """Call a plain function or a coroutine function, and wait for what it returns if that can be awaited."""
    result = function(*args)
    if inspect.isawaitable(result):
        await result


def is_being_cancelled() -> bool:
    """Whether somebody cancels the running task; else a `CancelledError` comes from something it waited for.

    On asyncio, waiting for a task that was cancelled raises the same error as being cancelled, and anyio has no word
    for the difference. On trio there is none.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no asyncio loop runs here: trio
        return True
    return task is None or task.cancelling() > 0


class FirstStep(Generic[T]):
    """An awaitable after its first step: finished with `result`, or to be awaited for it.

    Raises what the awaitable raises in its first step.
    """

    __slots__ = ("_iterator", "_pending", "finished", "result")

    result: T

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._iterator: Any  # a coroutine, which is its own generator, or the generator of another awaitable
        try:
            if type(awaitable) is CoroutineType:
                self._iterator = awaitable
                self._pending = awaitable.send(None)
            else:
                self._iterator = awaitable.__await__()
                self._pending = next(self._iterator)
        except StopIteration as stop:
            self.result = stop.value
            self.finished = True
        else:
            self.finished = False

    @staticmethod
    def of(awaitable: Awaitable[Any]) -> FirstStep[Any] | None:
        """The same, where the result is of no interest; None: it is finished, and nothing is made for it."""
        if type(awaitable) is not CoroutineType:
            step = FirstStep(awaitable)
            return None if step.finished else step
        try:
            pending = awaitable.send(None)
        except StopIteration:
            return None
        step = FirstStep.__new__(FirstStep)
        step._iterator, step._pending, step.finished = awaitable, pending, False
        return step

    def __await__(self) -> Generator[Any, Any, T]:
        """Run the rest. What the event loop sends or throws (a cancellation, too) goes to the awaitable."""
        if self.finished:
            return self.result
        iterator, pending = self._iterator, self._pending
        is_coroutine = type(iterator) is CoroutineType
        try:
            while True:
                try:
                    sent = yield pending
                except BaseException as exc:
                    throw = getattr(iterator, "throw", None)
                    if throw is None:  # a plain iterator, such as Granian's: it has no way to be told
                        raise
                    pending = throw(exc)
                else:
                    pending = iterator.send(sent) if sent is not None or is_coroutine else next(iterator)
        except StopIteration as stop:
            self.result = stop.value
            self.finished = True
            return self.result


class Acted(Coroutine[Any, Any, T], Generic[T]):
    """What a call returns that has acted already: awaiting it waits for what becomes of it.

    It is a coroutine object, so `asyncio.create_task` takes it; left alone it warns of nothing, because nothing of it
    was started.
    """

    __slots__ = ("_coroutine",)

    def __init__(self) -> None:
        self._coroutine: Coroutine[Any, Any, T] | None = None

    @abstractmethod
    def _wait(self) -> Coroutine[Any, Any, T]:
        """The wait itself; called when it is awaited."""

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for the result."""
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


class Done(Acted[T]):
    """One whose result comes from a coroutine function, which is called when it is awaited."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], Coroutine[Any, Any, T]]) -> None:
        super().__init__()
        self._function = function

    def _wait(self) -> Coroutine[Any, Any, T]:
        return self._function()
