"""What breaks the protocol is closed with the right code, and the app is told once."""

from __future__ import annotations

import asyncio
from typing import Any

from .ws_apps import Recorder
from .ws_differences import Outcome, after_a_violation, keeps_what_is_in_front_of_a_violation, logs_what_is_not_utf8
from .ws_peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, close_payload, frame
from .ws_way import Stage, Way

LIMIT_BYTES = 1000

BROKEN_FRAMES = {
    "not masked": frame(TEXT, b"hello", mask=None),
    "not masked, empty": frame(BINARY, mask=None),
    "ping not masked": frame(PING, b"x", mask=None),
    **{f"reserved bits {bits:03b}": frame(TEXT, b"hello", reserved=bits) for bits in (1, 2, 4, 7)},
    "ping with a reserved bit": frame(PING, reserved=4),
    **{f"opcode {opcode}": frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "continuation of nothing": frame(CONTINUATION, b"x"),
    "continuation of nothing, not the last": frame(CONTINUATION, b"x", fin=False),
    "continuation of a finished message": frame(BINARY, b"a") + frame(CONTINUATION, b"b"),
    "text inside a fragmented text": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "binary inside a fragmented text": frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"),
    "text inside a fragmented text, behind a ping": frame(TEXT, b"a", fin=False) + frame(PING) + frame(TEXT, b"b"),
    "fragmented ping": frame(PING, b"x", fin=False),
    "fragmented pong": frame(PONG, b"x", fin=False),
    "fragmented close": frame(CLOSE, close_payload(1000), fin=False),
    "ping of 126 bytes": frame(PING, bytes(126)),
    "pong of 126 bytes": frame(PONG, bytes(126)),
    "close of 126 bytes": frame(CLOSE, close_payload(1000, "x" * 124)),
    "ping of 65536 bytes": frame(PING, bytes(65_536)),
    "close of 1 byte": frame(CLOSE, b"\x03"),
    **{
        f"close code {code}": close_frame(code)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535)
    },
}
BROKEN_UTF8 = {
    "in a whole text": frame(TEXT, b"ab\xffcd"),
    "a surrogate": frame(TEXT, b"\xed\xa0\x80"),
    "too long a form": frame(TEXT, b"\xc0\xaf"),
    "beyond the last character": frame(TEXT, b"\xf4\x90\x80\x80"),
    "cut at the end": frame(TEXT, "€".encode()[:2]),
    "cut at the end of the last fragment": frame(TEXT, b"a", fin=False) + frame(CONTINUATION, "€".encode()[:2]),
    "in a later fragment": frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"\xff"),
    "split wrongly": frame(TEXT, "€".encode()[:2], fin=False) + frame(CONTINUATION, "€".encode()[:1]),
}
TOO_LARGE = {
    "one frame": frame(BINARY, bytes(LIMIT_BYTES + 1)),
    "one text": frame(TEXT, b"x" * (LIMIT_BYTES + 1)),
    "sum of fragments": frame(BINARY, bytes(600), fin=False) + frame(CONTINUATION, bytes(401)),
    "sum of fragments without end": frame(TEXT, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 600, fin=False),
    "text of fewer characters": frame(TEXT, "é".encode() * 501),
}
# The rest of it never comes. uvicorn's own class counts only what has come.
TOO_LARGE_BY_ITS_HEAD = {"head of a frame": frame(BINARY, b"", claimed_bytes=1 << 40)}


def outcomes(way: Way, cases: dict[str, bytes], **settings: Any) -> dict[str, Outcome]:
    """Try each case on a connection of its own."""
    found: dict[str, Outcome] = {}
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        for name, broken in cases.items():
            async with stage.peer() as peer, asyncio.timeout(5):
                peer.write(broken)
                try:
                    told_peer: int | None = (await peer.closed())[0]
                except asyncio.IncompleteReadError:
                    told_peer = None
                await peer.ended()
                message = await recorder.ended.get()
            await stage.empty()
            assert recorder.ended.empty(), f"{name}: the app is told once"
            found[name] = Outcome(told_peer, message["code"])

    way.run(recorder, talk, **settings)
    assert found.keys() == cases.keys()
    return found


def all_are(way: Way, code: int, cases: dict[str, bytes], **settings: Any) -> None:
    """Every case ends with this code."""
    assert outcomes(way, cases, **settings) == dict.fromkeys(cases, after_a_violation(way, code))


def test_a_broken_frame_is_1002(way: Way) -> None:
    all_are(way, 1002, BROKEN_FRAMES)


def test_a_text_that_is_not_utf8_is_1007(way: Way) -> None:
    all_are(way, 1007, BROKEN_UTF8, logs_errors=logs_what_is_not_utf8(way))


def test_a_message_over_the_limit_is_1009(way: Way) -> None:
    cases = TOO_LARGE if way.protocol == "wsproto" else TOO_LARGE | TOO_LARGE_BY_ITS_HEAD
    all_are(way, 1009, cases, ws_max_size=LIMIT_BYTES)


def test_a_close_reason_that_is_not_utf8_is_1007(way: Way) -> None:
    all_are(way, 1007, {"reason": frame(CLOSE, close_payload(1000) + b"\xff\xfe")})


def test_a_length_with_its_highest_bit_is_1002_or_1009(way: Way) -> None:
    [outcome] = outcomes(way, {"length": frame(BINARY, b"", claimed_bytes=1 << 63)}).values()
    assert outcome in (after_a_violation(way, 1002), after_a_violation(way, 1009))


def test_whole_messages_in_front_of_a_violation_arrive(way: Way) -> None:
    recorder = Recorder()

    async def talk(stage: Stage) -> None:
        async with stage.peer() as peer:
            right = [frame(TEXT, b"a"), frame(BINARY, b"b"), frame(TEXT, b"c", fin=False), frame(CONTINUATION, b"d")]
            peer.write(*right, frame(TEXT, b"e", fin=False), frame(CONTINUATION, b"f", reserved=4))
            assert (await recorder.disconnect())[0] == 1002
        assert recorder.received == (["a", b"b", "cd"] if keeps_what_is_in_front_of_a_violation(way) else [])

    way.run(recorder, talk)
