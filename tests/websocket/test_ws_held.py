"""What an app writes while frames are read leaves behind them: in one go, in order, and before a close."""

from __future__ import annotations

import asyncio
import sys
from collections import deque

import pytest
from starlette.types import Receive, Scope, Send

from vonage_audio_connector_server.direct import DIRECT, Direct

from .ws_apps import accept, said
from .ws_peer import BINARY, CLOSE, PING, PONG, close_frame, frame
from .ws_way import Stage, Way

FRAMES = [bytes([number]) * 100 for number in range(5)]  # short enough to be read at once


@pytest.fixture(autouse=True)
def only_picows(way: Way) -> None:
    if way.protocol != "picows":
        pytest.skip("no other class hands over frames where they arrive")


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Write each frame back where it arrives."""
    await accept(receive, send)
    direct: Direct = scope["extensions"][DIRECT]
    assert direct.listen is not None

    def take(data: bytes) -> bool:
        return direct.write(deque([data]))

    direct.listen(take)
    while (await receive())["type"] == "websocket.receive":
        pass


def test_what_answers_the_frames_of_one_read_is_one_write(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            before = peer.segments_in if sys.platform == "linux" and not way.secure else None
            peer.write(*(frame(BINARY, data) for data in FRAMES))
            assert [await peer.message() for _ in FRAMES] == FRAMES
            if before is not None:
                assert peer.segments_in - before == 1

    way.run(answering, talk)


def test_it_leaves_before_the_answer_to_a_close(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(*(frame(BINARY, data) for data in FRAMES), close_frame(1000))
            assert [await peer.message() for _ in FRAMES] == FRAMES
            assert (await peer.frame()).close == (1000, "")

    way.run(answering, talk)


def test_it_leaves_before_a_close_because_of_a_violation(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(BINARY, FRAMES[0]), frame(BINARY, FRAMES[1]), frame(PING, b"?"), frame(PING, fin=False))
            kinds = []
            while True:
                got = await peer.frame()
                kinds.append(got.opcode)
                if got.opcode == CLOSE:
                    assert got.close[0] == 1002
                    break
            assert kinds.count(BINARY) == 2
            assert set(kinds) <= {BINARY, PONG, CLOSE}

    way.run(answering, talk)


def test_it_leaves_before_what_is_sent_the_ordinary_way(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        direct: Direct = scope["extensions"][DIRECT]
        assert direct.listen is not None

        def take(data: bytes) -> bool:
            assert direct.write(deque([data]))
            sending = direct.send(said("now"))
            with pytest.raises(StopIteration):
                sending.send(None)  # it never waits: nothing is backed up
            return True

        direct.listen(take)
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(BINARY, FRAMES[0]), frame(BINARY, FRAMES[1]))
            assert [await peer.message() for _ in range(4)] == [FRAMES[0], "now", FRAMES[1], "now"]

    way.run(app, talk)


def test_one_connection_may_write_to_another(way: Way) -> None:
    """As where two calls are joined."""
    writes: list[Direct] = []
    both = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        direct: Direct = scope["extensions"][DIRECT]
        assert direct.listen is not None
        writes.append(direct)
        if len(writes) == 2:
            both.set()
        direct.listen(lambda data: all(one.write(deque([data])) for one in writes))
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as one, stage.peer() as other:
            await both.wait()
            one.write(frame(BINARY, FRAMES[0]))
            assert [await one.message(), await other.message()] == FRAMES[:1] * 2
            other.write(frame(BINARY, FRAMES[1]), frame(BINARY, FRAMES[2]))
            for peer in (one, other):
                assert [await peer.message() for _ in range(2)] == FRAMES[1:3]

    way.run(app, talk)


def test_many_streams_at_once_all_get_their_own_back_in_order(way: Way) -> None:
    """So much comes that it is read on a timer."""
    streams, rounds = 40, 40

    async def talk(stage: Stage) -> None:
        async def one(number: int) -> None:
            async with stage.peer() as peer:
                for turn in range(rounds):
                    data = bytes([number, turn]) * 320
                    peer.write(frame(BINARY, data))
                    assert await peer.message() == data
                peer.write(frame(BINARY, b"last"), close_frame(1000))
                assert await peer.message() == b"last"
                assert (await peer.frame()).close == (1000, "")

        async with asyncio.TaskGroup() as tasks:
            for number in range(streams):
                tasks.create_task(one(number))

    way.run(answering, talk)
