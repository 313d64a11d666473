"""Waiting for a connection, in its own event loop or in another thread's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from threading import get_ident
from typing import Any, TypeVar, TypeVarTuple

from .connection import Connection
from .errors import AudioConnectorClosedError
from .home import Away
from .stepping import Done

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def at_home(
    connection: Connection,
    wait: Callable[[*Ts], Coroutine[Any, Any, T]],
    *args: *Ts,
    on_lost: Callable[[T], object] | None = None,
) -> Coroutine[Any, Any, T]:
    """Run a wait that the end of the connection ends without an error in the event loop that the connection lives in.

    Args:
        connection: whose event loop it is.
        wait: a coroutine function.
        args: what it is called with.
        on_lost: see `Home.call`.
    """
    if get_ident() == connection.home.thread_id or connection.ended_s is not None:
        return wait(*args)  # what has ended changes no more: it can be asked anywhere
    try:
        away = connection.home.call(wait, *args, on_lost=on_lost)
    except AudioConnectorClosedError:
        return wait(*args)
    return Done(partial(_result, away, wait, args))


async def _result(away: Away[T], wait: Callable[[*Ts], Coroutine[Any, Any, T]], args: tuple[*Ts]) -> T:
    try:
        return await away
    except AudioConnectorClosedError:
        return await wait(*args)  # it has ended meanwhile
