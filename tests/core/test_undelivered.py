"""What is known not to have reached the peer's machine was not heard, whatever the clock says."""

from __future__ import annotations

import pytest
from driving import CLEAR, first, long_sound, make_session, play, rounded, sound, write, write_audio
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.json_audio import JSONTransport
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.results import FlushResult

FRAME_ON_WIRE = 324  # 20 ms at 8 kHz, and the head of a WebSocket frame


def spoken(seconds: float, to_s: float) -> Session:
    """A session that speaks since 0 s, at `to_s`."""
    session = make_session()
    session.queue_audio(long_sound(seconds, 8_000), 0.0)
    play(session, 0.0, to_s)
    return session


# How much it is


@pytest.mark.parametrize(
    ("size_bytes", "frames"), [(0, 0), (1, 1), (FRAME_ON_WIRE, 1), (FRAME_ON_WIRE + 1, 2), (10 * FRAME_ON_WIRE, 10)]
)
def test_bytes_are_whole_frames_and_one_that_has_begun_counts(size_bytes: int, frames: int) -> None:
    session = spoken(1.0, 2.0)
    session.undelivered(size_bytes)
    assert session.heard_s(2.0) == pytest.approx(1.0 - frames * 0.02)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("transport", [None, JSONTransport(), JSONTransport("a", "b", {"streamId": "s-1"})])
def test_a_frame_is_as_long_as_it_is_written(rate_hz: int, transport: JSONTransport | None) -> None:
    session = Session(0.0, transport=transport or "binary")
    session.text_received(first(rate_hz))
    frame = bytes(rate_hz // 25)
    session.queue_audio(frame * 10, 0.0)
    play(session, 0.0, 1.0)
    wire_bytes = 4 + (len(frame) if transport is None else len(transport.encode(frame)))
    for frames in (3, 7, 0):
        session.undelivered(frames * wire_bytes)
        assert session.heard_s(1.0) == pytest.approx(0.2 - frames * 0.02)


def test_before_the_format_is_known_nothing_can_be_told_or_is_needed() -> None:
    session = make_session(None)
    session.queue_audio(sound(160), 0.0)
    session.undelivered(1_000)
    session.text_received(first(8_000))
    write(session, 0.0)
    assert session.heard_s(1.0) == 0.02


def test_more_than_was_ever_sent_leaves_nothing_heard() -> None:
    session = spoken(1.0, 0.5)
    session.undelivered(10**9)
    assert session.heard_s(0.5) == 0.0
    session.undelivered(0)
    assert session.heard_s(0.5) == 0.5


# What follows from it


def test_it_is_the_later_of_the_clock_and_the_network_that_counts() -> None:
    session = spoken(1.0, 0.5)  # 0.8 s are out
    assert session.out.unheard_s(0.5) == pytest.approx(0.3)
    session.undelivered(10 * FRAME_ON_WIRE)  # 0.2 s of them
    assert session.heard_s(0.5) == 0.5
    assert session.heard_s(0.6) == 0.6
    assert session.heard_s(0.7) == pytest.approx(0.6)
    assert session.out.unheard_s(0.7) == pytest.approx(0.2)
    session.undelivered(5 * FRAME_ON_WIRE)
    assert session.heard_s(0.8) == pytest.approx(0.7)


def test_a_mark_is_not_over_before_its_audio_was_delivered() -> None:
    session = make_session()
    marks = [session.queue_audio(sound(1_600, start), 0.0) for start in (0, 1_600)]
    play(session, 0.0, 1.0)
    ledger = session.out.ledger
    for frames, over in [(20, [False, False]), (11, [False, False]), (10, [True, False]), (1, [True, False])]:
        session.undelivered(frames * FRAME_ON_WIRE)
        wire = session.out.heard_wire(1.0)
        assert [ledger.is_over(mark, wire) for mark in marks] == over
        assert sum(ledger.heard_of(mark, wire) for mark in marks) == 3_200 - frames * 160
    session.undelivered(0)
    assert all(ledger.is_over(mark, session.out.heard_wire(1.0)) for mark in marks)


def test_a_clear_drops_it_and_forgets_it() -> None:
    session = spoken(2.0, 1.0)  # 1.3 s are out
    session.undelivered(40 * FRAME_ON_WIRE)  # 0.8 s of them
    assert rounded(session.clear(1.0)) == (0.5, 1.5, 0.8)
    assert session.out.pacer.undelivered_samples == 0
    assert session.heard_s(1.0) == session.heard_s(9.0) == 0.5
    session.queue_audio(sound(160), 1.0)
    write(session, 1.0)
    assert session.heard_s(2.0) == pytest.approx(0.52)


def test_what_an_epoch_that_ended_counted_stays_heard() -> None:
    session = make_session()
    before = session.queue_audio(sound(8_000), 0.0)
    play(session, 0.0, 0.5)
    assert session.clear(0.5) == FlushResult(0.5, 0.5, 0.3)
    after = session.queue_audio(sound(1_600), 0.5)
    play(session, 0.5, 1.0)
    assert session.heard_s(1.0) == pytest.approx(0.7)
    for size_bytes, heard_s in [(10**9, 0.5), (100 * FRAME_ON_WIRE, 0.5), (4 * FRAME_ON_WIRE, 0.62), (0, 0.7)]:
        session.undelivered(size_bytes)
        assert session.heard_s(1.0) == pytest.approx(heard_s)
        ledger, wire = session.out.ledger, session.out.heard_wire(1.0)
        assert ledger.heard_of(before, wire) == 4_000
        assert ledger.heard_of(after, wire) == round((heard_s - 0.5) * 8_000)
        assert ledger.dropped == 4_000


def test_a_change_of_the_rate_forgets_it() -> None:
    session = spoken(1.0, 0.5)
    session.undelivered(10 * FRAME_ON_WIRE)
    session.text_received(first(16_000))
    assert session.out.pacer.undelivered_samples == 0


def test_a_pause_takes_it_back_and_nothing_is_lost() -> None:
    session = make_session()
    session.queue_audio(sound(16_000), 0.0)
    before = play(session, 0.0, 0.95)  # 1.2 s are out
    session.undelivered(40 * FRAME_ON_WIRE)  # 0.8 s of them
    assert session.heard_s(0.95) == 0.4
    session.pause(0.95)
    assert session.heard_s(0.95) == session.heard_s(5.0) == 0.4
    assert session.queued_s == pytest.approx(1.6)
    assert write(session, 0.95) == CLEAR
    session.resume(0.0, 5.0)
    after = play(session, 5.0, 9.0)
    assert b"".join(frame for _, frame in before)[: 2 * 3_200] + b"".join(frame for _, frame in after) == sound(16_000)
    assert session.heard_s(9.0) == 2.0


def test_it_moves_no_deadline_and_makes_no_gap() -> None:
    session = spoken(5.0, 1.0)
    other = spoken(5.0, 1.0)
    session.undelivered(100 * FRAME_ON_WIRE)
    assert play(session, 1.0, 9.0) == play(other, 1.0, 9.0)
    assert session.out.gaps.noted == other.out.gaps.noted == []


steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.01, 0.1, 0.5]), st.sampled_from(["queue", "clear", "go", "hold"]), st.integers(0, 99)
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_heard_is_at_most_what_was_delivered_and_what_a_clear_tells_adds_up(
    steps: list[tuple[float, str, int]],
) -> None:
    session = make_session()
    now_s, given = 0.0, 0
    ended_s = dropped_s = 0.0  # heard in the epochs that are over, and dropped
    sent = 0  # frames, since the last clear
    for after_s, name, size in steps:
        sent += len(play(session, now_s, now_s + after_s))
        now_s += after_s
        sent += len(write_audio(session, now_s))
        session.undelivered(0)
        by_clock_s = session.heard_s(now_s)
        session.undelivered(size * FRAME_ON_WIRE if name in ("hold", "clear") else 0)
        heard_s = session.heard_s(now_s)
        delivered_s = max(0, sent - size) * 0.02 if name in ("hold", "clear") else sent * 0.02
        assert heard_s == pytest.approx(min(by_clock_s, ended_s + delivered_s))
        assert heard_s >= ended_s - 1e-9
        if name == "queue":
            session.queue_audio(sound(160 * size), now_s)
            given += 160 * size
        elif name == "clear":
            result = session.clear(now_s)
            assert result.heard_s == pytest.approx(heard_s - ended_s)
            ended_s, dropped_s, sent = ended_s + result.heard_s, dropped_s + result.dropped_s, 0
            assert session.heard_s(now_s) == pytest.approx(ended_s)
            waiting_s = given / 8_000 - ended_s - dropped_s
            assert waiting_s == pytest.approx(0.0, abs=1e-6)
