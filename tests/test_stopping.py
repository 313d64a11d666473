"""A server that stops: sentences end, new calls are turned away, and everybody learns why."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FIRST_MESSAGE
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from vonage_audio_connector_server import AudioConnectorServerConfig, AudioConnectorServerHandle, Client, Video

pytestmark = pytest.mark.anyio

SECOND = b"\1\1" * 16_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def answer(client: Client) -> None:
    await client.wait_format()
    await client.send_audio_buffer(SECOND * 2, pad_last_frame=True)


async def start() -> AudioConnectorServerHandle:
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=answer)
    return await Video().start_audio_connector_server(config)


async def listen(peer: ClientConnection) -> tuple[int, int | None, float]:
    """All frames until the end, the close code, and when it came."""
    frames = 0
    with contextlib.suppress(ConnectionClosed):
        while True:
            frames += isinstance(await peer.recv(), bytes)
    return frames, peer.close_code, time.monotonic()


async def test_the_sentence_ends_before_the_server_does() -> None:
    handle = await start()
    async with connect(handle.get_address(), proxy=None) as speaking, connect(handle.get_address(), proxy=None) as idle:
        await speaking.send(FIRST_MESSAGE)
        assert isinstance(await speaking.recv(), bytes)
        started_s = time.monotonic()
        stopping = asyncio.create_task(handle.stop())
        listening = asyncio.create_task(listen(speaking))
        _, code, _ = await listen(idle)  # it has not been spoken to
        assert code == 1012
        assert not handle.running
        with pytest.raises(InvalidStatus) as refused:
            await connect(handle.get_address(), proxy=None)
        assert refused.value.response.status_code == 503
        frames, code, ended_s = await listening
        assert (frames, code) == (99, 1012)
        assert 1.5 < ended_s - started_s < 4
        await stopping


async def test_a_drain_has_an_end() -> None:
    handle = await start()
    async with connect(handle.get_address(), proxy=None) as peer:
        await peer.send(FIRST_MESSAGE)
        assert isinstance(await peer.recv(), bytes)
        started_s = time.monotonic()
        stopping = asyncio.create_task(handle.stop(drain_s=0.5))
        frames, code, ended_s = await listen(peer)
        await stopping
    assert code == 1012
    assert 0.4 < ended_s - started_s < 1.5
    assert 20 < frames < 60


async def test_a_second_stop_may_hurry() -> None:
    handle = await start()
    async with connect(handle.get_address(), proxy=None) as peer:
        await peer.send(FIRST_MESSAGE)
        assert isinstance(await peer.recv(), bytes)
        started_s = time.monotonic()
        patient = asyncio.create_task(handle.stop(drain_s=60))
        await asyncio.sleep(0.1)
        await handle.stop(drain_s=0)
        await patient
        assert time.monotonic() - started_s < 1.5
        assert (await listen(peer))[1] == 1012


PROGRAM = """
from vonage_audio_connector_server import AudioConnectorServerConfig, Video

async def on_connect(client):
    client.set_handler(on_disconnect=lambda: print("gone"))
    await client.wait_format()
    await client.send_audio_buffer(b"\\1\\1" * 32_000, pad_last_frame=True)

config = AudioConnectorServerConfig(host="127.0.0.1", port={port}, on_connect=on_connect,
                                    on_start=lambda: print("start"), on_stop=lambda: print("stop"))
Video().run_audio_connector_server(config, drain_s=8)
print("end")
"""
SERVED = """
async def on_connect(client):
    await client.wait_format()
    await client.send_audio_buffer(b"\\1\\1" * 32_000, pad_last_frame=True)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("how", ["run", "serve"])
async def test_a_signal_in_the_middle_of_an_answer(how: str, number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    source = tmp_path / "answering.py"
    arguments = ["-c", PROGRAM.format(port=port)]
    if how == "serve":
        source.write_text(SERVED)
        arguments = ["-m", "vonage_audio_connector_server", "serve", f"{source}:on_connect", "--port", str(port)]
        arguments += ["--drain", "8"]
    variables = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(  # noqa: ASYNC220 (it starts at once)
        [sys.executable, *arguments], env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            peer = await dial_until_there(port)
            await peer.send(FIRST_MESSAGE)
            assert isinstance(await peer.recv(), bytes)
            process.send_signal(number)
            signalled_s = time.monotonic()
            frames, code, ended_s = await listen(peer)
            output, _ = await asyncio.to_thread(process.communicate, timeout=10)
            stopped_s = time.monotonic()
        finally:
            process.kill()
    assert (frames, code, process.returncode) == (99, 1012, 0)
    assert 1.5 < ended_s - signalled_s < 4
    assert stopped_s - signalled_s < 8
    if how == "run":
        assert output == "start\ngone\nstop\nend\n"


async def dial_until_there(port: int) -> ClientConnection:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                return await connect(f"ws://127.0.0.1:{port}", proxy=None)
            await asyncio.sleep(0.05)
