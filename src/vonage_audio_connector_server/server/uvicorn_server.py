"""uvicorn's server without its signal handlers, which says when it listens and drains before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Generator

import uvicorn

from ..calls import Calls

BACKLOG = 2048
"""How many peers the system lets wait to be accepted; uvicorn's number."""


class Server(uvicorn.Server):
    """One server.

    Args:
        config: of uvicorn.
        calls: that it serves.
    """

    def __init__(self, config: uvicorn.Config, calls: Calls) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.calls = calls
        self._draining: asyncio.Task[None] | None = None
        self._drained_s = math.inf  # when it is over, on the clock of the event loop

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._draining is not None or self.should_exit

    def stop_within(self, drain_s: float) -> None:
        """Drain for so long at most, and then exit."""
        drained_s = asyncio.get_running_loop().time() + max(0.0, drain_s)
        if not self.should_exit and drained_s < self._drained_s:
            self._drained_s = drained_s
            if self._draining is not None:
                self._draining.cancel()
            self._draining = asyncio.create_task(self._drain(drain_s))

    async def _drain(self, drain_s: float) -> None:
        await self.calls.drain(drain_s)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the application."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.should_exit:  # the application's lifespan failed
            return
        for listener in sockets or ():
            listener.listen(BACKLOG)
        self.listening.set()
