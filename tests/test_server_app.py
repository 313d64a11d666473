"""Our server with a whole application in it, and at its door: strangers who send nothing, half a request, or no TLS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvicorn
from conftest import FIRST_MESSAGE
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorConfigError,
    AudioConnectorServerConfig,
    AudioConnectorServerHandle,
    AudioConnectorStartServerError,
    Client,
    Video,
)
from vonage_audio_connector_server.server import http

pytestmark = pytest.mark.anyio

SECOND = b"\1\1" * 16_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def start(**settings: Any) -> AudioConnectorServerHandle:
    options: dict[str, Any] = {"host": "127.0.0.1", "port": 0} | settings
    return await Video().start_audio_connector_server(AudioConnectorServerConfig(**options))


def dial(handle: AudioConnectorServerHandle, path: str = "/", **options: Any) -> connect:
    return connect(handle.get_address() + path, compression=None, proxy=None, **options)


async def speak(client: Client) -> None:
    await client.wait_format()
    await client.send_audio_buffer(SECOND, pad_last_frame=True)


async def listen(peer: ClientConnection) -> tuple[int, int | None]:
    """All frames until the end, and the close code."""
    frames = 0
    with contextlib.suppress(ConnectionClosed):
        while True:
            frames += isinstance(await peer.recv(), bytes)
    return frames, peer.close_code


async def get(handle: AudioConnectorServerHandle, path: str, context: ssl.SSLContext | None = None) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", handle.port, ssl=context)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


def two_bots() -> tuple[FastAPI, list[AudioConnector], list[str]]:
    told: list[str] = []
    connectors = [AudioConnector(speak), AudioConnector(speak)]

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        told.append("start")
        yield
        told.append("stop")

    app = FastAPI(lifespan=lifespan)
    app.mount("/one", connectors[0])
    app.mount("/two", connectors[1])

    @app.get("/health")
    async def health() -> bool:
        return any(connector.draining for connector in connectors)

    return app, connectors, told


@pytest.mark.parametrize("is_secure", [False, True])
async def test_all_connectors_of_an_app_drain_together(
    is_secure: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    app, connectors, told = two_bots()
    settings, options = ({"ssl": tls[0]}, {"ssl": tls[1]}) if is_secure else ({}, {})
    handle = await start(app=app, **settings)
    assert told == ["start"]
    async with dial(handle, "/one", **options) as one, dial(handle, "/two", **options) as two:
        for peer in (one, two):
            await peer.send(FIRST_MESSAGE)
            assert isinstance(await peer.recv(), bytes)
        assert handle.calls == 2
        assert b"false" in await get(handle, "/health", options.get("ssl"))
        stopping = asyncio.create_task(handle.stop())
        await asyncio.sleep(0)
        with pytest.raises(InvalidStatus) as refused:
            await dial(handle, "/one", **options)
        assert refused.value.response.status_code == 503
        assert all(connector.draining for connector in connectors)
        heard = await asyncio.gather(listen(one), listen(two))
        assert tuple(heard) == ((49, 1012), (49, 1012))  # all that was being said
        await stopping
    assert told == ["start", "stop"]


async def test_an_app_may_be_served_again() -> None:
    app, connectors, told = two_bots()
    for _ in range(2):
        handle = await start(app=app)
        async with dial(handle, "/one") as peer:
            await peer.send(FIRST_MESSAGE)
            assert isinstance(await peer.recv(), bytes)
            assert not connectors[0].draining
        await handle.stop(0)
        assert not any(connector.draining for connector in connectors)
    assert told == ["start", "stop"] * 2


async def test_a_connector_that_nobody_has_called_tells_that_its_server_drains() -> None:
    app, connectors, _ = two_bots()
    handle = await start(app=app)
    async with dial(handle, "/one") as peer:
        await peer.send(FIRST_MESSAGE)
        assert isinstance(await peer.recv(), bytes)
        stopping = asyncio.create_task(handle.stop())
        await asyncio.sleep(0.01)
        assert connectors[1].draining
        assert b"true" in await get(handle, "/health")
        await listen(peer)
        await stopping


async def test_a_server_that_drains_ends_nothing_on_another_one() -> None:
    """The other one is uvicorn itself, in the same process: its connectors know nothing of a server of ours."""
    app, _, _ = two_bots()
    handle = await start(app=app)
    other = AudioConnector(speak)
    plain = uvicorn.Server(uvicorn.Config(other, port=0, log_config=None, lifespan="off", ws="websockets-sansio"))
    serving = asyncio.create_task(plain.serve())
    while not plain.started:  # noqa: ASYNC110 (uvicorn has nothing to wait for)
        await asyncio.sleep(0.01)
    port = plain.servers[0].sockets[0].getsockname()[1]
    async with dial(handle, "/one") as peer:
        await peer.send(FIRST_MESSAGE)
        assert isinstance(await peer.recv(), bytes)
        stopping = asyncio.create_task(handle.stop())
        while handle.running:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0)
        async with connect(f"ws://127.0.0.1:{port}/", compression=None, proxy=None) as caller:
            await caller.send(FIRST_MESSAGE)
            assert isinstance(await caller.recv(), bytes)
            assert not other.draining
        await listen(peer)
        await stopping
    plain.should_exit = True
    await serving


async def test_an_app_at_an_open_address_tells_when_a_connector_lets_everybody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, _, _ = two_bots()
    handle = await start(app=app, host="0.0.0.0")
    for path in ("/one", "/two"):
        async with connect(f"ws://127.0.0.1:{handle.port}{path}", compression=None, proxy=None):
            pass
    await handle.stop(0)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert (
        f"0.0.0.0:{handle.port} can be reached from outside and lets everybody in, unless the application"
        in warnings[0]
    )


async def test_a_lifespan_that_fails_is_a_start_error() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        raise LookupError("no model")
        yield

    with pytest.raises(AudioConnectorStartServerError, match="the start-up of the application failed"):
        await start(app=FastAPI(lifespan=lifespan))


def test_settings_of_a_connector_do_not_go_with_an_app() -> None:
    settings: dict[str, Any] = {"on_connect": speak, "max_connections": 5, "authorize": lambda info: True}
    for name, value in settings.items():
        options: dict[str, Any] = {name: value}
        with pytest.raises(AudioConnectorConfigError, match=f"{name} is a setting of a connector"):
            AudioConnectorServerConfig(host="localhost", port=0, app=FastAPI(), **options)
    with pytest.raises(AudioConnectorConfigError, match="app must be an ASGI application"):
        AudioConnectorServerConfig(host="localhost", port=0, app=speak)


@pytest.mark.parametrize("start_of_request", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "])
@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_request_has_to_come_in_time(
    start_of_request: bytes,
    is_secure: bool,
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "REQUEST_S", 0.1)
    handle = await start(ssl=tls[0] if is_secure else None)
    reader, writer = await asyncio.open_connection("127.0.0.1", handle.port, ssl=tls[1] if is_secure else None)
    writer.write(start_of_request)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await handle.stop(0)


async def test_a_call_is_not_held_to_the_time_of_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_S", 0.05)
    handle = await start(on_connect=speak)
    async with dial(handle) as peer:
        await asyncio.sleep(0.2)
        await peer.send(FIRST_MESSAGE)
        assert isinstance(await peer.recv(), bytes)
    await handle.stop(0)


async def test_a_tls_handshake_has_to_come_in_time_and_holds_up_no_stop(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.link.tls.HANDSHAKE_S", 0.1)
    handle = await start(ssl=tls[0])
    reader, first = await asyncio.open_connection("127.0.0.1", handle.port)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    monkeypatch.setattr("vonage_audio_connector_server.link.tls.HANDSHAKE_S", 60.0)
    reader, second = await asyncio.open_connection("127.0.0.1", handle.port)
    await asyncio.sleep(0.05)
    began_s = time.monotonic()
    await handle.stop(0)
    assert time.monotonic() - began_s < 5
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    first.close()
    second.close()


async def test_what_is_no_tls_is_turned_away(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    handle = await start(ssl=tls[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", handle.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer[:1] in (b"", b"\x15", b"H")  # a TLS alert, or OpenSSL's word for those who speak HTTP
    writer.close()
    assert b"404" in await get(handle, "/", tls[1])  # and others are served
    await handle.stop(0)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_context_without_a_certificate_is_a_start_error() -> None:
    for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)):
        with pytest.raises(AudioConnectorStartServerError, match="ssl has no certificate: call load_cert_chain"):
            await start(ssl=context)


async def test_a_context_that_wants_certificates_of_clients_is_served() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(client)
    handle = await start(ssl=server, on_connect=speak)
    with pytest.raises((ssl.SSLError, ConnectionError, InvalidMessage)):  # at the handshake, or at the first answer
        async with dial(handle, ssl=client) as peer:
            await peer.recv()
    authority.issue_cert("caller").configure_cert(client)
    async with dial(handle, ssl=client) as peer:
        await peer.send(FIRST_MESSAGE)
        assert isinstance(await peer.recv(), bytes)
    await handle.stop(0)


async def test_run_in_a_running_loop_names_the_other_way() -> None:
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0)
    with pytest.raises(AudioConnectorStartServerError, match="start_audio_connector_server"):
        Video().run_audio_connector_server(config)


async def test_peers_that_use_up_all_descriptors_are_one_line_a_second() -> None:
    told: list[object] = []  # each would be a traceback in the log
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    handle = await start(on_connect=speak)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    strangers = [socket.socket() for _ in range(60)]
    taken = len(list(Path("/proc/self/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 10, hard))
        for one in strangers:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", handle.port))
        await asyncio.sleep(1.5)
    finally:
        loop.set_exception_handler(handler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in strangers:
            one.close()
    assert 1 <= len(told) <= 4
    await asyncio.sleep(1.2)  # the loop tries again after a second
    async with dial(handle) as peer:
        await peer.send(FIRST_MESSAGE)
        assert isinstance(await peer.recv(), bytes)
    await handle.stop(0)


async def dial_until_there(url: str) -> ClientConnection:
    for _ in range(200):
        with contextlib.suppress(OSError):
            return await connect(url, proxy=None)
        await asyncio.sleep(0.05)
    raise AssertionError("no server")


APP = """
from fastapi import FastAPI
from vonage_audio_connector_server import AudioConnector

async def on_connect(client):
    await client.wait_format()
    await client.send_audio_buffer(b"\\1\\1" * 16_000, pad_last_frame=True)

app = FastAPI()
connector = AudioConnector(on_connect)
app.mount("/vonage", connector)
"""


@pytest.mark.parametrize(("name", "path"), [("app", "/vonage"), ("connector", "/"), ("on_connect", "/")])
async def test_the_command_serves_functions_and_apps(name: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = ["-m", "vonage_audio_connector_server", "serve", f"bot:{name}", "--port", str(port)]
    with subprocess.Popen(  # noqa: ASYNC220 (it starts at once)
        [sys.executable, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        peer = await dial_until_there(f"ws://127.0.0.1:{port}{path}")
        await peer.send(FIRST_MESSAGE)
        assert isinstance(await peer.recv(), bytes)
        process.send_signal(signal.SIGINT)
        assert (await listen(peer))[1] == 1012
        _, errors = await asyncio.to_thread(process.communicate, timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "for 1 calls to end; Ctrl-C again ends them" in errors
