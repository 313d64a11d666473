"""The bound on what waits to be sent, and the two things that can happen beyond it."""

from __future__ import annotations

import pytest
from driving import CLEAR, first, make_session, play, sound, write, write_audio

from vonage_audio_connector_server.core.session import MAX_QUEUED_S, Session, WhenFull
from vonage_audio_connector_server.errors import AudioConnectorFullError
from vonage_audio_connector_server.formats import AudioFormat

# The bound


@pytest.mark.parametrize("when_full", ["wait", "raise"])
def test_one_call_is_taken_whole_and_the_bound_is_on_what_waits(when_full: WhenFull) -> None:
    session = Session(0.0, assumed_format=AudioFormat(8_000), when_full=when_full)
    session.text_received(first(8_000))
    session.queue_audio(bytes(2 * 8_000 * 130), 0.0)
    assert session.queued_s == 130.0
    assert session.is_full
    assert session.too_much_s == (10.0 if when_full == "wait" else 0.0)
    frames = play(session, 0.0, 9.65)
    assert len(frames) == 495  # 9.9 s
    assert session.is_full
    play(session, 9.65, 9.75)
    assert session.queued_s == 120.0  # sent, but not heard: it does not wait any more
    assert not session.is_full
    assert session.too_much_s == 0.0
    session.queue_audio(bytes(2 * 8_000 * 130), 9.75)
    assert session.queued_s == 250.0


def test_two_minutes_are_the_default() -> None:
    session = Session(0.0, when_full="raise")
    session.queue_audio(bytes(2 * 16_000 * 120), 0.0)
    assert MAX_QUEUED_S == session.queued_s == 120.0
    session.queue_audio(bytes(2), 0.0)
    assert session.is_full
    with pytest.raises(AudioConnectorFullError, match=r"^120\.0 s of audio wait to be sent, 120 are allowed"):
        session.queue_audio(bytes(2), 0.0)


def test_part_of_a_frame_and_a_greeting_wait_too() -> None:
    session = make_session(None, assumed=8_000, max_queued_s=0.5)
    session.queue_audio(sound(4_100), 0.0)
    assert session.is_full
    assert session.too_much_s == pytest.approx(100 / 8_000)
    session.text_received(first(8_000))
    assert session.queued_s == 4_100 / 8_000
    assert session.is_full


# Raise


@pytest.mark.parametrize("rate_hz", [8_000, None])
def test_raise_takes_nothing_beyond(rate_hz: int | None) -> None:
    session = make_session(rate_hz, assumed=8_000, max_queued_s=0.5, when_full="raise")
    mark = session.queue_audio(sound(4_001), 0.0)
    for _ in range(2):
        with pytest.raises(AudioConnectorFullError, match=r"0\.5 s of audio wait.*0\.5 are allowed.*when_full='wait'"):
            session.queue_audio(sound(100, 4_001), 0.0, end=True)
    assert session.out.ledger.accepted == mark.samples == 4_001
    assert session.queued_s == 4_001 / 8_000
    session.text_received(first(8_000))
    play(session, 0.0, 0.1)
    session.queue_audio(sound(100, 4_001), 0.1, end=True)
    frames = write_audio(session, 0.0) + [frame for _, frame in play(session, 0.1, 2.0)]
    assert b"".join(frames).rstrip(b"\0") == sound(4_101)[-2 * (4_101 - 20 * 160) :]


def test_a_flush_makes_room_first() -> None:
    session = make_session(max_queued_s=0.5, when_full="raise")
    session.queue_audio(sound(8_000), 0.0)
    session.queue_audio(sound(160, 8_000), 0.0, flush=True)
    assert write(session, 0.0) == [*CLEAR, sound(160, 8_000)]


def test_waiting_is_the_callers_affair() -> None:
    session = make_session(max_queued_s=0.5)
    for start in range(0, 16_000, 4_000):
        session.check_room()
        session.queue_audio(sound(4_000, start), 0.0)
    assert session.is_full
    assert session.too_much_s == 1.5
    assert b"".join(frame for _, frame in play(session, 0.0, 5.0)) == sound(16_000)
    assert not session.is_full
    assert session.out.ledger.dropped == 0


def test_room_can_be_asked_for_before_anything_is_taken() -> None:
    session = make_session(max_queued_s=0.5, when_full="raise")
    session.queue_audio(sound(4_000), 0.0)
    session.check_room()  # just full
    session.queue_audio(sound(1), 0.0)
    with pytest.raises(AudioConnectorFullError, match=r"0\.5 s of audio wait"):
        session.check_room()
    write(session, 0.0)
    session.check_room()
