"""Any sequence of messages, in any fragments with pings between them, in any pieces, arrives as it was sent."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .ws_apps import Recorder
from .ws_peer import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, close_frame, frame
from .ws_way import Stage, Way

SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 640, 4096, 4097, 65_535, 65_536, 70_000]) | st.integers(0, 300)
TEXTS = st.text(max_size=40) | st.builds(lambda text, times: text * times, st.text(max_size=5), SIZES)
BLOBS = st.binary(max_size=40) | st.builds(lambda size: bytes(range(256)) * (size // 256 + 1), SIZES)
MASKS = st.binary(min_size=4, max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[bytes | str], list[bytes], list[bytes]]:
    """Messages, the pings among their fragments, and the pieces in which the bytes of both are written."""
    messages = draw(st.lists(TEXTS | BLOBS, max_size=8))
    pings: list[bytes] = []
    stream = b""
    for message in messages:
        raw = message.encode() if isinstance(message, str) else message
        cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=4)))
        parts = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
        for number, part in enumerate(parts):
            opcode = CONTINUATION if number else TEXT if isinstance(message, str) else BINARY
            stream += frame(opcode, part, fin=number == len(parts) - 1, mask=draw(MASKS))
            if draw(st.booleans()):
                pings.append(draw(st.binary(max_size=125)))
                stream += frame(PING, pings[-1], mask=draw(MASKS))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return messages, pings, pieces


@pytest.mark.slow
@given(conversation=conversations())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_conversation_arrives_as_it_was_sent(
    way: Way, conversation: tuple[list[bytes | str], list[bytes], list[bytes]]
) -> None:
    messages, pings, pieces = conversation
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            for piece in pieces:
                peer.write(piece)
                await peer.writer.drain()
                await asyncio.sleep(0)
            peer.write(close_frame(1000))
            for payload in pings:
                assert await peer.frame() == Frame(PONG, payload)
            assert await peer.closed() == (1000, "")
            assert await recorder.disconnect() == (1000, "")
        assert recorder.received == messages

    way.run(recorder, talk)
