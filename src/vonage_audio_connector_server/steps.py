"""User code, begun in place and seen through later, in the context of its call.

Most handlers never wait. Finding that out costs one step of them, and no task. What is left of one that does wait is
seen through by the task in whose name it was begun. Every step runs in the one `Context` of the call, whatever task
takes it: so handlers see what `on_connect` has set, and each other's settings.
"""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from functools import partial
from types import CoroutineType, coroutine
from typing import Any, Final

from .waiter import AsyncioWaiter, cancel_again

Handler = Callable[..., object]
"""A plain or a coroutine function of the program; what it returns is of no interest."""

DONE: Final = "done"
"""What `Steps` yields between two items."""

_NOTHING: Final = object()


class Steps:
    """Runs a function of one argument, plain or coroutine function, for one item after the other.

    One generator runs all of them, because a coroutine that ends inside another one costs no exception.

    Attributes:
        function: what runs.
        run: of the context.
        send: begins an item, or goes on with it: `run(send, item)` returns `DONE`, the error, or what to wait for.
    """

    __slots__ = ("_context", "_stepped", "_throw", "function", "run", "send")

    run: Callable[..., object]
    send: Callable[[Any], object]

    def __init__(self, context: Context, function: Handler) -> None:
        self.function = function
        self.run = context.run
        self._context = context
        self._stepped: object = _NOTHING  # what has come of a step that was done in place while `rest` waited
        self._renew()

    def begin(self, item: object) -> object:
        """Do the first step; returns `DONE`, or what `rest` wants. Never raises."""
        return self._go_on(self.send, item)

    def rest(self, pending: object) -> Awaitable[None]:
        """What is left, for the task in whose name it was begun to await. It raises what the function raises."""
        return self._rest(pending)

    @coroutine
    def _rest(self, pending: object) -> Generator[object, Any, None]:
        sent = stepped = error = None
        try:
            while pending is not DONE:
                if isinstance(pending, BaseException):
                    raise pending
                waiter = pending if type(pending) is AsyncioWaiter else None
                if waiter is not None:
                    waiter.let_step(self)
                try:
                    sent, error = (yield pending), None
                except BaseException as exc:  # noqa: BLE001 (a cancellation, too: the function is told)
                    error = exc
                if waiter is not None:
                    waiter.let_step(None)
                stepped, self._stepped = self._stepped, _NOTHING
                if stepped is not _NOTHING:  # the function has gone on meanwhile
                    pending = stepped
                    if isinstance(error, CancelledError):
                        cancel_again(error)
                else:
                    pending = self._go_on(self.send, sent) if error is None else self._go_on(self._throw, error)
        finally:
            pending = stepped = error = None  # the traceback of an error holds this frame

    def go_on_with(self, pending: object) -> None:
        """What was done in place, while the task waited in `rest`, has come to this; the task is woken next."""
        self._stepped = pending

    def failed(self, error: BaseException, item: object) -> object:
        """What stands for the result where `run(send, item)` has raised."""
        return self._failed(error, self.send, item)

    # Inside

    def _go_on(self, method: Callable[[Any], object], argument: object) -> object:
        try:
            return self.run(method, argument)
        except BaseException as exc:  # noqa: BLE001 (`rest` raises it)
            return self._failed(exc, method, argument)
        finally:
            del argument  # it may be the error, whose traceback holds this frame

    def _failed(self, error: BaseException, method: Callable[[Any], object], argument: object) -> object:
        if isinstance(error, RuntimeError) and "cannot enter context" in str(error):
            # User code runs the event loop inside itself (notebooks, nest_asyncio), and so the context is in use.
            try:
                return self._context.copy().run(method, argument)
            except BaseException as exc:  # noqa: BLE001 (as above)
                error = exc
        self._renew()  # what isn't an `Exception` has ended the generator
        return error

    def _renew(self) -> None:
        steps = _steps(self.function)
        next(steps)
        self.send, self._throw = steps.send, steps.throw


@coroutine
def _steps(function: Handler) -> Generator[object, Any, None]:
    item = yield DONE
    errors: list[Exception] = []
    while True:
        result: Any
        try:
            result = function(item)
            kind = type(result)
            if kind is CoroutineType:
                yield from result
            elif result is not None and hasattr(result, "__await__"):
                yield from result.__await__()
        except Exception as exc:  # noqa: BLE001 (`rest` raises it)
            errors.append(exc)
        item = result = None  # a call that waits for its next message holds nothing of the last one
        item = yield errors.pop() if errors else DONE


async def call(function: Handler, *args: object) -> None:
    """Call a plain function or a coroutine function, and wait for what it returns if that can be awaited."""
    result = function(*args)
    if inspect.isawaitable(result):
        await result


def name_of(handler: Handler | None) -> str:
    """How to call a handler in a log."""
    while isinstance(handler, partial):
        handler = handler.func
    return "a handler" if handler is None else getattr(handler, "__qualname__", type(handler).__qualname__)
