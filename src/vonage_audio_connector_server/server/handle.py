"""A running server, as the program holds it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from ..asgi import DRAIN_S
from .uvicorn_server import Server


class AudioConnectorServerHandle:
    """A running server. `async with` it, or call `stop()` when you are done.

    Attributes:
        host: the host of the configuration.
        port: the port it listens on: the real one where the configuration said 0.
        secure: whether it speaks TLS.
        console_url: the link of the console's page, with its token; None: the console is switched off.
    """

    def __init__(self, host: str, port: int, *, secure: bool, server: Server, task: asyncio.Task[None]) -> None:
        self.host = host
        self.port = port
        self.secure = secure
        self.console_url: str | None = None
        self._server = server
        self._task = task

    def __repr__(self) -> str:
        return f"<AudioConnectorServerHandle {self.get_address()} {'running' if self.running else 'stopped'}>"

    @property
    def running(self) -> bool:
        """Whether it serves: false from the call of `stop()` on."""
        return not self._server.stopping and not self._task.done()

    @property
    def calls(self) -> int:
        """How many connections are being served now."""
        return self._server.calls.places

    def get_address(self) -> str:
        """Its address: `ws://host:port`, or `wss://host:port` with TLS."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}"

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Stop in order; returns when all is done.

        New handshakes get HTTP 503, what is being said ends, then every connection is closed with 1012, and `on_stop`
        runs. May be called again, and by several tasks at once; the shortest `drain_s` holds. User code that is in
        progress when its connection is closed has 5 s to end by itself, and its `on_disconnect` 10 s more; one that
        still runs after 10 s is cancelled. All in all it takes `drain_s` and 25 s at most, as long as nothing blocks
        the event loop. Cancelling it doesn't stop the stopping.

        Args:
            drain_s: how long what is being said may take, 10 s by default; 0 cuts it off.

        Raises:
            Exception: what `on_stop` raised.
        """
        self._server.stop_within(drain_s)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the server has stopped. Cancelling it leaves the server running.

        Raises:
            Exception: what `on_stop` raised, or what made the server end by itself.
        """
        if asyncio.current_task() is not self._task:  # on_stop runs there, and must not wait for itself
            await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop(DRAIN_S if exc_type is None else 0.0)
