"""Pings: the peer's are answered, the server's own must be."""

from __future__ import annotations

import pytest

from .ws_apps import Recorder, echo
from .ws_differences import lost_code
from .ws_peer import CLOSE, PING, PONG, TEXT, Frame, close_frame, frame
from .ws_way import Stage, Way


def test_a_ping_is_answered_with_its_payload(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            payloads = [b"", b"x", bytes(range(125)), "é".encode(), b"\xff\xfe"]
            for payload in payloads:
                peer.write(frame(PING, payload))
                assert await peer.frame() == Frame(PONG, payload)
            peer.write(*(frame(PING, payload) for payload in payloads))
            assert [await peer.frame() for _ in payloads] == [Frame(PONG, payload) for payload in payloads]

    way.run(echo, talk)


def test_a_pong_that_nobody_asked_for_is_ignored(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(PONG), frame(PONG, bytes(125)), frame(TEXT, b"hello"))
            assert await peer.message() == "hello"

    way.run(echo, talk)


def test_pongs_keep_the_connection_alive(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            for _ in range(5):  # each ping but the first one comes because the one before was answered
                ping = await peer.frame()
                assert ping.opcode == PING
                peer.write(frame(PONG, ping.payload))
            peer.write(close_frame(1000))
            assert await peer.closed() == (1000, "")

    way.run(echo, talk, ws_ping_interval=0.01, ws_ping_timeout=20)


@pytest.mark.parametrize("answer", [None, b"another payload"], ids=["none", "false"])
def test_a_ping_that_is_not_answered_ends_the_connection(way: Way, answer: bytes | None) -> None:
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert (await peer.frame()).opcode == PING
            if answer is not None:
                peer.write(frame(PONG, answer))
            assert (await recorder.disconnect())[0] == lost_code(way)
            told = await peer.frame()  # and no second ping
            assert (told.opcode, told.close[0]) == (CLOSE, 1011)
            assert await peer.ended() == b""

    way.run(recorder, talk, ws_ping_interval=0.02, ws_ping_timeout=0.02)


def test_without_an_interval_there_are_no_pings(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(TEXT, b"hello"))
            assert await peer.frame() == Frame(TEXT, b"hello")

    way.run(echo, talk, ws_ping_interval=None, ws_ping_timeout=None)
