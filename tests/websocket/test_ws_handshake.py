"""Up to the accept, or instead of it."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect

from .ws_apps import accept, content, echo, said
from .ws_differences import checks_the_key, keeps_what_comes_before_the_accept, logs_a_denial
from .ws_peer import TEXT, frame
from .ws_way import Stage, Way


def test_an_ordinary_client_is_served(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        scheme = "wss" if way.secure else "ws"
        uri = f"{scheme}://localhost:{stage.port}/"
        async with connect(uri, ssl=stage.tls, proxy=None) as client:  # offers compression, which nobody has to take
            for message in ("hello", b"\0\1\2", "", b"", "ü€😀", bytes(100_000)):
                await client.send(message)
                assert await client.recv() == message
            await client.ping()
        assert client.close_code == 1000

    way.run(echo, talk)


def test_the_scope_says_what_was_asked_for(way: Way) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await accept(receive, send)
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.socket() as peer:
            lines = ("Sec-WebSocket-Protocol: one, two", "Sec-WebSocket-Protocol: three", "X-Name: a value")
            peer.request(*lines, path="/a%20b/%C3%A9?q=%20x&r")
            assert (await peer.answer()).status == 101

    way.run(app, talk, root_path="/root")
    [scope] = scopes
    assert scope["type"] == "websocket"
    assert scope["scheme"] == ("wss" if way.secure else "ws")
    assert (scope["path"], scope["raw_path"]) == ("/root/a b/é", b"/root/a%20b/%C3%A9")
    assert (scope["root_path"], scope["query_string"]) == ("/root", b"q=%20x&r")
    assert scope["subprotocols"] == ["one", "two", "three"]
    assert (b"x-name", b"a value") in scope["headers"]
    assert (b"host", b"localhost") in scope["headers"]
    assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
    assert "websocket.http.response" in scope["extensions"]


def test_accept_with_a_subprotocol_and_headers(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send, subprotocol="two", headers=[(b"x-one", b"1"), (b"x-two", b"2")])
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.socket() as peer:
            peer.request("Sec-WebSocket-Protocol: one, two")
            answer = await peer.answer()
        assert answer.status == 101
        assert answer.headers["sec-websocket-protocol"] == "two"
        assert (answer.headers["x-one"], answer.headers["x-two"]) == ("1", "2")

    way.run(app, talk)


def test_no_extension_is_agreed_on_where_compression_is_off(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.socket() as peer:
            peer.request("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
            assert "sec-websocket-extensions" not in (await peer.answer()).headers

    way.run(echo, talk)


def test_close_instead_of_accept_is_403(way: Way) -> None:
    after: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})
        after.append((await receive())["type"])

    async def talk(stage: Stage) -> None:
        answer, _ = await stage.answer()
        assert answer.status == 403

    way.run(app, talk)
    assert after == ["websocket.disconnect"]


def test_a_denial_has_its_status_headers_and_body(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"x-why", b"full"), (b"content-type", b"text/x-own"), (b"content-length", b"8")]
        await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"come ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"bac"})

    async def talk(stage: Stage) -> None:
        answer, body = await stage.answer()
        assert (answer.status, answer.headers["x-why"]) == (503, "full")
        assert (answer.headers["content-type"], body) == ("text/x-own", b"come bac")

    way.run(app, talk, logs_errors=logs_a_denial(way))


@pytest.mark.parametrize("fails", [True, False], ids=["raises", "returns"])
def test_an_app_that_does_not_answer_is_500(way: Way, fails: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if fails:
            raise RuntimeError("on purpose")

    async def talk(stage: Stage) -> None:
        answer, _ = await stage.answer()
        assert answer.status == 500

    way.run(app, talk, logs_errors=True)


def test_an_app_that_raises_after_the_accept_ends_the_connection(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()
        raise RuntimeError("on purpose")

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(TEXT, b"go"))
            await peer.finish()

    way.run(app, talk, logs_errors=True)


def test_a_handshake_that_is_none_is_answered_and_starts_no_app(way: Way) -> None:
    if not checks_the_key(way):
        pytest.skip("uvicorn's own class doesn't look at the key")
    started: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.append(scope)

    async def talk(stage: Stage) -> None:
        statuses = {}
        for name, lines in {
            "no key": ["Sec-WebSocket-Version: 13"],
            "bad key": ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: short"],
            "no version": ["Sec-WebSocket-Key: c2l4dGVlbiBieXRlcy4uLg=="],
            "old version": ["Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: c2l4dGVlbiBieXRlcy4uLg=="],
        }.items():
            async with stage.socket() as peer:
                head = ["GET / HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
                peer.write("\r\n".join([*head, *lines, "", ""]).encode())
                statuses[name] = (await peer.answer()).status
        assert set(statuses.values()) <= {400, 426}

    way.run(app, talk)
    assert started == []


def test_what_the_peer_sends_before_the_accept_arrives_after_it(way: Way) -> None:
    if not keeps_what_comes_before_the_accept(way):
        pytest.skip("uvicorn's own class loses it")
    asked, go_on = asyncio.Event(), asyncio.Event()
    received: list[bytes | str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await go_on.wait()
        await accept(receive, send)
        received.extend([content(await receive()) for _ in range(2)])
        await send(said("got both"))
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.socket() as peer:
            peer.request()
            await asked.wait()
            peer.write(frame(TEXT, b"early"), frame(TEXT, b"bird"))
            for _ in range(20):  # the server may read it meanwhile; right is what follows either way
                await asyncio.sleep(0)
            go_on.set()
            assert (await peer.answer()).status == 101
            assert await peer.message() == "got both"
        assert received == ["early", "bird"]

    way.run(app, talk)


def test_a_peer_that_goes_before_the_accept(way: Way) -> None:
    asked = asyncio.Event()
    ended: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        asked.set()
        message = await receive()
        ended.append((message["type"], message["code"]))
        with pytest.raises(OSError):  # noqa: PT011 -- ASGI names no more
            await send({"type": "websocket.accept"})

    async def talk(stage: Stage) -> None:
        async with stage.socket() as peer:
            peer.request()
            await asked.wait()
        await stage.empty()
        assert ended == [("websocket.disconnect", 1006)]

    way.run(app, talk)


def test_a_second_accept_is_the_apps_mistake(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        with pytest.raises(RuntimeError):
            await send({"type": "websocket.accept"})
        await send(said("still here"))
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert await peer.message() == "still here"

    way.run(app, talk)
