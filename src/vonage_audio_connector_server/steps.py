"""User code, begun at once and seen through later, in the context of its call.

Most handlers never wait. Finding that out costs one step of them, and no task. What is left of one that does wait is an
awaitable, for the task in whose name it was begun. Every step runs in the one `Context` of the call, whatever task
takes it: so handlers see what `on_connect` has set, and each other's settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from functools import partial
from types import CoroutineType, coroutine
from typing import Any

Handler = Callable[..., object]
"""A plain or a coroutine function of the program; what it returns is of no interest."""

Begun = tuple[Any, Any] | BaseException
"""Code that waits: its iterator, and what that has yielded; or what it has raised."""


def begin(function: Handler, *args: object) -> Begun | None:
    """Run a function up to its first wait; None where it is done. To be called by `Context.run`. It never raises."""
    try:
        result = function(*args)
    except BaseException as exc:  # noqa: BLE001 (raised again by who sees it through)
        return exc
    return None if result is None else go_on(result)


def go_on(result: Any) -> Begun | None:
    """The same for what a function has returned, which may be awaitable."""
    try:
        if type(result) is CoroutineType:
            return result, result.send(None)
        if hasattr(result, "__await__"):
            iterator = result.__await__()
            return iterator, next(iterator)
    except StopIteration:
        pass
    except BaseException as exc:  # noqa: BLE001 (as above)
        return exc
    return None


def rest(context: Context, begun: Begun) -> Awaitable[None]:
    """What is left of a function: to be awaited by the task in whose name it was begun. Raises what that raises."""
    return _raise(begun) if isinstance(begun, BaseException) else _see_through(context, *begun)


async def call(function: Handler, *args: object) -> None:
    """Call a plain function or a coroutine function, and wait for what it returns if that can be awaited."""
    result = function(*args)
    if inspect.isawaitable(result):
        await result


def name_of(handler: Handler) -> str:
    """How to call a handler in a log."""
    while isinstance(handler, partial):
        handler = handler.func
    return getattr(handler, "__qualname__", type(handler).__qualname__)


async def _raise(error: BaseException) -> None:
    raise error


@coroutine
def _see_through(context: Context, iterator: Any, pending: Any) -> Generator[Any, Any, None]:
    """Hand what the event loop sends or throws (a cancellation, too) to the code."""
    try:
        while True:
            try:
                sent = yield pending
            except BaseException as exc:
                throw = getattr(iterator, "throw", None)
                if throw is None:  # a plain iterator has no way to be told
                    raise
                pending = _run_in(context, throw, exc)
            else:
                send = getattr(iterator, "send", None)
                pending = _run_in(context, next, iterator) if send is None else _run_in(context, send, sent)
    except StopIteration:
        return


def _run_in(context: Context, function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return context.run(function, argument)
    except RuntimeError as exc:
        # A handler runs the event loop inside itself (notebooks, nest_asyncio), and so the context is in use.
        if exc.__traceback__ is not None and exc.__traceback__.tb_next is None and "cannot enter context" in str(exc):
            return context.copy().run(function, argument)
        raise
