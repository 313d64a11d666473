"""Set-ups that are broken on purpose: the line that it is about fails, says why, and no other does."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from vonage_audio_connector_server import AudioConnector, Client, OneTimeTokens
from vonage_audio_connector_server.doctor import Diagnosis

from .examining import HEADERS, QUERY, Certificates, assert_no_secret, echo, examined, mounted, statuses, trusting
from .proxies import (
    at_once,
    caddy,
    free_port,
    handshake_alone,
    haproxy,
    misbehaving,
    needs,
    nginx,
    saved_up,
    until_close,
)

pytestmark = [pytest.mark.usefixtures("_short"), pytest.mark.slow]

Serve = Callable[..., int]

UPGRADE = """
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
"""


def location(port: int, upstream: int, *, path: str = "/vonage", more: str = "", to: str = "", tls: str = "") -> str:
    """A server of nginx in the clear, or with what `tls` says."""
    listen = f"listen 127.0.0.1:{port}{' ssl' if tls else ''}; {tls}"
    return f"server {{ {listen} location {path} {{ proxy_pass http://127.0.0.1:{upstream}{to}; {more} }} }}"


def assert_failed(diagnosis: Diagnosis, *names: str, told: str, advice: str) -> None:
    """These have failed and no other, and the last says so."""
    everything = json.dumps(diagnosis.to_dict())
    assert statuses(diagnosis, "failed") == set(names), everything
    assert not diagnosis.ok
    line = diagnosis[names[-1]]
    assert re.search(told, line.text), line
    assert re.search(advice, line.advice), line
    assert_no_secret(everything)


# The path, the query, and headers


@needs("nginx")
def test_a_wrong_path_of_the_application(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    with nginx(tmp_path, location(port, open_backend, path="/", more=UPGRADE), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonnage{QUERY}")

    assert_failed(diagnosis, "upgrade", told=r"not by the connector's authorize \(HTTP 403\)", advice="path")
    assert diagnosis["query"].status == "skipped"


@needs("nginx")
def test_a_wrong_path_of_the_proxy(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    with nginx(tmp_path, location(port, open_backend, more=UPGRADE), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/other")

    assert_failed(diagnosis, "upgrade", told=r"nothing answers on that path.* \(HTTP 404\)", advice="compare the path")


@needs("nginx")
def test_a_rewritten_path_is_a_warning(tmp_path: Path, serve: Serve) -> None:
    port = free_port()
    with nginx(tmp_path, location(port, serve(AudioConnector(echo)), more=UPGRADE, to="/bot"), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage?room=7")

    assert statuses(diagnosis, "failed") == set()
    assert diagnosis["path"].status == "warning"
    assert diagnosis["query"].status == "passed"


@needs("nginx")
def test_a_stripped_query_that_the_program_can_do_without(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    with nginx(tmp_path, location(port, open_backend, more=f"rewrite ^ $uri? break; {UPGRADE}"), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage{QUERY}", headers=HEADERS)

    # nginx drops the header with an underscore, too.
    assert_failed(diagnosis, "headers", "query", told="doesn't arrive", advice="token")


@needs("nginx")
def test_a_stripped_query_with_the_secret_in_it(tmp_path: Path, backend: int) -> None:
    port = free_port()
    with nginx(tmp_path, location(port, backend, more=f"rewrite ^ $uri? break; {UPGRADE}"), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage{QUERY}")

    assert_failed(diagnosis, "query", "upgrade", told="the query is lost on the way", advice="path and query")
    assert diagnosis["path"].status == "passed"


@needs("haproxy")
def test_a_query_with_something_added(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    config = behind_haproxy(port, open_backend, "http-request set-query %[query]&via=lb")
    with haproxy(tmp_path, config, port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage{QUERY}")

    assert_failed(diagnosis, "query", told="something else in it", advice="as it is")


def behind_haproxy(port: int, upstream: int, *rules: str, timeout: str = "1h", bind: str = "") -> str:
    more = "".join(f"    {rule}\n" for rule in rules)
    return (
        f"defaults\n    mode http\n    timeout connect 1s\n    timeout client 9s\n    timeout server 9s\n"
        f"    timeout tunnel {timeout}\nfrontend https\n    bind 127.0.0.1:{port} {bind}\n    default_backend bots\n"
        f"backend bots\n{more}    server one 127.0.0.1:{upstream}\n"
    )


@needs("haproxy")
def test_a_stripped_header(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    with haproxy(tmp_path, behind_haproxy(port, open_backend, "http-request del-header call_id"), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage", headers=HEADERS | {"x-room": "7"})

    assert_failed(diagnosis, "headers", told="of 5 headers call_id is lost", advice="underscore")


@needs("haproxy")
def test_a_changed_header(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    with haproxy(tmp_path, behind_haproxy(port, open_backend, "http-request set-header x-room 8"), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage", headers={"x-room": "7"})

    assert_failed(diagnosis, "headers", told="x-room is changed", advice="pass them on")


@needs("nginx")
def test_all_headers_but_the_usual_are_stripped(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    kept = "".join(
        f"proxy_set_header {name} ${variable};"
        for name, variable in {
            "Sec-WebSocket-Key": "http_sec_websocket_key",
            "Sec-WebSocket-Version": "http_sec_websocket_version",
            "User-Agent": "http_user_agent",
        }.items()
    )
    more = f"proxy_pass_request_headers off; {kept} {UPGRADE}"
    with nginx(tmp_path, location(port, open_backend, more=more), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage", headers={"x-room": "7"})

    assert_failed(diagnosis, "headers", told="doctor's own header doesn't arrive", advice="in the query")
    assert diagnosis["query"].status == "skipped"


# Upgrade and Connection


@needs("nginx")
@pytest.mark.parametrize("how", ["mounted", "alone", "route", "endpoint"])
def test_upgrade_is_lost(tmp_path: Path, serve: Serve, how: str) -> None:
    connector = AudioConnector(echo)
    app: Any = connector
    if how == "mounted":
        app = mounted(connector)
    elif how == "route":
        app = FastAPI(routes=[connector.route("/vonage")])
    elif how == "endpoint":
        app = FastAPI()
        app.websocket("/vonage")(connector.connect)
    port = free_port()
    with nginx(tmp_path, location(port, serve(app), more="proxy_http_version 1.1;"), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    assert_failed(diagnosis, "upgrade", told="Upgrade and Connection get lost", advice="HTTP/1.1")


@needs("haproxy")
def test_an_extension_is_forced(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    rule = "http-response set-header Sec-WebSocket-Extensions permessage-deflate"
    with haproxy(tmp_path, behind_haproxy(port, open_backend, rule), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    assert_failed(diagnosis, "compression", told="not offered", advice="Sec-WebSocket-Extensions")


def test_compression_that_would_be_agreed_on_is_a_warning(serve: Serve) -> None:
    port = serve(mounted(AudioConnector(echo)), ws="websockets-sansio")
    diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    assert statuses(diagnosis, "failed") == set()
    assert diagnosis["compression"].status == "warning"


# TLS


def tls(certificate: Path) -> str:
    return f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"


@needs("nginx")
def test_an_expired_certificate(tmp_path: Path, open_backend: int, certificates: Certificates) -> None:
    port = free_port()
    server = location(port, open_backend, more=UPGRADE, tls=tls(certificates.issue(left_days=-3)))
    with nginx(tmp_path, server, port):
        url = f"wss://127.0.0.1:{port}/vonage"
        diagnosis = examined(url, ssl_context=trusting(certificates.cafile))

        assert_failed(diagnosis, "certificate", told="expired", advice="renew it")
        assert diagnosis["tls"].status == "passed"
        assert "--insecure" in diagnosis["upgrade"].text  # what is in the address is told to nobody


@needs("nginx")
def test_a_certificate_that_ends_soon_is_a_warning(
    tmp_path: Path, open_backend: int, certificates: Certificates
) -> None:
    port = free_port()
    server = location(port, open_backend, more=UPGRADE, tls=tls(certificates.issue(left_days=5.2)))
    with nginx(tmp_path, server, port):
        diagnosis = examined(f"wss://127.0.0.1:{port}/vonage", ssl_context=trusting(certificates.cafile))

    assert statuses(diagnosis, "failed") == set()
    assert diagnosis["certificate"].status == "warning"
    assert "5 more days" in diagnosis["certificate"].text


@needs("haproxy")
def test_a_certificate_for_another_name(tmp_path: Path, open_backend: int, certificates: Certificates) -> None:
    port = free_port()
    config = behind_haproxy(port, open_backend, bind=f"ssl crt {certificates.issue('bot.example.com')}")
    with haproxy(tmp_path, config, port):
        diagnosis = examined(f"wss://127.0.0.1:{port}/vonage", ssl_context=trusting(certificates.cafile))

    assert_failed(diagnosis, "certificate", told="not for 127.0.0.1", advice="a name that is in the certificate")


@needs("caddy")
def test_an_unknown_authority_and_going_on(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    site = f"https://127.0.0.1:{port} {{\n    reverse_proxy 127.0.0.1:{open_backend}\n}}\n"
    with caddy(tmp_path, site, port):
        diagnosis = examined(f"wss://127.0.0.1:{port}/vonage")
        assert_failed(diagnosis, "certificate", told="not trusted here", advice="--cafile.*whole chain")
        assert statuses(diagnosis, "skipped") >= {"upgrade", "query", "audio in"}

        diagnosis = examined(f"wss://127.0.0.1:{port}/vonage", insecure=True)
        assert_failed(diagnosis, "certificate", told="not trusted here", advice="--cafile.*whole chain")
        assert diagnosis["audio in"].status == "passed"


@needs("nginx")
def test_wss_to_a_port_without_tls(tmp_path: Path, open_backend: int) -> None:
    port = free_port()
    with nginx(tmp_path, location(port, open_backend, more=UPGRADE), port):
        diagnosis = examined(f"wss://127.0.0.1:{port}/vonage")

    assert_failed(diagnosis, "tls", told="does not speak TLS", advice="write ws://")


@pytest.mark.parametrize("program", [pytest.param(name, marks=needs(name)) for name in ("nginx", "caddy")])
def test_ws_to_a_port_with_tls(tmp_path: Path, open_backend: int, certificates: Certificates, program: str) -> None:
    port = free_port()
    if program == "nginx":
        server = location(port, open_backend, more=UPGRADE, tls=tls(certificates.issue()))
        started: Any = nginx(tmp_path, server, port)
    else:
        started = caddy(tmp_path, f"https://127.0.0.1:{port} {{\n    respond hello\n}}\n", port)
    with started:
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    # Caddy answers as HTTP/1.0 does.
    told = r"the port speaks TLS.* \(HTTP 400\)" if program == "nginx" else "did not answer as a web server does"
    assert_failed(diagnosis, "upgrade", told=told, advice="wss://")


# Refusals


@needs("nginx")
def test_a_wrong_secret(tmp_path: Path, backend: int) -> None:
    port = free_port()
    with nginx(tmp_path, location(port, backend, more=UPGRADE), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage?secret=another-one-of-it")

    assert_failed(diagnosis, "upgrade", told=r"authorize said no \(HTTP 403\)", advice="token or secret")
    assert diagnosis["query"].status == "passed"
    assert diagnosis["headers"].status == "skipped"  # who is refused is told nothing of them
    assert "another-one-of-it" not in json.dumps(diagnosis.to_dict())


def test_a_full_server(serve: Serve) -> None:
    port = serve(AudioConnector(echo, max_connections=1))
    with socket.create_connection(("127.0.0.1", port)) as taken:
        taken.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b" 101 " in taken.recv(4096)
        diagnosis = examined(f"ws://127.0.0.1:{port}/")

    assert_failed(diagnosis, "upgrade", told=r"lets nobody in just now \(HTTP 503\)", advice="max_connections")


def test_authorize_that_fails(serve: Serve) -> None:
    def authorize(info: object) -> bool:
        raise RuntimeError("no database")

    port = serve(AudioConnector(echo, authorize=authorize))
    assert_failed(
        examined(f"ws://127.0.0.1:{port}/"), "upgrade", told=r"authorize failed \(HTTP 500\)", advice="traceback"
    )


@needs("nginx")
@needs("haproxy")
@pytest.mark.parametrize(("program", "status"), [("nginx", 502), ("haproxy", 503)])
def test_no_server_behind_the_proxy(tmp_path: Path, program: str, status: int) -> None:
    port, nobody = free_port(), free_port()
    started: Any = (
        nginx(tmp_path, location(port, nobody, more=UPGRADE), port)
        if program == "nginx"
        else haproxy(tmp_path, behind_haproxy(port, nobody, "retries 0"), port)
    )
    with started:
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    assert_failed(diagnosis, "upgrade", told=rf"\(HTTP {status}\)", advice="is the server running")


@needs("caddy")
@pytest.mark.parametrize(
    ("directives", "told", "advice"),
    [
        ('header Content-Type text/html\n respond "<h1>You are about to visit</h1>" 200', "a web page", "browser"),
        ("respond hello 200", "an ordinary answer", "path is right"),
        (
            f"redir https://bot.example.com/vonage{QUERY} 302",
            "sent elsewhere, to https://bot.example.com/vonage ",
            "not",
        ),
        ("respond 401", "asks for a login", "can't log in"),
        ("header ngrok-error-code ERR_NGROK_3200\n respond 404", "the tunnel is not open", "ngrok"),
        ("respond 530", "the tunnel is not open", "cloudflared"),
        ("respond 418", "it is refused", "logs"),
    ],
    ids=["interstitial", "ordinary", "redirect", "login", "ngrok", "cloudflared", "else"],
)
def test_something_else_answers(tmp_path: Path, directives: str, told: str, advice: str) -> None:
    port = free_port()
    with caddy(tmp_path, f"http://127.0.0.1:{port} {{\n {directives}\n}}\n", port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage{QUERY}")

    assert_failed(diagnosis, "upgrade", told=told, advice=advice)


def test_a_name_that_there_is_not() -> None:
    diagnosis = examined("ws://bot.invalid/vonage")

    assert_failed(diagnosis, "address", told="can't be found", advice="name")
    assert statuses(diagnosis, "skipped") == {line.name for line in diagnosis.lines} - {"address"}


def test_nothing_listens() -> None:
    assert_failed(
        examined(f"ws://127.0.0.1:{free_port()}/"), "tcp", told="nothing listens", advice="is the server running"
    )


# Time


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await anyio.sleep(0.6)
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


@needs("nginx")
def test_a_slow_accept(tmp_path: Path, serve: Serve) -> None:
    port = free_port()
    with nginx(tmp_path, location(port, serve(slow, lifespan="off"), more=UPGRADE), port):
        url = f"ws://127.0.0.1:{port}/vonage"
        diagnosis = examined(url, accept_limit_s=0.5)
        assert_failed(diagnosis, "accept", told="not up within 0.5 s: it took 0.[6-9] s", advice="accept first")
        assert diagnosis["audio in"].status == "skipped"  # it says nothing, and may

        diagnosis = examined(url, accept_limit_s=0.5, timeout_s=0.4)
        assert statuses(diagnosis, "failed") == {"upgrade"}
        assert diagnosis["upgrade"].text == "no answer came within 0.4 s"


def test_a_proxy_that_saves_up_what_passes(open_backend: int) -> None:
    with misbehaving(open_backend, at_once, saved_up(0.5)) as port:
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    assert_failed(diagnosis, "buffering", told=r"holds back .* bursts of \d+ ms", advice="take away what saves up")


def test_a_proxy_that_saves_up_what_the_caller_sends(open_backend: int) -> None:
    with misbehaving(open_backend, saved_up(0.6), at_once) as port:
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    assert_failed(diagnosis, "buffering", told="holds back", advice="take away what saves up")


@pytest.mark.parametrize("program", [pytest.param(name, marks=needs(name)) for name in ("nginx", "haproxy")])
def test_an_idle_limit(tmp_path: Path, open_backend: int, program: str) -> None:
    port = free_port()
    started: Any = (
        nginx(tmp_path, location(port, open_backend, more=f"proxy_read_timeout 1s; {UPGRADE}"), port)
        if program == "nginx"
        else haproxy(tmp_path, behind_haproxy(port, open_backend, timeout="1s"), port)
    )
    with started:
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage", idle_s=3)

    told = r"cut without a close frame after [01]\.\d s without a frame; no ping of the server"
    assert_failed(diagnosis, "idle", told=told, advice="raise the idle limit")
    assert 0.6 < float(str(diagnosis["idle"].numbers["quiet_s"])) < 2


@needs("haproxy")
def test_pings_of_the_server_keep_a_proxy_awake(tmp_path: Path, serve: Serve) -> None:
    port = free_port()
    upstream = serve(mounted(AudioConnector(echo)), ws_ping_interval=0.4)
    with haproxy(tmp_path, behind_haproxy(port, upstream, timeout="1s"), port):
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage", idle_s=1.2)

    assert diagnosis["idle"].status == "passed", diagnosis["idle"]
    assert re.search("[23] pings of the server came", diagnosis["idle"].text)


# What passes


def test_nothing_passes_but_the_handshake(open_backend: int) -> None:
    with misbehaving(open_backend, at_once, handshake_alone) as port:
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    assert statuses(diagnosis, "failed") == {"first message", "ping", "close"}
    assert diagnosis["first message"].text == "a ping behind it was not answered"


def test_the_close_frame_is_lost(open_backend: int) -> None:
    with misbehaving(open_backend, at_once, until_close) as port:
        diagnosis = examined(f"ws://127.0.0.1:{port}/vonage")

    assert_failed(diagnosis, "close", told="didn't come", advice="close frames")


def closing(code: int, *, behind: str) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect" or message.get(behind) is not None:
                break
        await send({"type": "websocket.close", "code": code})

    return app


def test_a_server_that_is_no_audio_connector(serve: Serve) -> None:
    port = serve(closing(1003, behind="text"), lifespan="off")
    diagnosis = examined(f"ws://127.0.0.1:{port}/?token=7")

    assert {"first message"} <= statuses(diagnosis, "failed") <= {"first message", "ping"}
    assert diagnosis["first message"].text == "the server closed with 1003"
    assert "is it an Audio Connector server" in diagnosis["first message"].advice
    assert diagnosis["close"].status == "skipped"
    assert diagnosis["query"].text.startswith("can't be told")  # it lets in who has none, too


def test_a_program_that_fails(serve: Serve) -> None:
    async def on_connect(client: Client) -> None:
        async for message in client:
            if isinstance(message, bytes):
                raise RuntimeError("no model")

    port = serve(AudioConnector(on_connect))
    diagnosis = examined(f"ws://127.0.0.1:{port}/")

    assert statuses(diagnosis, "failed") & {"first message", "audio out"}
    failed = diagnosis["audio out"] if diagnosis["audio out"].status == "failed" else diagnosis["first message"]
    assert failed.text.startswith("the server closed with 1011")
    assert "traceback" in failed.advice


def test_frames_of_a_wrong_size(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if message.get("bytes") is not None:
                await send({"type": "websocket.send", "bytes": message["bytes"][:320]})

    diagnosis = examined(f"ws://127.0.0.1:{serve(app, lifespan='off')}/")

    assert_failed(diagnosis, "audio in", told="were not 640 bytes long", advice="whole frames")


def test_a_query_is_guessed_by_what_the_server_does_without_it(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if b"token" not in scope["query_string"]:
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    diagnosis = examined(f"ws://127.0.0.1:{serve(app, lifespan='off')}/?token=7")

    assert statuses(diagnosis, "failed") == set()
    assert diagnosis["query"].text == "arrives: without it the server refuses the connection (HTTP 403)"
    assert diagnosis["path"].status == "skipped"


def test_a_one_time_token_opens_one_connection_and_that_is_told(serve: Serve) -> None:
    tokens = OneTimeTokens("k" * 32)
    port = serve(AudioConnector(echo, authorize=tokens))
    diagnosis = examined(tokens.mint_uri(f"ws://127.0.0.1:{port}/"))

    assert statuses(diagnosis, "failed") == set()
    assert diagnosis["compression"].status == "passed"
    assert "a second connection was refused (HTTP 403)" in diagnosis["compression"].text
    assert "token=***" in diagnosis.url
