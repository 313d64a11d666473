"""The core, without an event loop: framing, the session's queue and poll, texts."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from vonage_audio_connector_server.core import wire
from vonage_audio_connector_server.core.framer import Framer
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.formats import AudioFormat

from .conftest import FIRST_MESSAGE, FRAME

SECOND = FRAME * 50


def test_framing_a_live_frame(benchmark: BenchmarkFixture) -> None:
    framer = Framer()

    def push_and_take() -> bytes:
        framer.push(FRAME)
        return framer.read(640)

    assert benchmark(push_and_take) == FRAME


def test_framing_a_second_in_odd_pieces(benchmark: BenchmarkFixture) -> None:
    pieces = [SECOND[at : at + 500] for at in range(0, len(SECOND), 500)]

    def push() -> int:
        framer, frames = Framer(), 0
        for piece in pieces:
            framer.push(piece)
            while framer.size_bytes >= 640:
                framer.read(640)
                frames += 1
        return frames

    assert benchmark(push) == 50


def sent(session: Session, now_s: float) -> int:
    """Do as a socket does that takes everything."""
    session.due_s(now_s)
    messages = len(session.out.outbox)
    session.out.outbox.clear()
    session.out.written(now_s)
    return messages


def test_session_takes_a_frame(benchmark: BenchmarkFixture) -> None:
    session = Session(0.0)
    session.text_received(FIRST_MESSAGE)
    benchmark(session.audio_received, FRAME)


def test_session_echoes_50_frames(benchmark: BenchmarkFixture) -> None:
    def echo() -> int:
        session = Session(0.0)
        session.text_received(FIRST_MESSAGE)
        messages = 0
        for place in range(50):
            now_s = place * 0.02
            if session.out.push_live(FRAME, now_s) is None:
                session.queue_audio(FRAME, now_s)
            messages += sent(session, now_s)
        return messages

    assert benchmark(echo) == 50


def test_session_plays_a_second(benchmark: BenchmarkFixture) -> None:
    def play() -> int:
        session = Session(0.0)
        session.text_received(FIRST_MESSAGE)
        session.queue_audio(SECOND, 0.0, end=True)
        messages, now_s = 0, 0.0
        while messages < 50:
            messages += sent(session, now_s)
            now_s += 0.1
        return messages

    assert benchmark(play) == 50


def test_wire_parses_the_first_message(benchmark: BenchmarkFixture) -> None:
    benchmark(wire.parse_text, FIRST_MESSAGE)


def test_wire_writes_the_first_message(benchmark: BenchmarkFixture) -> None:
    benchmark(wire.first_message, AudioFormat(16_000), {"caller": "1"})
