"""Why no socket has come: each cause, on purpose."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
import trustme

from vonage_audio_connector_server.admission.gate import Refusal
from vonage_audio_connector_server.live import likely_cause as module
from vonage_audio_connector_server.live.arrivals import Arrival
from vonage_audio_connector_server.live.likely_cause import likely_cause, try_address

from .test_connect import free_port

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None, *, answers: bool = True) -> AsyncIterator[int]:
    """A server that answers TLS, or nothing of it."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            if context is not None:
                from anyio.streams.tls import TLSStream

                with suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                    await TLSStream.wrap(stream, server_side=True, ssl_context=context)
            elif answers:
                await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            else:
                await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def test_an_address_where_nobody_is() -> None:
    port = free_port()
    told = await try_address("127.0.0.1", port, True)
    assert (
        told == f"127.0.0.1:{port} can't be reached from here (Connection refused): is the tunnel or the proxy running?"
    )


async def test_a_name_that_does_not_exist() -> None:
    told = await try_address("nowhere.invalid", 443, True)
    assert told == "nowhere.invalid has no address in the DNS: is the name right, and the tunnel running?"


async def test_a_certificate_that_nobody_trusts(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with listening(context) as port:
        told = await try_address("127.0.0.1", port, True)
    assert told is not None
    assert f"the TLS certificate of 127.0.0.1:{port} isn't trusted (" in told


async def test_a_certificate_that_is_trusted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with listening(context) as port:
        assert await try_address("127.0.0.1", port, True) is None


async def test_no_tls_where_there_should_be() -> None:
    async with listening() as port:
        told = await try_address("127.0.0.1", port, True)
    assert (
        told
        == f"127.0.0.1:{port} speaks no TLS that can be used, and its address begins with wss://: is the port right?"
    )


async def test_one_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_S", 0.2)
    async with listening(answers=False) as port:
        told = await try_address("127.0.0.1", port, True)
    assert told == f"127.0.0.1:{port} doesn't answer from here: do the tunnel and the firewall let connections in?"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "192.168.0.7", "localhost", "bot", "bot.local"])
async def test_addresses_that_only_this_network_knows(host: str) -> None:
    told = await likely_cause(f"wss://{host}:8765/vonage?token=hush", Arrival("s"))
    assert told.startswith(f"nothing reached this server: {host.strip('[]')} is no address that the internet knows: ")


@pytest.mark.parametrize(
    ("scheme", "told"), [("ws", "its address begins with ws://"), ("wss", "bot.example.com:443 answers, so see")]
)
async def test_one_that_answers(scheme: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_wrong(*_: object) -> None:
        return None

    monkeypatch.setattr(module, "try_address", nothing_wrong)
    cause = await likely_cause(f"{scheme}://bot.example.com/vonage?token=hush", Arrival("s"))
    assert cause.startswith(f"nothing reached this server: {told}")
    assert "hush" not in cause
    assert (await likely_cause("wss://bot.example.com", None)).startswith("the server was not reached: ")


async def test_what_the_connector_has_seen_goes_first() -> None:
    arrival = Arrival("s", token="t" * 76)
    arrival.refused_strangers = [Refusal(403, "authorize said no")]
    assert (await likely_cause("wss://bot", arrival)).startswith("a connection came without its token, and was refused")
    arrival.refusal = Refusal(503, "all 2 connections are taken")
    assert (await likely_cause("wss://bot", arrival)).startswith(
        "it reached this server and was refused with HTTP 503, all 2 connections are taken: "
    )
