"""How a connection ends: by the peer, by the app, by nobody; and by a server that stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from collections.abc import Mapping

import pytest
from starlette.types import Receive, Scope, Send

from .ws_apps import Recorder, accept, echo, said
from .ws_differences import (
    after_a_violation,
    close_in_a_message,
    logs_what_is_not_utf8,
    lost_code,
    newest_codes,
)
from .ws_peer import CLOSE, NO_CODE, PING, TEXT, close_frame, frame
from .ws_way import Stage, Way

CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)


def test_the_peers_close_is_told_and_echoed(way: Way) -> None:
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        reasons = itertools.cycle(["", "enough", "é" * 61 + "x"])  # 123 bytes at most
        for code, reason in zip((*CODES, *newest_codes(way)), reasons, strict=False):
            async with stage.peer() as peer:
                peer.write(close_frame(code, reason))
                assert await recorder.disconnect() == (code, reason)
                assert (await peer.closed())[0] == code
                assert await peer.ended() == b"", "the server closes the socket, and nothing comes behind the close"

    way.run(recorder, talk)


def test_the_peers_close_without_a_code_is_1005(way: Way) -> None:
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(close_frame())
            assert await recorder.disconnect() == (NO_CODE, "")
            assert await peer.closed() in [(NO_CODE, ""), (1000, "")]
            assert await peer.ended() == b""

    way.run(recorder, talk)


def test_the_apps_close_has_its_code_and_reason(way: Way) -> None:
    asked: list[Mapping[str, object]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send(said("last words"))
        await send({"type": "websocket.close", **asked[-1]})
        assert (await receive())["type"] == "websocket.disconnect"

    async def talk(stage: Stage) -> None:
        cases: list[tuple[Mapping[str, object], tuple[int, str]]] = [
            ({}, (1000, "")),
            ({"code": 1001}, (1001, "")),
            ({"code": 4321, "reason": "ten €"}, (4321, "ten €")),
            ({"code": 1000, "reason": None}, (1000, "")),
        ]
        for close, told in cases:
            asked.append(close)
            async with stage.peer() as peer:
                assert await peer.message() == "last words"
                got = await peer.frame()
                assert (got.opcode, got.close) == (CLOSE, told)
                peer.write(close_frame(told[0]))
                assert await peer.ended() == b""
            await stage.empty()

    way.run(app, talk)


def test_the_socket_stays_open_until_the_peer_has_echoed_the_close(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close"})

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert await peer.closed() == (1000, "")
            protocol = stage.protocol
            peer.write(frame(TEXT, b"on its way"), frame(PING, b"so is this"))
            end = asyncio.create_task(peer.ended())
            for _ in range(20):
                await asyncio.sleep(0)
            assert stage.protocol is protocol
            assert not end.done()
            peer.write(close_frame(1000))
            await end

    way.run(app, talk)


def test_a_peer_that_never_echoes_the_close_is_left_after_a_time(way: Way) -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await go_on.wait()
        await send({"type": "websocket.close", "code": 1000})

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert stage.protocol.close_timeout == 10.0
            stage.protocol.close_timeout = 0.02
            go_on.set()
            assert await peer.closed() == (1000, "")
            await peer.ended()

    way.run(app, talk)


def test_what_comes_behind_a_close_is_ignored(way: Way) -> None:
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(TEXT, b"before"), close_frame(1000), frame(TEXT, b"behind"), frame(PING, b"?"))
            assert await recorder.disconnect() == (1000, "")
            assert await peer.closed() == (1000, "")
            assert await peer.ended() == b""
        assert recorder.received == ["before"]

    way.run(recorder, talk)


def test_the_app_is_told_nothing_but_the_end_after_its_own_close(way: Way) -> None:
    go_on = asyncio.Event()
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close"})
        await go_on.wait()
        told.append((await receive())["type"])

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert await peer.closed() == (1000, "")
            peer.write(frame(TEXT, b"too late"), close_frame(1000))
            await peer.ended()
            go_on.set()
        await stage.empty()
        assert told == ["websocket.disconnect"]

    way.run(app, talk)


def test_a_close_in_the_middle_of_a_message(way: Way) -> None:
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(TEXT, b"half a mess", fin=False), close_frame(4000, "enough"), frame(0, b"age"))
            code = close_in_a_message(way)
            assert (await recorder.disconnect())[0] == code
            if after_a_violation(way, code).told_peer:
                assert (await peer.closed())[0] == code

    way.run(recorder, talk)


def test_both_close_at_the_same_time(way: Way) -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await go_on.wait()
        with contextlib.suppress(OSError):  # the peer's close may be there already
            await send({"type": "websocket.close", "code": 1001})
        assert (await receive())["type"] == "websocket.disconnect"

    async def talk(stage: Stage) -> None:
        for turns in range(4):
            go_on.clear()
            async with stage.peer() as peer:
                peer.write(close_frame(1000))
                for _ in range(turns):
                    await asyncio.sleep(0)
                go_on.set()
                assert await peer.closed() in [(1000, ""), (1001, "")]
                assert await peer.ended() == b""

    way.run(app, talk)


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_peer_that_vanishes_is_told(way: Way, how: str) -> None:
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(TEXT, b"before"), frame(TEXT, b"half a mess", fin=False))
            await recorder.first.wait()
            if how == "reset":
                peer.reset()
            else:
                await peer.leave()
            assert await recorder.disconnect() == (lost_code(way), "")
        assert recorder.received == ["before"]

    way.run(recorder, talk)


@pytest.mark.parametrize("end", [frame(TEXT, b"\xff"), close_frame(4000, "enough")], ids=["violation", "close"])
def test_an_app_that_asks_late_is_told_the_first_cause(way: Way, end: bytes) -> None:
    go_on = asyncio.Event()
    told: list[tuple[str, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await go_on.wait()
        message = await receive()
        told.append((message["type"], message["code"]))

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(end)
            await peer.ended()
        while stage.server.server_state.connections:  # noqa: ASYNC110 -- uvicorn tells nobody
            await asyncio.sleep(0.001)
        go_on.set()
        await stage.empty()
        assert told == [("websocket.disconnect", 1007 if end[0] == 0x81 else 4000)]

    way.run(app, talk, logs_errors=end[0] == 0x81 and logs_what_is_not_utf8(way))


@pytest.mark.parametrize("how", ["reset", "close"])
def test_sending_after_the_end_is_an_oserror(way: Way, how: str) -> None:
    raised: asyncio.Queue[list[BaseException]] = asyncio.Queue()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        assert (await receive())["type"] == "websocket.disconnect"
        errors: list[BaseException] = []
        for _ in range(2):
            try:
                await send(said("hello?"))
            except OSError as exc:
                errors.append(exc)
        raised.put_nowait(errors)

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            if how == "reset":
                peer.reset()
            else:
                peer.write(close_frame(1000))
                assert await peer.closed() == (1000, "")
            assert len(await raised.get()) == 2

    way.run(app, talk)


def test_sending_after_ones_own_close_is_the_apps_mistake(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close"})
        with pytest.raises(RuntimeError):
            await send(said("hello?"))

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert await peer.closed() == (1000, "")
            peer.write(close_frame(1000))
            assert await peer.ended() == b""

    way.run(app, talk)


def test_an_app_that_returns_ends_the_connection(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send(said("done"))

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert await peer.message() == "done"
            await peer.finish()

    way.run(app, talk)


def test_a_server_that_stops_closes_with_1012(way: Way) -> None:
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer, stage.peer() as other:
            other.write(frame(TEXT, b"hello"), frame(TEXT, b"a message that begins", fin=False))
            await recorder.first.wait()
            await stage.server.shutdown()
            assert await peer.closed() == (1012, "")
            assert await other.closed() == (1012, "")
            assert await peer.ended() == b""
            assert (await recorder.disconnect())[0] == 1012
            assert (await recorder.disconnect())[0] == 1012

    way.run(recorder, talk)


def test_a_server_that_stops_answers_a_waiting_handshake_with_500(way: Way) -> None:
    asked = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        asked.set()
        assert (await receive())["type"] == "websocket.disconnect"

    async def talk(stage: Stage) -> None:
        async with stage.socket() as peer:
            peer.request()
            await asked.wait()
            await stage.server.shutdown()
            assert (await peer.answer()).status == 500
            await peer.ended()

    way.run(app, talk)


def test_a_server_that_stops_while_a_peer_does_not_read(way: Way) -> None:
    """The app's waiting `send` ends, and so does the connection, once the peer is gone."""
    filled = asyncio.Event()
    raised: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        try:
            for number in range(100):
                await send({"type": "websocket.send", "bytes": bytes(1 << 20)})
                filled.set()
                assert number < 10
        except OSError as exc:
            raised.append(type(exc).__name__)

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            await filled.wait()
            stopping = asyncio.create_task(stage.server.shutdown())
            await asyncio.sleep(0)
            peer.reset()
            await stopping
            assert len(raised) == 1

    way.run(app, talk)


def test_200_connections_leave_nothing(way: Way) -> None:
    kinds: set[type] = {way.protocol_class}

    def alive() -> list[object]:
        gc.collect()
        return [thing for thing in gc.get_objects() if type(thing) in kinds]

    async def talk(stage: Stage) -> None:
        async def visit(number: int) -> None:
            async with stage.peer() as peer:
                peer.write(frame(TEXT, b"hello"))
                assert await peer.message() == "hello"
                kinds.update(type(connection) for connection in stage.server.server_state.connections)
                if number % 4 == 0:
                    peer.write(close_frame(1000))
                    assert await peer.closed() == (1000, "")
                elif number % 4 == 1:
                    peer.write(frame(3))  # no such opcode
                    if after_a_violation(way, 1002).told_peer:
                        assert (await peer.closed())[0] == 1002
                    await peer.ended()
                elif number % 4 == 2:
                    peer.reset()

        for first in range(0, 40 if way.secure else 200, 20):  # a TLS handshake costs more than all the rest
            await asyncio.gather(*(visit(number) for number in range(first, first + 20)))
        await stage.empty()
        await asyncio.sleep(0)  # the callbacks of the last connection have run
        assert alive() == []

    assert alive() == [], "of an earlier test"
    way.run(echo, talk)
