"""The extension `DIRECT`: a batch of messages in one write, or nothing of it."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable

import pytest
from starlette.types import Receive, Scope, Send

from vonage_audio_connector_server.direct import DIRECT

from .ws_apps import accept, said
from .ws_differences import offers_direct_write
from .ws_peer import CLOSE, TEXT, close_frame, frame
from .ws_way import Stage, Way

Payloads = deque[bytes | str]
BATCH: list[bytes | str] = ['{"action":"clear"}', *(bytes([number]) * 640 for number in range(12)), "", b"", "é"]


def direct_write(scope: Scope) -> Callable[[Payloads], bool]:
    write: Callable[[Payloads], bool] = scope["extensions"][DIRECT].write
    return write


@pytest.fixture(autouse=True)
def _only_where_it_is_offered(request: pytest.FixtureRequest, way: Way) -> None:
    if not offers_direct_write(way) and "offered" not in request.node.name:
        pytest.skip("uvicorn's own class has no such extension")


def test_it_is_offered_by_our_own_classes_only(way: Way) -> None:
    offered: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        offered.append(DIRECT in scope["extensions"])
        await accept(receive, send)
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer():
            pass

    way.run(app, talk)
    assert offered == [offers_direct_write(way)]


@pytest.mark.parametrize("batch", [BATCH, BATCH[:1], BATCH[1:2]], ids=["many", "one text", "one binary"])
def test_a_batch_is_written_at_once(way: Way, batch: list[bytes | str]) -> None:
    payloads = deque(batch)
    told: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()
        told.append(direct_write(scope)(payloads))
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            before = peer.segments_in if sys.platform == "linux" else 0
            peer.write(frame(TEXT, b"go"))
            assert [await peer.message() for _ in batch] == batch
            if sys.platform == "linux":
                assert peer.segments_in - before == 1
        assert (told, payloads) == ([True], deque())

    way.run(app, talk)


def test_messages_of_both_ways_keep_their_order(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        write = direct_write(scope)
        for number in range(20):
            await send(said(f"{number} sent"))
            assert write(deque([f"{number} written", bytes([number]) * 9000]))
            assert write(deque())
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            for number in range(20):
                assert await peer.message() == f"{number} sent"
                assert await peer.message() == f"{number} written"
                assert await peer.message() == bytes([number]) * 9000

    way.run(app, talk)


def test_a_socket_that_is_backed_up_takes_nothing(way: Way) -> None:
    size = 100_000
    full, go_on = asyncio.Event(), asyncio.Event()
    written: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        write = direct_write(scope)
        while True:
            batch: Payloads = deque([bytes([len(written) % 256]) * size])
            if not write(batch):
                break
            written.append(size)
            assert len(written) < 100, "it takes without end"
        assert [len(payload) for payload in batch] == [size]
        assert not write(deque(["small"]))
        full.set()
        await go_on.wait()
        await send(said("waits for its turn"))
        batch = deque(["now", b"again"])
        assert write(batch)
        assert not batch
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            await full.wait()
            assert sum(written) <= 4 << 20
            go_on.set()
            for number in range(len(written)):
                assert await peer.message() == bytes([number % 256]) * size
            assert [await peer.message() for _ in range(3)] == ["waits for its turn", "now", b"again"]

    way.run(app, talk)


@pytest.mark.parametrize("ended_by", ["app", "peer", "reset", "violation"])
def test_a_connection_that_ends_takes_nothing(way: Way, ended_by: str) -> None:
    told: asyncio.Queue[bool] = asyncio.Queue()
    payloads = deque(BATCH)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        if ended_by == "app":
            await send({"type": "websocket.close"})
        else:
            assert (await receive())["type"] == "websocket.disconnect"
        told.put_nowait(direct_write(scope)(payloads))

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            if ended_by == "peer":
                peer.write(close_frame(1000))
            elif ended_by == "reset":
                peer.reset()
            elif ended_by == "violation":
                peer.write(frame(3))
            assert await told.get() is False
            if ended_by != "reset":
                assert (await peer.frame()).opcode == CLOSE
                await peer.leave()
        assert list(payloads) == BATCH

    way.run(app, talk)


def test_after_the_end_of_the_app_it_takes_nothing(way: Way) -> None:
    writes: list[Callable[[Payloads], bool]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        writes.append(direct_write(scope))
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(close_frame(1000))
            await peer.closed()
            await peer.ended()
        await stage.empty()
        payloads = deque(BATCH)
        assert writes[0](payloads) is False
        assert list(payloads) == BATCH

    way.run(app, talk)
