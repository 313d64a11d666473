"""A uvicorn of one's own on loopback, and callers of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import uvicorn
from websockets.sync.client import connect
from websockets.sync.connection import Connection


@contextmanager
def on_own_thread(config: uvicorn.Config) -> Iterator[int]:
    """Run uvicorn as it stands in a thread of its own; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def dial(port: int, path: str = "/", **options: Any) -> AbstractContextManager[Connection]:
    """Connect as the router does: without compression, and without a proxy."""
    opened: AbstractContextManager[Connection] = connect(
        f"ws://127.0.0.1:{port}{path}", compression=None, proxy=None, **options
    )
    return opened
