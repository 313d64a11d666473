"""Why there is no connection: one sentence, with what was wrong and what to do."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest
import trustme
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidMessage, InvalidUpgrade
from websockets.http11 import Request, Response

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorServerConfig,
    Client,
    OneTimeTokens,
    SharedSecret,
    Video,
)
from vonage_audio_connector_server.simulator import simulate
from vonage_audio_connector_server.simulator.failures import explain

from .conftest import Serving

pytestmark = pytest.mark.anyio

TOKEN_REFUSED = (
    "the server refused the connection with HTTP 403: authorize said no (a token or secret is missing, wrong, used or "
    "expired), or nothing answers on that path"
)
PROXY = "a proxy in between does not pass on Connection and Upgrade"
NOT_TRUSTED = (
    "no connection: the server's certificate comes from an authority that is not trusted here: name the authority's "
    "own certificate (--cafile, or ssl_context in a program); if it is a public one, the server must send the whole "
    "chain (often fullchain.pem)"
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server_tls(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


async def wait(websocket: ServerConnection) -> None:
    await websocket.wait_closed()


async def why(url: str, ssl_context: ssl.SSLContext | None = None) -> str:
    """What the simulator says of an address to which there is no connection."""
    report = await simulate(url, bytes(640), ssl_context=ssl_context, timeout_s=0.1, quiet_s=0.1)
    assert report.outcome == "not connected"
    assert report.error is not None
    assert report.problems == (report.error,)
    return report.error


async def let_nobody_in(client: Client) -> None:
    raise AssertionError("was let in")


def ours(**settings: Any) -> AudioConnectorServerConfig:
    defaults: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "on_connect": let_nobody_in}
    return AudioConnectorServerConfig(**(defaults | settings))


def clear(url: str) -> str:
    return url.replace("wss://", "ws://")


# Certificates


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_for_another_host(
    serving: Serving, authority: trustme.CA, trusting: ssl.SSLContext, host: str
) -> None:
    async with serving(wait, ssl=server_tls(authority.issue_cert("bot.example.com"))) as url:
        said = await why(url.replace("127.0.0.1", host), trusting)

    assert said == (
        f"no connection: the server's certificate is not for {host}: call the server by a name that is in the "
        f"certificate, or give it one for {host}"
    )


async def test_an_authority_that_is_not_trusted(serving: Serving, authority: trustme.CA) -> None:
    async with serving(wait, ssl=server_tls(authority.issue_cert("127.0.0.1"))) as url:
        assert await why(url) == NOT_TRUSTED
        assert await why(url, ssl.create_default_context()) == NOT_TRUSTED


@pytest.mark.parametrize("code", [18, 19, 20, 21])  # by OpenSSL: signed by itself, or by nobody known
def test_a_certificate_that_nobody_known_has_signed(code: int) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "not told"
    assert explain(error, "wss://localhost") == NOT_TRUSTED


async def test_a_certificate_out_of_its_time(serving: Serving, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    late = authority.issue_cert("127.0.0.1", not_before=now - 2 * day, not_after=now - day)
    async with serving(wait, ssl=server_tls(late)) as url:
        assert await why(url, trusting) == (
            "no connection: the server's certificate has expired: renew it, and start the server again"
        )
    early = authority.issue_cert("127.0.0.1", not_before=now + day, not_after=now + 2 * day)
    async with serving(wait, ssl=server_tls(early)) as url:
        assert await why(url, trusting) == (
            "no connection: the server's certificate is not valid yet: is the clock of this machine right?"
        )


def test_what_else_a_certificate_is_refused_for_is_told_in_the_words_of_openssl() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 23, "certificate revoked"
    assert explain(error, "wss://localhost") == (
        "no connection: the server's certificate is not accepted: certificate revoked"
    )


# TLS on one side only


async def test_wss_to_a_server_of_ours_without_tls() -> None:
    async with await Video().start_audio_connector_server(ours()) as handle:
        assert await why(handle.get_address().replace("ws://", "wss://")) == (
            f"no connection: what listens at 127.0.0.1:{handle.port} does not speak TLS: write ws:// in place of "
            "wss://, or give the server a certificate"
        )


@pytest.mark.parametrize("reason", ["WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"])
def test_versions_of_openssl_name_it_differently(reason: str) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}] of some version")
    error.reason = reason
    assert explain(error, "wss://user:secret@localhost:8765/?token=secret") == (
        "no connection: what listens at localhost:8765 does not speak TLS: write ws:// in place of wss://, or give the "
        "server a certificate"
    )


async def test_wss_to_a_server_that_hangs_up(serving: Serving, trusting: ssl.SSLContext) -> None:
    """As one in the clear does that waits for HTTP; one with TLS and without a certificate can't be told from it."""
    for options in ({}, {"ssl": server_tls()}):
        async with serving(wait, **options) as url:
            said = await why(url.replace("ws://", "wss://"), trusting)
        place = url.partition("//")[2]
        assert said == (
            f"no connection: what listens at {place} broke off the TLS handshake: either it speaks no TLS, and ws:// "
            "is right, or it has no certificate to show"
        )


def test_wss_to_a_server_that_refuses_the_handshake() -> None:
    error = ssl.SSLError(1, "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure")
    error.reason = "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert explain(error, "wss://localhost") == (
        "no connection: the server refused the TLS handshake (handshake failure): either it has no certificate, or it "
        "wants one of the caller, or another version of TLS"
    )


async def test_ws_to_a_server_with_tls(serving: Serving, authority: trustme.CA) -> None:
    tls = server_tls(authority.issue_cert("127.0.0.1"))
    async with serving(wait, ssl=tls) as url, await Video().start_audio_connector_server(ours(ssl=tls)) as handle:
        for address in (url, handle.get_address()):
            place = address.partition("//")[2]
            assert await why(clear(address)) == (
                f"no WebSocket connection: what listens at {place} did not answer as a web server does: either it "
                "speaks TLS, and wss:// is right, or the port is another program's"
            )


async def test_a_server_that_wants_a_certificate_of_the_caller(
    serving: Serving, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    tls = server_tls(authority.issue_cert("127.0.0.1"))
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    async with serving(wait, ssl=tls) as url:
        said = await why(url, trusting)
    assert "wants a certificate of the caller" in said


# HTTP


def answering(status: HTTPStatus) -> Callable[[ServerConnection, Request], Response]:
    return lambda connection, request: connection.respond(status, "\n")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (HTTPStatus.BAD_REQUEST, ": if it speaks TLS, write wss:// in place of ws://"),
        (HTTPStatus.UNAUTHORIZED, ": something before the connector, such as a proxy, asks for a login"),
        (HTTPStatus.NOT_FOUND, f": nothing answers on that path, or {PROXY}"),
        (HTTPStatus.UPGRADE_REQUIRED, f": {PROXY}"),
        (HTTPStatus.TOO_MANY_REQUESTS, ""),
        (HTTPStatus.INTERNAL_SERVER_ERROR, ": it failed, or its authorize did: its log has the traceback"),
        (HTTPStatus.BAD_GATEWAY, ": a proxy answered, and the server behind it did not: is that running?"),
    ],
)
async def test_an_error_of_http(serving: Serving, status: HTTPStatus, said: str) -> None:
    async with serving(wait, process_request=answering(status)) as url:
        assert await why(f"{url}/vonage") == f"the server refused the connection with HTTP {status.value}{said}"


async def test_a_web_page(serving: Serving) -> None:
    async with serving(wait, process_request=answering(HTTPStatus.OK)) as url:
        assert await why(f"{url}/?token=secret") == (
            "no WebSocket connection: an ordinary web page answered (HTTP 200): either host, port or path is wrong, or "
            f"{PROXY}"
        )


async def test_a_token_or_secret_that_is_refused() -> None:
    tokens = OneTimeTokens("k" * 32, ttl_s=60)
    for check in (tokens, SharedSecret("s" * 32, query="secret")):
        async with await Video().start_audio_connector_server(ours(authorize=check)) as handle:
            assert await why(f"{handle.get_address()}/?secret=wrong") == TOKEN_REFUSED


async def test_a_path_on_which_nothing_answers() -> None:
    app = Starlette(routes=[Mount("/vonage", AudioConnector(let_nobody_in))])
    async with await Video().start_audio_connector_server(ours(app=app, on_connect=None)) as handle:
        assert await why(f"{handle.get_address()}/vonge") == TOKEN_REFUSED


async def test_a_server_whose_check_fails_or_that_is_full() -> None:
    def fail(info: object) -> bool:
        raise LookupError("no such call")

    async with await Video().start_audio_connector_server(ours(authorize=fail)) as handle:
        said = await why(handle.get_address())
    assert "HTTP 500: it failed, or its authorize did" in said

    async with (
        await Video().start_audio_connector_server(ours(on_connect=lambda client: None, max_connections=1)) as handle,
        connect(handle.get_address(), proxy=None),
    ):
        said = await why(handle.get_address())
    assert "HTTP 503: all connections are taken (max_connections)" in said


# No server


async def test_nobody_listens_and_no_secret_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert await why(f"ws://127.0.0.1:{port}/vonage?token=secret") == (
        f"no connection: nothing listens at 127.0.0.1:{port}: is the server running, and the port right?"
    )


def test_nobody_listens_on_any_address_of_the_host() -> None:
    refused = errno.ECONNREFUSED
    error = OSError(  # as asyncio has it, where a host has several
        f"Multiple exceptions: [Errno {refused}] Connect call failed ('::1', 8765, 0, 0), "
        f"[Errno {refused}] Connect call failed ('127.0.0.1', 8765)"
    )
    assert explain(error, "ws://localhost:8765").startswith("no connection: nothing listens at localhost:8765: ")


def test_a_host_that_is_not_known() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert explain(error, "wss://bot.exmaple.com/x") == (
        "no connection: the host 'bot.exmaple.com' can't be found (Name or service not known): is its name right?"
    )


def test_no_error_is_without_words() -> None:
    for error in (ConnectionResetError(), OSError(), OSError(errno.ENETUNREACH, "Network is unreachable")):
        said = explain(error, "ws://localhost:8765")
        assert said in (
            "no connection to localhost:8765: ConnectionResetError",
            "no connection to localhost:8765: OSError",
            "no connection to localhost:8765: Network is unreachable",
        )
    assert explain(InvalidUpgrade("Upgrade"), "ws://localhost") == "no WebSocket connection: missing Upgrade header"
    assert "another program's" in explain(InvalidMessage("did not receive a valid HTTP response"), "wss://localhost")
