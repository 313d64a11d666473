"""The WebSocket protocol classes on a mock transport: a frame of the peer in, the application's echo out."""

from __future__ import annotations

import asyncio
import importlib
import struct
from collections.abc import Callable
from typing import Any, cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from uvicorn import Config
from uvicorn.server import ServerState

from .conftest import FRAME

FRAMES = 100
MOST_TURNS = 20  # of the event loop, until the application has answered a frame
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class MockTransport(asyncio.Transport):
    """Takes what is written, and counts it."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 81)})
        self.protocol: Any = None
        self.written_bytes = 0

    def write(self, data: Any) -> None:
        self.written_bytes += len(data)

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self.protocol)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def masked(payload: bytes) -> bytes:
    """A binary message of a client. The mask is zero: unmasking costs the same."""
    return struct.pack("!BBH4s", 0x82, 0x80 | 126, len(payload), bytes(4)) + payload


def feed(protocol: Any, data: bytes) -> None:
    """As the event loop does, for both kinds of protocol."""
    if isinstance(protocol, asyncio.BufferedProtocol):
        while data:
            buffer = memoryview(cast("Any", protocol.get_buffer(len(data))))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]
    else:
        protocol.data_received(data)


@pytest.fixture(
    params=[
        "vonage_audio_connector_server.link.websocket:WebSocketProtocol",
        "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol",
    ],
    ids=["ours", "sansio"],
)
def protocol_class(request: pytest.FixtureRequest) -> Callable[..., Any]:
    module, _, name = request.param.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as exc:
        pytest.skip(f"{name}: {exc}")
    return cast("Callable[..., Any]", getattr(found, name))


def test_echo_100_frames(benchmark: BenchmarkFixture, protocol_class: Callable[..., Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})

    config = Config(app, log_config=None, lifespan="off", ws_per_message_deflate=False, ws_ping_interval=None)
    config.load()
    loop = asyncio.new_event_loop()
    transport = MockTransport()
    state = ServerState()

    async def connect() -> None:
        first = protocol_class(config=config, server_state=state, app_state={})
        transport.protocol = first
        first.connection_made(transport)
        feed(first, REQUEST)
        for _ in range(50):
            await asyncio.sleep(0)
        assert transport.written_bytes > 0

    async def echo() -> int:
        before = transport.written_bytes
        for _ in range(FRAMES):
            written_bytes = transport.written_bytes
            feed(transport.protocol, FRAME_OF_CLIENT)
            for _ in range(MOST_TURNS):
                await asyncio.sleep(0)
                if transport.written_bytes > written_bytes:
                    break
        return transport.written_bytes - before

    def run() -> int:
        return loop.run_until_complete(echo())

    loop.run_until_complete(connect())
    try:
        assert benchmark(run) == FRAMES * (len(FRAME) + 4)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


FRAME_OF_CLIENT = masked(FRAME)
