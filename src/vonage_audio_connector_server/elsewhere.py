"""Waiting for a connection, in its own event loop or in another thread's, or in a thread without one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import get_ident
from typing import Any, Generic, TypeVar, TypeVarTuple

from .connection import Connection
from .errors import AudioConnectorClosedError
from .home import Away
from .stepping import Acted

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Waited(Acted[T], Generic[T]):
    """A wait that the end of the connection ends without an error. In a thread without event loop: `result`."""

    __slots__ = ("_away", "_wait_here")

    def __init__(self, away: Away[T] | None, wait_here: Callable[[], Coroutine[Any, Any, T]]) -> None:
        super().__init__()
        self._away = away  # the wait in the connection's event loop
        self._wait_here = wait_here  # after the end, which changes no more: it has nothing to wait for

    def result(self, timeout_s: float | None = None) -> T:
        """Block this thread until the wait is over: for threads without event loop.

        Args:
            timeout_s: seconds to wait at most; None: until it is over.

        Raises:
            TimeoutError: it is not over yet. Ask again.
            RuntimeError: this thread runs an event loop, which would be blocked: use `await`.
        """
        if self._away is not None:
            try:
                return self._away.result(timeout_s)
            except AudioConnectorClosedError:
                pass  # it has ended meanwhile
        waiting = self._wait_here()
        try:
            waiting.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            waiting.close()
        raise RuntimeError("result() would block the event loop that this thread runs: use 'await' instead")

    async def _wait(self) -> T:
        if self._away is not None:
            try:
                return await self._away
            except AudioConnectorClosedError:
                pass  # as in `result`
        return await self._wait_here()


def at_home(
    connection: Connection,
    wait: Callable[[*Ts], Coroutine[Any, Any, T]],
    *args: *Ts,
    on_lost: Callable[[T], object] | None = None,
) -> Coroutine[Any, Any, T]:
    """Run a wait that the end of the connection ends without an error in the event loop that the connection lives in.

    Args:
        connection: whose event loop it is.
        wait: a coroutine function, which has nothing to wait for once the connection has ended.
        args: what it is called with.
        on_lost: see `Home.call`.
    """
    away = None
    if connection.ended_s is None:
        if get_ident() == connection.home.thread_id:
            return wait(*args)
        with suppress(AudioConnectorClosedError):  # it has just ended
            away = connection.home.call(wait, *args, on_lost=on_lost)
    return Waited(away, lambda: wait(*args))
