"""The bound on what waits to be sent, and the three things that can happen beyond it."""

from __future__ import annotations

import pytest
from driving import CLEAR, first, long_sound, make_session, play, rounded, sound, write, write_audio

from vonage_audio_connector_server.core.ledger import Mark
from vonage_audio_connector_server.core.session import MAX_QUEUED_S, Session, WhenFull
from vonage_audio_connector_server.errors import AudioConnectorFullError
from vonage_audio_connector_server.models import AudioFormat


def heard_of(session: Session, marks: list[Mark], now_s: float) -> list[int]:
    wire = session.out.heard_wire(now_s)
    return [session.out.ledger.heard_of(mark, wire) for mark in marks]


# The bound


@pytest.mark.parametrize("when_full", ["wait", "raise"])
def test_one_call_is_taken_whole_and_the_bound_is_on_what_waits(when_full: WhenFull) -> None:
    session = Session(0.0, assumed_format=AudioFormat(8_000), when_full=when_full)
    session.receive_text(first(8_000))
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
    session.receive_text(first(8_000))
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
    assert session.out.ledger.taken == mark.samples == 4_001
    assert session.queued_s == 4_001 / 8_000
    session.receive_text(first(8_000))
    play(session, 0.0, 0.1)
    session.queue_audio(sound(100, 4_001), 0.1, end=True)
    frames = write_audio(session, 0.0) + [frame for _, frame in play(session, 0.1, 2.0)]
    assert b"".join(frames).rstrip(b"\0") == sound(4_101)[-2 * (4_101 - 20 * 160) :]


def test_a_flush_makes_room_first() -> None:
    session = make_session(max_queued_s=0.5, when_full="raise")
    session.queue_audio(sound(8_000), 0.0)
    session.queue_audio(sound(160, 8_000), 0.0, flush=True)
    assert write(session, 0.0) == [*CLEAR, sound(160, 8_000)]


# Drop the oldest


def test_the_newest_audio_survives_and_the_marks_know_what_they_lost() -> None:
    session = make_session(max_queued_s=0.5, when_full="drop_oldest")
    marks = [session.queue_audio(sound(1_600, start), 0.0) for start in range(0, 8_000, 1_600)]
    assert session.queued_s == 0.5
    assert [mark.lost for mark in marks] == [1_600, 1_600, 800, 0, 0]
    assert session.out.ledger.dropped == 4_000
    frames = [frame for _, frame in play(session, 0.0, 2.0)]
    assert b"".join(frames) == sound(4_000, 4_000)
    assert heard_of(session, marks, 2.0) == [0, 0, 800, 1_600, 1_600]
    assert session.heard_s(2.0) == 0.5


def test_only_whole_frames_are_dropped_and_only_as_many_as_must() -> None:
    session = make_session(max_queued_s=0.05, when_full="drop_oldest")
    session.queue_audio(sound(400), 0.0)  # 50 ms: just full
    assert session.out.ledger.dropped == 0
    session.queue_audio(sound(90, 400), 0.0)  # three frames and ten samples
    assert session.out.ledger.dropped == 160
    assert session.queued_s == 330 / 8_000


def test_a_call_that_is_longer_than_the_bound_keeps_its_end() -> None:
    session = make_session(max_queued_s=0.5, when_full="drop_oldest")
    mark = session.queue_audio(sound(16_100), 0.0, end=True)
    assert mark.lost == 12_160  # 101 frames, of which 25 stay, the padded one among them
    frames = [frame for _, frame in play(session, 0.0, 2.0)]
    assert b"".join(frames) == sound(3_940, 12_160).ljust(8_000, b"\0")
    assert heard_of(session, [mark], 2.0) == [3_940]


def test_what_is_on_its_way_is_never_dropped_and_what_was_heard_stays_heard() -> None:
    session = make_session(max_queued_s=0.5, when_full="drop_oldest")
    mark = session.queue_audio(sound(4_000), 0.0)
    assert len(write(session, 0.0)) == 15  # 300 ms
    later = session.queue_audio(sound(4_000, 4_000), 0.1)  # takes the other 200
    assert (mark.lost, later.lost) == (1_600, 0)
    heard = [heard_of(session, [mark], now_s)[0] for now_s in (0.0, 0.1, 0.2)]
    assert heard == [0, 800, 1_600]
    assert not session.out.ledger.is_over(mark, session.out.heard_wire(0.2))
    frames = [frame for _, frame in play(session, 0.1, 2.0)]
    assert b"".join(frames) == sound(4_000, 4_000)
    assert heard_of(session, [mark, later], 2.0) == [2_400, 4_000]
    assert session.heard_s(2.0) == 6_400 / 8_000


def test_a_greeting_loses_its_beginning_and_knows_it() -> None:
    session = make_session(None, max_queued_s=0.5, when_full="drop_oldest")
    marks = [session.queue_audio(sound(4_000), 0.0), session.queue_audio(sound(4_000, 4_000), 0.0)]
    session.receive_text(first(8_000))
    marks.append(session.queue_audio(sound(2_000, 8_000), 0.0))
    assert [mark.lost for mark in marks] == [
        4_000,
        1_920,
        0,
    ]  # in whole frames: 25 are left, and 80 samples that wait for more
    frames = [frame for _, frame in play(session, 0.0, 2.0)]
    assert b"".join(frames).rstrip(b"\0") == sound(4_080, 5_920)
    assert heard_of(session, marks, 2.0) == [0, 2_080, 2_000]


def test_a_clear_tells_what_it_dropped_itself() -> None:
    session = make_session(max_queued_s=0.5, when_full="drop_oldest")
    marks = [session.queue_audio(sound(4_000, start), 0.0) for start in (0, 4_000)]
    play(session, 0.0, 0.1)
    session.queue_audio(sound(1_600, 8_000), 0.1)  # 0.4 s are out, so nothing more is lost
    assert rounded(session.clear(0.1)) == (0.1, 0.6, 0.3)
    assert session.out.ledger.dropped == 4_000 + 4_800
    assert heard_of(session, marks, 9.0) == [0, 800]
    assert marks[0].lost == 4_000


@pytest.mark.parametrize("rewind_s", [0.0, 0.3])
def test_what_a_pause_took_back_can_be_dropped_and_stays_heard(rewind_s: float) -> None:
    session = make_session(max_queued_s=0.5, when_full="drop_oldest")
    marks = [session.queue_audio(sound(4_000), 0.0)]
    play(session, 0.0, 0.413)  # all is out
    session.pause(0.413)
    session.resume(rewind_s, 0.413)
    marks.append(session.queue_audio(sound(4_000, 4_000), 0.413))
    assert session.heard_s(0.413) == 0.413
    assert heard_of(session, marks, 0.413) == [3_304, 0]
    assert [mark.lost for mark in marks] == [4_000 - 3_304, 0]
    assert session.out.ledger.dropped == 4_000 - 3_304
    frames = [frame for _, frame in play(session, 0.413, 2.0)]
    assert b"".join(frames) == sound(4_000, 4_000)
    assert heard_of(session, marks, 2.0) == [3_304, 4_000]
    assert session.heard_s(2.0) == 7_304 / 8_000


def test_marks_of_what_is_out_are_kept_for_a_pause() -> None:
    session = make_session(max_queued_s=0.5, when_full="drop_oldest")
    first_mark = session.queue_audio(sound(1_600), 0.0)
    write(session, 0.0)  # 0.2 s, all of it
    second = session.queue_audio(sound(1_600, 1_600), 0.05)
    session.pause(0.1)
    third = session.queue_audio(sound(4_000, 3_200), 0.1)
    assert [first_mark.lost, second.lost, third.lost] == [800, 1_600, 0]
    assert heard_of(session, [first_mark, second, third], 0.1) == [800, 0, 0]


def test_a_queue_that_is_always_full_does_not_grow() -> None:
    session = make_session(max_queued_s=0.5, when_full="drop_oldest")
    silence = long_sound(0.5, 8_000)
    now_s, heard_s = 0.0, 0.0
    for _ in range(400):  # 25 ms of time for 100 ms of audio
        session.queue_audio(silence[:1_600], now_s)
        write(session, now_s)
        now_s += 0.025
        assert session.queued_s <= 0.5
        assert session.heard_s(now_s) == pytest.approx(now_s, abs=1e-3)
        assert session.heard_s(now_s) >= heard_s
        heard_s = session.heard_s(now_s)
    assert len(session.out.ledger._book.breaks) < 20
    assert len(session.out._marks) < 20
