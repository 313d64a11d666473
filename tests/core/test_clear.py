"""The interruption: what a clear takes back, what it says of it, and what the router is told."""

from __future__ import annotations

import pytest
from driving import CLEAR, first, long_sound, make_session, play, rounded, sound, stuck, wait_until_s, write

from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.errors import AudioConnectorAudioError
from vonage_audio_connector_server.results import FlushResult


def test_clear_drops_all_audio_that_is_not_written_and_says_how_much() -> None:
    session = make_session()
    session.queue_audio(sound(8_100), 0.0)
    assert stuck(session, 0.0, 3) == [sound(160, start) for start in (0, 160, 320)]
    assert session.clear(0.0) == FlushResult(0.0, 8_100 / 8_000, 480 / 8_000)
    assert (session.out.frames_out, session.out.bytes_out) == (3, 960)
    assert (session.heard_s(0.0), session.out.ledger.dropped) == (0.0, 8_100)
    assert session.queued_s == 0.0
    assert not session.out.has_more
    assert write(session, 0.0) == CLEAR
    assert wait_until_s(session, 0.0) is None


def test_clear_commands_go_between_earlier_texts_and_later_audio() -> None:
    session = make_session()
    session.queue_text('"a"')
    session.queue_audio(long_sound(5.0, 8_000), 0.0)
    session.due_s(0.0)
    session.queue_text('"b"')
    session.clear(0.0)
    session.queue_audio(sound(320), 0.0)
    session.queue_text('"c"')
    assert write(session, 0.0) == ['"a"', '"b"', *CLEAR, '"c"', sound(160), sound(160, 160)]
    assert session.texts_out == 5


def test_audio_after_a_clear_is_due_at_once_and_whole() -> None:
    session = make_session()
    session.queue_audio(long_sound(60.0, 8_000), 0.0)
    write(session, 0.0)
    session.clear(0.0)
    assert session.out.ahead_s(0.0) == 0.0
    session.queue_audio(sound(8_000), 0.001)
    out = write(session, 0.001)
    assert out[:3] == [*CLEAR, sound(160)]
    frames = [payload for payload in out[2:] if isinstance(payload, bytes)]
    assert len(frames) == 15
    frames += [frame for _, frame in play(session, 0.001, 5.0)]
    assert b"".join(frames) == sound(8_000)


def test_clear_drops_the_remainder() -> None:
    session = make_session()
    session.queue_audio(sound(100), 0.0)
    assert session.clear(0.0) == FlushResult(0.0, 100 / 8_000, 0.0)
    session.queue_audio(sound(160, 500), 0.0)
    assert write(session, 0.0) == [*CLEAR, sound(160, 500)]


def test_clear_drops_a_greeting() -> None:
    session = make_session(None, assumed=8_000)
    session.queue_audio(sound(400), 0.0)
    assert session.clear(0.0) == FlushResult(0.0, 0.05, 0.0)
    assert session.queued_s == 0.0
    session.text_received(first(8_000))
    assert write(session, 2.0) == CLEAR


def test_clear_of_nothing_still_tells_the_router_and_once_is_enough() -> None:
    session = make_session()
    assert session.clear(0.0) == FlushResult(0.0, 0.0, 0.0)
    assert session.clear(0.0) == FlushResult(0.0, 0.0, 0.0)  # before the socket took the first commands
    assert session.flushes == 2
    assert write(session, 0.0) == CLEAR
    session.clear(0.0)
    assert write(session, 0.0) == CLEAR


def test_what_clears_dropped_adds_up() -> None:
    session = make_session()
    for _ in range(2):
        session.queue_audio(sound(800), 0.0)
        session.clear(0.0)
    assert session.out.ledger.dropped == 1_600


def test_clear_is_no_gap() -> None:
    session = make_session()
    session.queue_audio(sound(160), 0.0)
    write(session, 0.0)
    session.clear(0.0)
    session.queue_audio(sound(160), 0.5)
    write(session, 0.5)
    assert session.out.gaps.noted == []


@pytest.mark.parametrize("commands", [[], ['{"event":"clearAudio"}'], ['{"x":1}', '{"x":2}']])
def test_clear_commands_are_those_of_the_configuration(commands: list[str]) -> None:
    session = Session(0.0, clear_commands=commands)
    session.clear(0.0)
    assert write(session, 0.0) == commands


def test_a_flush_with_new_audio_clears_first() -> None:
    session = make_session()
    session.queue_audio(sound(1_000), 0.0)
    session.queue_audio(sound(160, 2_000), 0.0, flush=True)
    assert write(session, 0.0) == [*CLEAR, sound(160, 2_000)]
    assert session.out.ledger.dropped == 1_000
    assert session.flushes == 1


def test_a_flush_with_a_refused_frame_drops_nothing() -> None:
    session = make_session()
    session.queue_audio(sound(320), 0.0)
    with pytest.raises(AudioConnectorAudioError):
        session.queue_audio(sound(320), 0.0, frame_bytes=640, flush=True)
    assert session.flushes == 0
    assert write(session, 0.0) == [sound(160), sound(160, 160)]


def test_drop_audio_keeps_texts_and_says_nothing_to_the_router() -> None:
    session = make_session()
    session.queue_text("{}")
    session.queue_audio(sound(800), 0.0)
    session.due_s(0.0)
    assert session.drop_audio(0.0) == FlushResult(0.0, 0.1, 0.0)
    assert session.flushes == 0
    assert write(session, 1.0) == ["{}"]


# What it says


def test_heard_and_dropped_are_what_was_given() -> None:
    session = make_session()
    session.queue_audio(sound(16_000), 0.0)
    play(session, 0.0, 1.05)
    assert session.heard_s(1.05) == pytest.approx(1.05, abs=1e-9)
    assert rounded(session.clear(1.05)) == (1.05, 0.95, 0.25)  # at 1.0 it was 0.3 s ahead
    assert session.heard_s(9.0) == 1.05


def test_heard_counts_from_the_clear_before() -> None:
    session = make_session()
    session.queue_audio(sound(16_000), 0.0)
    play(session, 0.0, 0.5)
    assert session.clear(0.5).heard_s == 0.5
    session.queue_audio(sound(16_000), 0.5)
    play(session, 0.5, 0.75)
    assert rounded(session.clear(0.75)) == (0.25, 1.75, 0.25)
    assert session.heard_s(0.75) == 0.75


def test_padding_is_neither_heard_nor_dropped() -> None:
    session = make_session()
    for start in range(0, 1_000, 100):
        session.queue_audio(sound(100, start), 0.0, end=True)  # 20 ms each, of which 12.5 are sound
    play(session, 0.0, 0.0)
    assert session.heard_s(0.05) == 280 / 8_000  # two, and half of the next, which is 80 samples of it
    assert session.heard_s(0.055) == 300 / 8_000
    assert session.clear(0.055) == FlushResult(300 / 8_000, 700 / 8_000, 700 / 8_000)


def test_a_frame_in_flight_is_not_heard_but_was_sent() -> None:
    session = make_session()
    session.queue_audio(sound(1_600), 0.0)
    assert len(stuck(session, 0.0, 4)) == 4
    assert session.heard_s(0.5) == 0.0
    assert session.clear(0.5) == FlushResult(0.0, 0.2, 0.08)
    assert session.out.frames_out == 4


def test_what_a_blocked_socket_takes_at_last_is_heard_from_then_on() -> None:
    session = make_session()
    session.queue_audio(sound(800), 0.0)
    assert len(stuck(session, 0.0)) == 5
    assert session.heard_s(2.0) == 0.0
    write(session, 2.0)
    assert session.heard_s(2.0) == 0.0
    assert session.heard_s(2.05) == 0.05
    assert session.heard_s(2.1) == 0.1


def test_a_mark_knows_what_of_it_was_heard() -> None:
    session = make_session()
    marks = [session.queue_audio(sound(800, start), 0.0) for start in (0, 800, 1_600)]
    play(session, 0.0, 0.15)
    ledger, wire = session.out.ledger, session.out.heard_wire(0.15)
    assert [ledger.heard_of(mark, wire) for mark in marks] == [800, 400, 0]
    assert [ledger.is_over(mark, wire) for mark in marks] == [True, False, False]
    session.clear(0.15)
    later = session.queue_audio(sound(800), 0.15)
    play(session, 0.15, 5.0)
    wire = session.out.heard_wire(5.0)
    assert [ledger.heard_of(mark, wire) for mark in [*marks, later]] == [800, 400, 0, 800]
    assert all(ledger.is_over(mark, wire) for mark in marks)


def test_the_acknowledgement_of_a_clear_is_counted() -> None:
    session = make_session()
    assert session.clears_acknowledged == 0
    session.text_received(CLEAR[0])
    assert session.clears_acknowledged == 1
