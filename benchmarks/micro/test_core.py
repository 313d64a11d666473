"""The core, without an event loop: framing, the session's queue and poll, texts."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from vonage_audio_connector_server.core import wire
from vonage_audio_connector_server.core.framing import Framer
from vonage_audio_connector_server.core.session import Send, Session
from vonage_audio_connector_server.models import AudioFormat

from .conftest import FIRST_MESSAGE, FRAME

SECOND = FRAME * 50


def test_framing_a_live_frame(benchmark: BenchmarkFixture) -> None:
    framer = Framer()
    assert benchmark(framer.push, FRAME, 640) == [FRAME]


def test_framing_a_second_in_odd_pieces(benchmark: BenchmarkFixture) -> None:
    pieces = [SECOND[at : at + 500] for at in range(0, len(SECOND), 500)]

    def push() -> int:
        framer = Framer()
        return sum(len(framer.push(piece, 640)) for piece in pieces)

    assert benchmark(push) == 50


def test_session_takes_a_frame(benchmark: BenchmarkFixture) -> None:
    session = Session(0.0)
    session.receive_text(FIRST_MESSAGE)
    benchmark(session.receive_bytes, FRAME)


def test_session_echoes_50_frames(benchmark: BenchmarkFixture) -> None:
    def echo() -> int:
        session = Session(0.0)
        session.receive_text(FIRST_MESSAGE)
        sent = 0
        for place in range(50):
            now_s = place * 0.02
            session.queue_audio(FRAME, now_s)
            while isinstance(action := session.poll(now_s), Send):
                sent += len(action.payloads)
                action.payloads.clear()
        return sent

    assert benchmark(echo) == 50


def test_session_plays_a_second(benchmark: BenchmarkFixture) -> None:
    def play() -> int:
        session = Session(0.0)
        session.receive_text(FIRST_MESSAGE)
        session.queue_audio(SECOND, 0.0, end=True)
        sent, now_s = 0, 0.0
        while sent < 50:
            while isinstance(action := session.poll(now_s), Send):
                sent += len(action.payloads)
                action.payloads.clear()
            now_s += 0.1
        return sent

    assert benchmark(play) == 50


def test_wire_parses_the_first_message(benchmark: BenchmarkFixture) -> None:
    benchmark(wire.parse_text, FIRST_MESSAGE)


def test_wire_writes_the_first_message(benchmark: BenchmarkFixture) -> None:
    benchmark(wire.first_message, AudioFormat(16_000), {"caller": "1"})
