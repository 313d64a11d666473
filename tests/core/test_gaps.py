"""Gaps: what is one, what is none, and whose fault it was."""

from __future__ import annotations

import pytest
from driving import fill, make_session, play, sound, stuck, write

from vonage_audio_connector_server.core.gaps import Gap, GapCause, Gaps
from vonage_audio_connector_server.core.session import Session

NONE: dict[GapCause, int] = {"producer late": 0, "loop blocked": 0, "socket backed up": 0}


def counts(cause: GapCause | None = None, count: int = 1) -> dict[GapCause, int]:
    return NONE | ({cause: count} if cause else {})


def counted(session: Session, *blocked_s: tuple[float, float]) -> dict[GapCause, int]:
    """The gaps of a session, on a loop that was blocked at these times."""
    gaps = session.out.gaps
    for gap in gaps.pop_all():
        was_blocked = any(start_s < gap.until_s and gap.since_s < end_s for start_s, end_s in blocked_s)
        gaps.count(gap, loop_was_blocked=was_blocked)
    return gaps.counts


def hold(session: Session, from_s: float, to_s: float) -> int:
    """Hand over what is due, and have the socket write it only at `to_s`. Returns how many frames."""
    frames = len(stuck(session, from_s))
    session.out.written(to_s)
    fill(session, to_s)
    return frames


# The producer


def test_gaps_of_a_late_producer_and_pauses() -> None:
    session = make_session()
    now_s = total_s = 0.0
    for silence_s, gaps in [(0.0, 0), (0.019, 0), (0.05, 1), (0.99, 2), (1.01, 2), (60.0, 2)]:
        now_s += 0.02 + silence_s
        session.queue_audio(sound(160), now_s)
        write(session, now_s)
        assert counted(session) == counts("producer late", gaps)
        total_s += silence_s if silence_s in (0.05, 0.99) else 0.0
        assert session.out.gaps.total_s == pytest.approx(total_s)
    assert sum(session.out.gaps.counts.values()) == 2


@pytest.mark.parametrize("end_first", [True, False])
@pytest.mark.parametrize("end_second", [True, False])
def test_behind_an_utterance_that_was_ended_there_is_no_gap(end_first: bool, end_second: bool) -> None:
    session = make_session()
    session.queue_audio(sound(1_000), 0.0, end=end_first)
    play(session, 0.0, 0.5)
    session.queue_audio(sound(1_000), 0.5, end=end_second)
    play(session, 0.5, 1.0)
    assert counted(session) == counts(None if end_first else "producer late")


def test_ends_of_all_utterances_count_and_not_only_that_of_the_last() -> None:
    session = make_session()
    for start in (0, 800, 1_600):
        session.queue_audio(sound(800, start), 0.0, end=True)
    play(session, 0.0, 0.1)
    fill(session, 0.5)  # all was sent, and is over at 0.3
    session.queue_audio(sound(800), 0.5, end=True)
    write(session, 0.5)
    assert counted(session) == NONE


def test_an_end_without_audio_is_one() -> None:
    session = make_session()
    session.queue_audio(sound(800), 0.0)
    session.queue_audio(b"", 0.05, end=True)
    session.queue_audio(b"", 0.06, end=True)
    play(session, 0.0, 0.1)
    session.queue_audio(sound(800), 0.5, end=True)
    write(session, 0.5)
    assert counted(session) == NONE


def test_in_the_middle_of_an_utterance_that_will_end_there_is_one() -> None:
    session = make_session()
    session.queue_audio(sound(800), 0.0)
    play(session, 0.0, 0.1)
    session.queue_audio(sound(800), 0.5, end=True)
    write(session, 0.5)
    assert counted(session) == counts("producer late")


def test_no_gap_after_a_clear_or_a_pause() -> None:
    session = make_session()
    session.queue_audio(sound(16_000), 0.0)
    play(session, 0.0, 0.5)
    session.clear(0.5)
    session.queue_audio(sound(16_000), 0.9)
    play(session, 0.9, 1.5)
    session.pause(1.5)
    write(session, 1.6)
    session.resume(0.0, 2.0)
    play(session, 2.0, 9.0)
    assert counted(session) == NONE


# The event loop


def test_audio_that_was_there_in_time_went_out_late_because_the_loop_was_blocked() -> None:
    session = make_session()
    session.queue_audio(sound(8_000), 0.0)
    write(session, 0.0)  # heard until 0.3, and the rest is due at 0.1
    write(session, 0.5)
    assert counted(session) == counts("loop blocked")
    assert session.out.gaps.total_s == pytest.approx(0.2)


def test_what_comes_late_behind_it_is_no_excuse() -> None:
    session = make_session()
    session.queue_audio(sound(8_000), 0.0)
    write(session, 0.0)
    session.queue_audio(sound(8_000), 0.49)
    write(session, 0.5)
    assert counted(session) == counts("loop blocked")


def test_audio_that_came_late_came_late_because_the_loop_was_blocked() -> None:
    session = make_session()
    session.queue_audio(sound(800), 0.0)
    play(session, 0.0, 0.05)
    session.queue_audio(sound(800), 0.5)
    write(session, 0.5)
    assert counted(session, (0.2, 0.4)) == counts("loop blocked")


@pytest.mark.parametrize("blocked", [(0.0, 0.09), (0.51, 0.6)])
def test_another_time_of_a_blocked_loop_is_no_excuse(blocked: tuple[float, float]) -> None:
    session = make_session()
    session.queue_audio(sound(800), 0.0)
    play(session, 0.0, 0.05)
    session.queue_audio(sound(800), 0.5)  # it was dry since 0.1
    write(session, 0.5)
    assert counted(session, blocked) == counts("producer late")


def test_half_a_frame_in_time_is_no_audio_in_time() -> None:
    session = make_session()
    session.queue_audio(sound(240), 0.0)
    assert len(play(session, 0.0, 0.1)) == 1
    session.queue_audio(sound(80, 240), 0.15)
    assert len(play(session, 0.15, 0.15)) == 1
    assert counted(session) == counts("producer late")


# The socket


def test_a_slow_write_is_a_socket_that_is_backed_up() -> None:
    session = make_session()
    session.queue_audio(sound(4_000), 0.0)
    write(session, 0.0)  # heard until 0.3
    assert hold(session, 0.1, 0.7) == 5
    assert counted(session) == counts("socket backed up")
    assert session.out.gaps.total_s == pytest.approx(0.4)
    write(session, 0.7)
    play(session, 0.7, 2.0)
    assert counted(session) == counts("socket backed up")


def test_a_slow_write_in_time_is_no_gap() -> None:
    session = make_session()
    session.queue_audio(sound(4_000), 0.0)
    write(session, 0.0)
    hold(session, 0.1, 0.3)
    play(session, 0.3, 2.0)
    assert counted(session) == NONE


def test_a_slow_write_of_more_than_a_second_is_no_gap() -> None:
    session = make_session()
    session.queue_audio(sound(4_000), 0.0)
    write(session, 0.0)
    hold(session, 0.1, 1.4)
    assert counted(session) == NONE


def test_a_write_that_a_blocked_loop_held_up_is_not_the_sockets_fault() -> None:
    session = make_session()
    session.queue_audio(sound(4_000), 0.0)
    write(session, 0.0)
    hold(session, 0.1, 0.7)
    assert counted(session, (0.2, 0.6)) == counts("loop blocked")


def test_audio_that_comes_late_behind_a_slow_write_is_the_producers_fault() -> None:
    session = make_session()
    session.queue_audio(sound(800), 0.0)
    hold(session, 0.0, 0.05)  # heard until 0.1
    session.queue_audio(sound(800), 0.2)
    write(session, 0.2)
    assert counted(session) == counts("producer late")
    assert session.out.gaps.total_s == pytest.approx(0.1)


# The book


@pytest.mark.parametrize(("dry_s", "count"), [(0.0199, 0), (0.02, 1), (1.0, 1), (1.0001, 0), (float("inf"), 0)])
def test_a_gap_is_a_frame_or_more_and_a_second_or_less(dry_s: float, count: int) -> None:
    gaps = Gaps()
    gaps.dry(dry_s, 100.0, 100.0)
    assert gaps.pop_all() == [Gap(dry_s, 100.0 - dry_s, 100.0, "producer late")] * count
    gaps.written(dry_s, 0.02, 100.0)
    assert gaps.pop_all() == [Gap(dry_s, 99.98, 100.0, "socket backed up")] * count
    gaps.written(dry_s, 0.0199, 100.0)
    assert gaps.pop_all() == []


def test_a_gap_is_noted_until_it_is_taken_and_counted_by_its_cause() -> None:
    gaps = Gaps()
    gaps.dry(0.5, 100.0, 100.0)
    gaps.written(0.25, 0.3, 101.0)
    assert (gaps.counts, gaps.total_s) == (NONE, 0.0)
    late, backed_up = gaps.pop_all()
    assert gaps.noted == []
    gaps.count(late, loop_was_blocked=False)
    assert (gaps.counts, gaps.total_s) == (counts("producer late"), 0.5)
    gaps.count(backed_up, loop_was_blocked=True)  # that explains it, whatever else may
    assert (gaps.counts, gaps.total_s) == (NONE | {"producer late": 1, "loop blocked": 1}, 0.75)
