"""A peer that doesn't read, and an app that doesn't: what the process holds is bounded, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from starlette.types import Receive, Scope, Send

from .ws_apps import accept, content, settled
from .ws_peer import BINARY, TEXT, ZERO_MASK, close_frame, frame
from .ws_way import Stage, Way

MIB = 1 << 20
HELD_BYTES = 4 * MIB
"""What may be held between the two ends, the buffers of the kernel among it."""


@pytest.mark.parametrize("sizes_bytes", [(64 << 10,), (MIB,), (64 << 10, MIB, 300_000)], ids=["64K", "1M", "mixed"])
def test_a_peer_that_never_reads_costs_4_mib_at_most_and_its_end_wakes_the_sender(
    way: Way, sizes_bytes: tuple[int, ...]
) -> None:
    begun: list[int] = []  # what was handed to `send`, the last of it waiting
    ended: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        sizes = itertools.cycle(sizes_bytes)
        try:
            while sum(begun) < 125 * MIB:
                begun.append(next(sizes))
                await send({"type": "websocket.send", "bytes": bytes(begun[-1])})
        except OSError as exc:
            ended.put_nowait(exc)
            raise
        ended.put_nowait(None)

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            held_bytes = await settled(begun)
            assert 0 < held_bytes <= HELD_BYTES
            assert ended.empty()
            peer.reset()
            assert isinstance(await ended.get(), OSError)
            assert sum(begun) == held_bytes, "nothing more was accepted"

    way.run(app, talk)


def test_what_was_held_back_goes_out_in_order_once_the_peer_reads(way: Way) -> None:
    begun: list[int] = []
    count = 300

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        for number in range(count):
            begun.append(1 << 16)
            await send({"type": "websocket.send", "bytes": number.to_bytes(4) + bytes((1 << 16) - 4)})
        assert (await receive())["type"] == "websocket.disconnect"

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert await settled(begun) <= HELD_BYTES
            for number in range(count):
                got = await peer.frame()
                assert (got.opcode, got.payload[:4], len(got.payload)) == (BINARY, number.to_bytes(4), 1 << 16)
            peer.write(close_frame(1000))
            assert await peer.closed() == (1000, "")

    way.run(app, talk)


def test_an_app_that_does_not_receive_stops_the_peer_and_loses_nothing(way: Way) -> None:
    size, count = 1 << 16, 512  # 32 MiB
    reads = asyncio.Event()
    arrived: list[bytes] = []
    taken: list[int] = []  # what the peer got rid of

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await reads.wait()
        while (message := await receive())["type"] == "websocket.receive":
            data = content(message)
            assert isinstance(data, bytes)
            assert len(data) == size
            arrived.append(data[:4])

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:

            async def pour() -> None:
                for number in range(count):
                    peer.write(frame(BINARY, number.to_bytes(4) + bytes(size - 4), mask=ZERO_MASK))
                    await peer.writer.drain()
                    taken.append(size)

            pouring = asyncio.create_task(pour())
            assert 0 < await settled(taken) <= HELD_BYTES
            reads.set()
            await pouring
            peer.write(close_frame(1000))
            assert await peer.closed() == (1000, "")
        assert arrived == [number.to_bytes(4) for number in range(count)]

    way.run(app, talk)


def test_the_end_of_a_peer_is_told_to_an_app_that_has_not_received_what_came_before(way: Way) -> None:
    reads = asyncio.Event()
    arrived: list[str] = []
    end: asyncio.Queue[str] = asyncio.Queue()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await reads.wait()
        while (message := await receive())["type"] == "websocket.receive":
            arrived.append(message["text"])
        end.put_nowait(message["type"])

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(TEXT, b"one"), frame(TEXT, b"two"))
            peer.writer.close()  # over TLS the end of this takes the server's answer
            reads.set()
            assert await end.get() == "websocket.disconnect"
        assert arrived == ["one", "two"]

    way.run(app, talk)
