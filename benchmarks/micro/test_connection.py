"""The whole connection in one process, on an ASGI socket that costs nothing: receive, echo, play."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from vonage_audio_connector_server.client import Client

from .conftest import FRAME, Call

FRAMES = 500


def test_receive_500_frames(benchmark: BenchmarkFixture, call: Call) -> None:
    received = 0

    async def on_message(message: bytes | str) -> None:
        nonlocal received
        received += isinstance(message, bytes)

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=on_message)

    benchmark(call, on_connect, FRAMES)
    assert received % FRAMES == 0
    assert received


def test_echo_500_frames(benchmark: BenchmarkFixture, call: Call) -> None:
    """They come faster than they are played: most of them queue, as behind a stall."""

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            if isinstance(message, bytes):
                await client.send_audio_buffer(message)

        client.set_handler(on_message=on_message)

    assert benchmark(call, on_connect, FRAMES) > 0


def test_queue_15_seconds_and_flush(benchmark: BenchmarkFixture, call: Call) -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(FRAME * 750)
        await client.flush_buffer()

    assert benchmark(call, on_connect, 10) > 0
