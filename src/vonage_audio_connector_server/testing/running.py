"""Running a test on a virtual clock, on asyncio and on trio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Literal, TypeVar, overload

import anyio

from ..errors import MissingExtraError
from .clock import VirtualClock, VirtualClockLoop
from .stuck import LIMIT_S, limited

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Backend = Literal["asyncio", "trio"]

VIRTUAL_ASYNCIO: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": VirtualClockLoop})
"""What anyio's pytest plugin takes as an `anyio_backend`."""


class _NewClock(VirtualClock):
    """A clock that is as new in each run: a backend's options are made once, and used by several tests."""

    def start_clock(self) -> None:
        """See `VirtualClock`."""
        self.__init__()  # type: ignore[misc]  # on purpose


VIRTUAL_TRIO: tuple[str, dict[str, Any]] = ("trio", {"clock": _NewClock()})
"""The same on trio."""

_BACKENDS = {"asyncio": VIRTUAL_ASYNCIO, "trio": VIRTUAL_TRIO}


@overload
def on_virtual_clock(test: F, *, backends: tuple[Backend, ...] = ..., limit_s: float = ...) -> F: ...
@overload
def on_virtual_clock(
    test: None = None, *, backends: tuple[Backend, ...] = ..., limit_s: float = ...
) -> Callable[[F], F]: ...
def on_virtual_clock(
    test: F | None = None, *, backends: tuple[Backend, ...] = ("asyncio", "trio"), limit_s: float = LIMIT_S
) -> Any:
    """Mark a coroutine test function: it runs on a virtual clock, on asyncio and on trio.

    It is run by the pytest plugin that anyio brings, fixtures that are coroutines included. Where it waits for what
    never comes it fails with a `StuckError`.

    Args:
        test: the test; with `@on_virtual_clock(backends=("asyncio",))` it is given later.
        backends: where to run it.
        limit_s: how long it may take, in virtual time; an hour by default.
    """
    try:
        import pytest
    except ImportError as exc:
        raise MissingExtraError("marking a test", "testing") from exc

    def mark(test: F) -> F:
        params = [pytest.param(_BACKENDS[name], id=name) for name in backends]
        marked: F = pytest.mark.anyio(pytest.mark.parametrize("anyio_backend", params)(_limited(test, limit_s)))
        return marked

    return mark if test is None else mark(test)


def run(
    function: Callable[..., Coroutine[Any, Any, T]],
    *args: object,
    backend: Backend = "asyncio",
    limit_s: float = LIMIT_S,
) -> T:
    """Run a coroutine function on a virtual clock, for tests that are no coroutines; returns what it returns.

    Args:
        function: what to run.
        *args: its arguments.
        backend: where.
        limit_s: how long it may take, in virtual time.

    Raises:
        StuckError: it waits for what never comes.
    """
    name, options = _BACKENDS[backend]
    result: T = anyio.run(_limited(function, limit_s), *args, backend=name, backend_options=options)
    return result


def _limited(
    function: Callable[..., Coroutine[Any, Any, Any]], limit_s: float
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The function, with an end in any case."""

    @wraps(function)
    async def run_limited(*args: Any, **settings: Any) -> Any:
        return await limited(function(*args, **settings), limit_s)

    return run_limited
