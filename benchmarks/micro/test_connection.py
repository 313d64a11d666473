"""The whole connection in one process, on an ASGI socket that costs nothing: receive, echo, play."""

from __future__ import annotations

from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from vonage_audio_connector_server import FlightRecorder
from vonage_audio_connector_server.client import Client
from vonage_audio_connector_server.recording import Kind

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


def test_receive_500_frames_with_a_flight_recorder(benchmark: BenchmarkFixture, call: Call, tmp_path: Path) -> None:
    """Beside `test_receive_500_frames`: what recording a frame costs, and a five-hundredth of beginning and ending."""

    async def on_message(message: bytes | str) -> None:
        """Stands for a program."""

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=on_message)

    recorder = FlightRecorder(tmp_path)
    benchmark(call, on_connect, FRAMES, recorder=recorder)
    recorder.wait()


def test_record_500_frames(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path)
    tape = recorder.begin({"connection_id": "benchmark"})
    assert tape is not None
    add = tape.add

    def record() -> None:
        for _ in range(FRAMES):
            add(1.0, Kind.AUDIO_TO_SERVER, FRAME)

    benchmark(record)
    tape.end(is_bad=False)
    recorder.wait()


def test_queue_15_seconds_and_flush(benchmark: BenchmarkFixture, call: Call) -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(FRAME * 750)
        await client.flush_buffer()

    assert benchmark(call, on_connect, 10) > 0
