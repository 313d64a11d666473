"""The block of `async with connector.connect(websocket)`: it stands where otherwise `on_connect` does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio

from .call.handlers import is_only_closed
from .client import Client
from .close_codes import INTERNAL_ERROR, NORMAL
from .steps import Handler


class Block:
    """Called with the client in the place of `on_connect`: it returns when the block is left.

    Args:
        client: of the call that is served.
        on_connect: runs beside it, where the program has one, too.
    """

    def __init__(self, client: Client, on_connect: Handler | None) -> None:
        self.__qualname__ = "the block of 'connect'"  # for the log
        self._client = client
        self._on_connect = on_connect
        self._begun = anyio.Event()
        self._left = anyio.Event()
        self._scope = anyio.CancelScope()

    async def __call__(self, client: Client) -> None:
        """Stay until the block is left; where the call's patience ends before, the block is cancelled."""
        self._begun.set()
        if self._on_connect is not None:
            client.start_soon(self._on_connect, client)
        try:
            await self._left.wait()
        finally:
            if not self._left.is_set():
                self._scope.cancel()

    @asynccontextmanager
    async def beside(self, serve: Callable[..., Coroutine[Any, Any, None]], *args: object) -> AsyncIterator[None]:
        """Serve the call in a task group while the block runs, and end it when that is left."""
        call, error = self._client._call, None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, *args)
            await self._begun.wait()
            with self._scope:
                try:
                    yield
                except Exception as exc:  # noqa: BLE001 (the block's; raised again when the call has ended)
                    error = exc
            self._left.set()
            if error is None or (not call.is_open and is_only_closed(error)):
                error = None
                call.close(NORMAL)
            else:
                call.close(INTERNAL_ERROR, "internal error", by="library")
        if error is not None:
            raise error
