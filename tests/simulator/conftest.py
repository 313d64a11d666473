from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

Handler = Callable[[ServerConnection], Awaitable[None]]
Serving = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def serving() -> Serving:
    """`async with serving(handler) as url`: a server of the websockets library, nothing of ours in it."""

    @asynccontextmanager
    async def serving(handler: Handler, **options: Any) -> AsyncIterator[str]:
        scheme = "wss" if "ssl" in options else "ws"
        async with serve(handler, "127.0.0.1", 0, compression=None, **options) as server:
            yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    return serving
