"""Shared by the micro-benchmarks: what a scope looks like, and a connection without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from vonage_audio_connector_server import AudioConnector
from vonage_audio_connector_server.client import Client

FRAME = b"\1\0" * 320
FIRST_MESSAGE = ' {"content-type":"audio/l16;rate=16000","event":"websocket:connected"}'
SCOPE: dict[str, Any] = {
    "type": "websocket",
    "asgi": {"version": "3.0"},
    "path": "/",
    "raw_path": b"/",
    "root_path": "",
    "query_string": b"",
    "headers": [],
    "state": {},
}

OnConnect = Callable[[Client], Awaitable[None]]
Call = Callable[..., int]


@pytest.fixture
def call() -> Call:
    """Carry one connection that brings so many frames through the whole application; returns how many it sent."""

    def run(on_connect: OnConnect, frames: int, **options: Any) -> int:
        sent = 0
        messages = iter(
            [
                {"type": "websocket.connect"},
                {"type": "websocket.receive", "text": FIRST_MESSAGE},
                *({"type": "websocket.receive", "bytes": FRAME} for _ in range(frames)),
                {"type": "websocket.disconnect", "code": 1000},
            ]
        )

        async def receive() -> Any:
            await asyncio.sleep(0)  # the handler of the message before may answer
            return next(messages)

        async def send(message: Any) -> None:
            nonlocal sent
            sent += "bytes" in message

        connector = AudioConnector(on_connect, watchdog=False, **options)
        asyncio.run(connector(dict(SCOPE), receive, send))
        return sent

    return run
