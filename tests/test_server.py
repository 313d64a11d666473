"""Servers of our own: real sockets, real TLS, real signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import FIRST_MESSAGE
from test_examples import free_port, standalone
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from vonage_audio_connector_server import (
    AudioConnectorConfigError,
    AudioConnectorServerConfig,
    AudioConnectorServerHandle,
    AudioConnectorStartServerError,
    Client,
    Video,
)
from vonage_audio_connector_server.call.call import Call
from vonage_audio_connector_server.client import Client as ClientClass
from vonage_audio_connector_server.core.session import Session

pytestmark = pytest.mark.anyio

FRAME = bytes(range(64)) * 10


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # uvicorn's


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def config(**settings: Any) -> AudioConnectorServerConfig:
    defaults: dict[str, Any] = {"host": "127.0.0.1", "port": 0}
    return AudioConnectorServerConfig(**(defaults | settings))


def dial(url: str, **options: Any) -> connect:
    return connect(url, compression=None, proxy=None, **options)


async def echo(client: Client) -> None:
    async for message in client:
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)


async def close_code(peer: ClientConnection) -> int:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.wait_for(peer.recv(), 10)
    assert peer.close_code is not None
    return peer.close_code


def is_listening(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_it_starts_serves_and_stops() -> None:
    told: list[str] = []
    handle = await Video().start_audio_connector_server(
        config(
            host="localhost",
            on_start=lambda: told.append("start"),
            on_stop=lambda: told.append("stop"),
            on_connect=echo,
        )
    )
    assert told == ["start"]
    assert (handle.running, handle.secure, handle.host) == (True, False, "localhost")
    assert handle.get_address() == f"ws://localhost:{handle.port}"
    async with dial(handle.get_address()) as peer:
        await peer.send(FIRST_MESSAGE)
        await peer.send(FRAME)
        assert await peer.recv() == FRAME
        assert peer.protocol.extensions == []
        await asyncio.gather(handle.stop(), handle.stop())
        assert await close_code(peer) == 1012
    await handle.stop()
    await handle.wait_closed()
    assert told == ["start", "stop"]
    assert not handle.running
    assert not is_listening(handle.port)


async def test_tls_is_the_context_that_was_given(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with await Video().start_audio_connector_server(
        config(host="localhost", ssl=server_tls, on_connect=echo)
    ) as handle:
        assert handle.secure
        assert handle.get_address().startswith("wss://localhost:")
        async with dial(handle.get_address(), ssl=client_tls) as peer:
            await peer.send(FIRST_MESSAGE)
            await peer.send(FRAME)
            assert await peer.recv() == FRAME
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(handle.get_address())


async def test_async_with_stops_it_whatever_happens() -> None:
    with pytest.raises(LookupError):
        async with await Video().start_audio_connector_server(config()) as handle:
            raise LookupError
    assert not is_listening(handle.port)


async def test_a_port_in_use_is_a_start_error_with_its_cause() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(AudioConnectorStartServerError, match=f"port {port} of 127.0.0.1 is in use") as told:
            await Video().start_audio_connector_server(config(port=port))
    assert isinstance(told.value.__cause__, OSError)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "a" * 300, "exa mple"])
async def test_a_bad_host_is_a_start_error(host: str) -> None:
    with pytest.raises(AudioConnectorStartServerError, match=host):
        await Video().start_audio_connector_server(config(host=host))


async def test_a_failing_on_start_leaves_nothing_listening() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    told: list[str] = []
    tasks = asyncio.all_tasks()

    async def on_start() -> None:
        assert is_listening(port)
        raise LookupError("no model")

    with pytest.raises(AudioConnectorStartServerError, match="no model") as error:
        await Video().start_audio_connector_server(
            config(port=port, on_start=on_start, on_stop=lambda: told.append("stop"))
        )
    assert isinstance(error.value.__cause__, LookupError)
    assert told == []
    assert not is_listening(port)
    assert asyncio.all_tasks() == tasks


async def test_a_start_that_is_cancelled_leaves_nothing_listening() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    started = asyncio.Event()
    tasks = asyncio.all_tasks()

    async def on_start() -> None:
        started.set()
        await asyncio.Event().wait()

    start = asyncio.create_task(Video().start_audio_connector_server(config(port=port, on_start=on_start)))
    await started.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not is_listening(port)
    assert asyncio.all_tasks() == tasks


async def test_what_on_stop_raises_is_told() -> None:
    def on_stop() -> None:
        raise LookupError("on purpose")

    handle = await Video().start_audio_connector_server(config(on_stop=on_stop))
    with pytest.raises(LookupError, match="on purpose"):
        await handle.stop()
    assert not is_listening(handle.port)


async def test_on_stop_may_stop_the_server_too() -> None:
    handles: list[AudioConnectorServerHandle] = []

    async def on_stop() -> None:
        await handles[0].stop()

    handles.append(await Video().start_audio_connector_server(config(on_stop=on_stop)))
    async with asyncio.timeout(5):
        await handles[0].stop()


async def test_two_servers_in_one_loop_are_apart() -> None:
    async with await Video().start_audio_connector_server(config(on_connect=echo)) as first:
        async with await Video().start_audio_connector_server(config(on_connect=echo)) as second:
            assert first.port != second.port
        assert not is_listening(second.port)
        async with dial(first.get_address()) as peer:
            await peer.send(FIRST_MESSAGE)
            await peer.send(FRAME)
            assert await peer.recv() == FRAME


async def test_a_config_of_another_kind_is_a_config_error() -> None:
    with pytest.raises(AudioConnectorConfigError, match="must be an AudioConnectorServerConfig, not dict"):
        await Video().start_audio_connector_server({"host": "localhost"})  # type: ignore[arg-type]


async def test_signal_handlers_and_logging_stay_the_applications() -> None:
    def state() -> dict[str, Any]:
        loggers = [logging.getLogger(), *(logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict))]
        return {
            "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
            "logging": [(one.name, one.level, list(one.handlers), one.propagate, one.disabled) for one in loggers],
        }

    async with await Video().start_audio_connector_server(config()):
        pass  # what imports create is there now
    before = state()
    async with await Video().start_audio_connector_server(config()):
        assert state() == before
    assert state() == before


async def test_the_query_of_an_address_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    async with await Video().start_audio_connector_server(config(on_connect=echo)) as handle:
        async with dial(f"{handle.get_address()}/room?token=S3CRET"):
            pass
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")]
    assert sum("/room" in message for message in ours) == 1  # one line tells who came
    assert not any("S3CRET" in message for message in ours)


async def test_broken_utf8_closes_with_1007_and_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with await Video().start_audio_connector_server(config(on_connect=echo)) as handle:
        async with dial(handle.get_address()) as peer:
            peer.transport.write(Frame(Opcode.TEXT, b'{"a":"\xff"}').serialize(mask=True))
            assert await close_code(peer) == 1007
    assert "Traceback" not in caplog.text
    assert "was not UTF-8" in caplog.text


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x83\x80\0\0\0\0", 1002),  # an opcode that there is not
        (Frame(Opcode.BINARY, FRAME).serialize(mask=False), 1002),  # clients must mask
        (Frame(Opcode.CONT, FRAME).serialize(mask=True), 1002),  # a continuation of nothing
        (Frame(Opcode.BINARY, bytes(65_537)).serialize(mask=True), 1009),
        (Frame(Opcode.TEXT, b" " * 65_537).serialize(mask=True), 1009),
    ],
    ids=["unknown opcode", "unmasked", "stray continuation", "big frame", "big text"],
)
async def test_a_breach_of_the_protocol_closes_with_the_right_code(
    wire: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    gone = asyncio.Event()

    def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=gone.set)

    async with await Video().start_audio_connector_server(config(on_connect=on_connect)) as handle:
        async with dial(handle.get_address()) as peer:
            peer.transport.write(wire)
            assert await close_code(peer) == code
            await asyncio.wait_for(gone.wait(), 10)
    assert "Traceback" not in caplog.text


async def test_200_connections_leave_nothing_behind() -> None:
    disconnects = 0
    connected = 0

    async def on_connect(client: Client) -> None:
        nonlocal connected
        connected += 1

        async def on_message(message: bytes | str) -> None:
            await client.send_audio_buffer(FRAME * 100)

        def on_disconnect() -> None:
            nonlocal disconnects
            disconnects += 1

        client.set_handler(on_message=on_message, on_disconnect=on_disconnect)

    async with await Video().start_audio_connector_server(config(on_connect=on_connect)) as handle:
        tasks_before = len(asyncio.all_tasks())
        files_before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else None
        peers: list[ClientConnection] = []
        for _ in range(10):
            peers = [await dial(handle.get_address()) for _ in range(20)]
            for peer in peers:
                await peer.send(FIRST_MESSAGE)
                await peer.recv()  # it plays two seconds of answer
            while peers:
                peer = peers.pop()
                if len(peers) % 2:
                    await peer.close()
                else:
                    peer.transport.abort()  # no close frame
                    await peer.wait_closed()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while disconnects < 200 or len(asyncio.all_tasks()) > tasks_before:  # noqa: ASYNC110 (tasks tell nobody)
                    await asyncio.sleep(0.01)
        assert (connected, disconnects) == (200, 200)
        assert len(asyncio.all_tasks()) == tasks_before
        gc.collect()
        ours = [one for one in gc.get_objects() if isinstance(one, (Call, ClientClass, Session))]
        assert ours == []
        if files_before is not None:
            assert len(list(Path("/proc/self/fd").iterdir())) <= files_before


async def test_stop_is_bounded_when_on_connect_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.call.call.GRACE_S", 0.1)
    told: list[str] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: told.append("gone"))
        await asyncio.Event().wait()

    handle = await Video().start_audio_connector_server(config(on_connect=on_connect))
    async with dial(handle.get_address()) as peer:
        async with asyncio.timeout(5):
            await handle.stop()
        assert await close_code(peer) == 1012
    assert told == ["gone"]


# Programs of their own


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def program(*arguments: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_the_sdk_guides_program_runs_over_tls(
    authority: trustme.CA, client_tls: ssl.SSLContext, tmp_path: Path, environment: dict[str, str]
) -> None:
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    port = free_port()
    arguments = [standalone(tmp_path, port), tmp_path / "cert.pem", tmp_path / "key.pem"]
    with program(*map(str, arguments), environment=environment) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "Server started.\n"
        async with dial(f"wss://localhost:{port}", ssl=client_tls) as peer:
            await peer.send(FIRST_MESSAGE)
            await peer.send(FRAME)
            assert await peer.recv() == FRAME
        assert await asyncio.to_thread(process.stdout.readline) == "Client disconnected.\n"
        process.send_signal(signal.SIGINT)  # Ctrl-C reaches main(), which has no handler for it
        output, errors = await asyncio.to_thread(process.communicate, timeout=10)
    assert output == "Server stopped.\n"
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "never retrieved" not in errors


RUN = """
from vonage_audio_connector_server import AudioConnectorServerConfig, Video

async def on_connect(client):
    client.set_handler(on_disconnect=lambda: print("gone"))

config = AudioConnectorServerConfig(host="127.0.0.1", port={port}, on_connect=on_connect,
                                    on_start=lambda: print("start"), on_stop=lambda: print("stop"))
Video().run_audio_connector_server(config)
print("end")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_run_ends_on_a_signal(number: signal.Signals, environment: dict[str, str]) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with program("-c", RUN.format(port=port), environment=environment) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "start\n"
        async with dial(f"ws://127.0.0.1:{port}") as peer:
            process.send_signal(number)
            assert await close_code(peer) == 1012
        output, errors = await asyncio.to_thread(process.communicate, timeout=10)
    assert (output, errors, process.returncode) == ("gone\nstop\nend\n", "", 0)


SLOW_START = """
import asyncio
from vonage_audio_connector_server import AudioConnectorServerConfig, Video

async def on_start():
    print("starting")
    await asyncio.sleep(60)

Video().run_audio_connector_server(AudioConnectorServerConfig(host="127.0.0.1", port=0, on_start=on_start))
print("end")
"""


async def test_a_signal_ends_a_slow_start(environment: dict[str, str]) -> None:
    with program("-c", SLOW_START, environment=environment) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "starting\n"
        process.send_signal(signal.SIGTERM)
        output, errors = await asyncio.to_thread(process.communicate, timeout=10)
    assert (output, errors, process.returncode) == ("end\n", "", 0)
