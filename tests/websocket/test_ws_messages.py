"""Messages: whole, empty, of every length form, in fragments, in pieces."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from .ws_apps import Recorder, accept, content, echo, said
from .ws_peer import BINARY, CONTINUATION, PING, PONG, TEXT, ZERO_MASK, Frame, close_frame, frame
from .ws_way import Stage, Way

SIZES = (0, 1, 124, 125, 126, 127, 1000, 65_534, 65_535, 65_536, 65_537, 300_000)


def test_binary_and_text_of_every_length_form_come_back(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            for size in SIZES:
                payload = bytes(range(256)) * (size // 256 + 1)
                peer.write(frame(BINARY, payload[:size]))
                assert await peer.frame() == Frame(BINARY, payload[:size])
                text = "é" * (size // 2) + "x" * (size % 2)
                peer.write(frame(TEXT, text.encode()))
                assert await peer.frame() == Frame(TEXT, text.encode())

    way.run(echo, talk)


def test_every_byte_of_the_mask_is_used(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            for mask in (ZERO_MASK, b"\xff\xff\xff\xff", b"\x01\x02\x03\x04", b"\0\0\0\x80"):
                for size in range(33):  # a masking in words has ends
                    payload = bytes(range(size))
                    peer.write(frame(BINARY, payload, mask=mask))
                    assert await peer.frame() == Frame(BINARY, payload)

    way.run(echo, talk)


def test_the_app_may_send_what_is_like_bytes(way: Way) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.send", "bytes": b"one", "text": None})
        await send({"type": "websocket.send", "text": "two", "bytes": None})
        await send({"type": "websocket.send", "bytes": b""})
        await send({"type": "websocket.send", "text": ""})
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            assert [await peer.message() for _ in range(4)] == [b"one", "two", b"", ""]

    way.run(app, talk)


def test_fragments_with_pings_in_between(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(
                frame(TEXT, b"one ", fin=False),
                frame(PING, b"first"),
                frame(CONTINUATION, b"", fin=False),
                frame(PING, b""),
                frame(PONG, b"nobody asked"),
                frame(CONTINUATION, b"message"),
                frame(BINARY, b"", fin=False),
                frame(CONTINUATION, b""),
            )
            assert await peer.frame() == Frame(PONG, b"first")
            assert await peer.frame() == Frame(PONG, b"")
            assert await peer.frame() == Frame(TEXT, b"one message")
            assert await peer.frame() == Frame(BINARY, b"")

    way.run(echo, talk)


def test_utf8_may_be_split_anywhere(way: Way) -> None:
    text = "κόσμε ü € 😀"
    raw = text.encode()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            for cut in range(len(raw) + 1):
                peer.write(frame(TEXT, raw[:cut], fin=False), frame(CONTINUATION, raw[cut:]))
                assert await peer.message() == text
            parts = [frame(CONTINUATION, raw[at : at + 1], fin=False) for at in range(len(raw))]
            peer.write(frame(TEXT, b"", fin=False), *parts, frame(CONTINUATION, b""))
            assert await peer.message() == text

    way.run(echo, talk)


def test_messages_of_exactly_the_limit_arrive(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(BINARY, bytes(1000)))
            assert await peer.message() == bytes(1000)
            peer.write(frame(BINARY, bytes(600), fin=False), frame(CONTINUATION, bytes(400)))
            assert await peer.message() == bytes(1000)
            peer.write(frame(TEXT, "é".encode() * 500))  # the limit counts bytes
            assert await peer.message() == "é" * 500

    way.run(echo, talk, ws_max_size=1000)


def test_many_messages_in_one_segment_arrive_in_order(way: Way) -> None:
    messages = [str(number) if number % 3 else number.to_bytes(2) for number in range(500)]
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            frames = [
                frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message)
                for message in messages
            ]
            peer.write(*frames, close_frame(1000))
            assert await recorder.disconnect() == (1000, "")
            assert await peer.closed() == (1000, "")
        assert recorder.received == messages

    way.run(recorder, talk)


def test_frames_may_come_byte_by_byte(way: Way) -> None:
    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            stream = b"".join(
                [
                    frame(TEXT, b"one"),
                    frame(BINARY, bytes(200)),
                    frame(TEXT, b"tw", fin=False),
                    frame(PING, b"?"),
                    frame(CONTINUATION, b"o"),
                    frame(BINARY, b""),
                ]
            )
            for at in range(len(stream)):
                peer.write(stream[at : at + 1])
                await asyncio.sleep(0)  # so that the server reads it alone
            got = [await peer.frame() for _ in range(5)]
            got.remove(Frame(PONG, b"?"))  # the app answers in its own time, the server at once
            assert got == [Frame(TEXT, b"one"), Frame(BINARY, bytes(200)), Frame(TEXT, b"two"), Frame(BINARY, b"")]

    way.run(echo, talk)


def test_a_large_frame_in_pieces_with_the_next_one_behind_it(way: Way) -> None:
    payload = bytes(range(256)) * 4096  # 1 MiB, beyond every buffer for reading

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            peer.write(frame(BINARY, payload), frame(TEXT, b"next"))
            assert await peer.message() == payload
            assert await peer.message() == "next"

    way.run(echo, talk)


def test_an_app_may_send_and_receive_at_the_same_time(way: Way) -> None:
    count = 200

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

        async def speak() -> None:
            for number in range(count):
                await send(said(f"out {number}"))

        speaking = asyncio.create_task(speak())
        for number in range(count):
            assert content(await receive()) == f"in {number}"
        await speaking
        await send(said("all"))
        await receive()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            for number in range(count):
                peer.write(frame(TEXT, f"in {number}".encode()))
            for number in range(count):
                assert await peer.message() == f"out {number}"
            assert await peer.message() == "all"

    way.run(app, talk)
