"""The other side of the tests of `home.py`: a thread whose event loop owns a connection, and what is called there."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import trio
from anyio.lowlevel import checkpoint

from vonage_audio_connector_server.home import Away, Home

ENDED = "connection 7 is closed"


def run(backend: str, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run an event loop as a server does, not as anyio does: then anyio finds no asyncio loop outside of a task."""
    if backend == "asyncio":
        asyncio.run(function())
    else:
        trio.run(function)


class Owner:
    """A thread whose event loop owns a `Home`, as long as the `with` block lasts."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._started: queue.Queue[Home] = queue.Queue()
        self._thread = threading.Thread(target=run, args=(backend, self._main))

    def __enter__(self) -> Owner:
        self._thread.start()
        self.home = self._started.get(timeout=10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            self.home._post(self._stop.set)
            self._thread.join(10)

    async def _main(self) -> None:
        home = Home()
        self._stop = anyio.Event()
        try:
            async with anyio.create_task_group() as tasks:
                home.tasks = tasks
                self._started.put(home)
                await self._stop.wait()
                tasks.cancel_scope.cancel()
        finally:
            home.end(ENDED)


class Gate:
    """A plain function that blocks its thread until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        self._reached.set()
        assert self._opened.wait(10)

    def await_reached(self) -> None:
        assert self._reached.wait(10)

    def open(self) -> None:
        self._opened.set()


class Work:
    """A coroutine function that waits until it is let go, and tells the test's thread what becomes of it."""

    def __init__(self) -> None:
        self._told: queue.Queue[str] = queue.Queue()
        self._door: anyio.Event | None = None

    async def __call__(self, result: object = None, *, shield: bool = False) -> object:
        self._told.put("begun")
        self._door = anyio.Event()
        try:
            with anyio.CancelScope(shield=shield):
                await self._door.wait()
        except BaseException as exc:
            self._told.put(type(exc).__name__.removesuffix("Error"))
            raise
        self._told.put("done")
        return result

    def let_go(self) -> None:
        """To be run in the owner's loop."""
        assert self._door is not None
        self._door.set()

    def next(self) -> str:
        return self._told.get(timeout=10)


async def go_on(value: object) -> object:
    await checkpoint()
    return value


def fail() -> None:
    raise LookupError("no such thing")


async def fail_later() -> None:
    await checkpoint()
    fail()


async def cancelled_wait(away: Away[Any], meanwhile: Callable[[], object]) -> None:
    """Await it, and be cancelled when `meanwhile` has returned, which blocks this loop."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                meanwhile()
                scope.cancel()

            tasks.start_soon(cancel)
            await away
    assert scope.cancelled_caught
