"""What goes out and when: the remainder of a frame, the order, the lead, and that it is what came in."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import pytest
from driving import (
    TINY_S,
    first,
    long_sound,
    make_session,
    play,
    play_all,
    sound,
    stuck,
    wait_until_s,
    write,
    write_audio,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.ledger import Mark
from vonage_audio_connector_server.core.playout import MAX_REWIND_S, REMAINDER_WAIT_S
from vonage_audio_connector_server.core.session import Session

# The remainder


def test_the_remainder_is_kept_for_the_next_call() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0)
    assert write(session, 0.0) == [sound(160)]
    session.queue_audio(sound(120, 200), 0.0)
    assert write(session, 0.0) == [sound(160, 160)]
    assert wait_until_s(session, 0.0) is None


def test_end_pads_the_last_frame_now() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0, end=True)
    assert write(session, 0.0) == [sound(160), sound(40, 160).ljust(320, b"\0")]


def test_end_at_a_whole_frame_pads_nothing() -> None:
    session = make_session()
    session.queue_audio(sound(320), 0.0, end=True)
    session.queue_audio(b"", 0.0, end=True)
    assert write(session, 0.0) == [sound(160), sound(160, 160)]


def test_a_remainder_behind_queued_audio_goes_out_just_before_its_turn() -> None:
    session = make_session()
    session.queue_audio(sound(8_100), 0.0)  # 50 frames and more: heard until 1.0
    sent = play(session, 0.0, 0.9)
    assert len(sent) == 50
    assert wait_until_s(session, 0.9) == pytest.approx(0.96)
    [(sent_s, frame)] = play(session, 0.9, 2.0)
    assert sent_s == pytest.approx(0.96)  # and so before 1.0
    assert frame == sound(100, 8_000).ljust(320, b"\0")
    assert session.out.gaps.noted == []


def test_a_source_that_is_a_little_ahead_is_not_live() -> None:
    session = make_session()
    session.queue_audio(sound(160 * 7 + 40), 0.0)  # heard until 0.14, before the time of a live source is over
    assert len(write(session, 0.0)) == 7
    session.queue_audio(b"", 0.06)
    [(sent_s, _)] = play(session, 0.06, 1.0)
    assert sent_s == pytest.approx(0.1)


def test_the_rest_that_comes_in_time_makes_padding_needless() -> None:
    session = make_session()
    session.queue_audio(sound(8_100), 0.0)
    play(session, 0.0, 0.95)
    session.queue_audio(sound(60, 8_100), 0.95)
    assert write(session, 0.95) == [sound(160, 8_000)]


def test_a_live_source_has_time_to_bring_the_rest() -> None:
    session = make_session()
    session.queue_audio(sound(200), 10.0)
    assert write(session, 10.0) == [sound(160)]
    assert wait_until_s(session, 10.0) == 10.0 + REMAINDER_WAIT_S
    assert write(session, 10.0 + REMAINDER_WAIT_S - TINY_S) == []
    assert write(session, 10.0 + REMAINDER_WAIT_S) == [sound(40, 160).ljust(320, b"\0")]


@pytest.mark.parametrize("samples", [30, 80, 100, 250])
def test_a_live_source_in_chunks_of_any_size_is_never_padded(samples: int) -> None:
    session = make_session()
    frames, start = [], 0
    while start + samples < 20_000:
        now_s = start / 8_000 + (0.05 if start % 7 == 3 else 0.0)
        frames += write_audio(session, now_s)
        session.queue_audio(sound(samples, start), now_s)
        frames += write_audio(session, now_s)
        start += samples
    assert b"".join(frames) == sound(start - start % 160)


def test_a_late_loop_is_never_told_to_wait_for_the_past() -> None:
    session = make_session(lead_s=0.04)
    session.queue_audio(sound(700), 0.0)
    sent = play(session, 0.21, 1.0)  # which looks at every wait
    assert sent[-1][0] == pytest.approx(0.25)  # two frames before its turn


def test_empty_calls_do_not_hold_the_remainder_back() -> None:
    session = make_session()
    session.queue_audio(sound(100), 0.0)
    out = []
    for step in range(1, 20):
        session.queue_audio(b"", step * 0.1)
        out += write(session, step * 0.1)
    assert out == [sound(100).ljust(320, b"\0")]


# What is due


@pytest.mark.parametrize("rate_hz", [8_000, None])
def test_where_nothing_is_queued_nothing_is_due(rate_hz: int | None) -> None:
    session = make_session(rate_hz)
    assert session.due_s(5.0) is None
    assert not session.out.has_more
    assert session.out.outbox == []


def test_a_text_is_there_at_once_and_nothing_has_to_be_asked() -> None:
    session = make_session()
    session.queue_text("{}")
    assert session.out.outbox == ["{}"]
    assert not session.out.has_more


@pytest.mark.parametrize("rate_hz", [8_000, None])
def test_as_long_as_audio_waits_it_has_to_be_asked(rate_hz: int | None) -> None:
    session = make_session(rate_hz, assumed=8_000)
    session.queue_audio(sound(8_000), 0.0)
    now_s: float | None = 0.0
    while session.queued_s:
        assert session.out.has_more
        assert now_s is not None
        write(session, now_s)
        now_s = wait_until_s(session, now_s)


def test_lead_and_batch_go_out_at_once_and_the_rest_in_time() -> None:
    session = make_session()
    session.queue_audio(long_sound(5.0, 8_000), 0.0)
    assert len(write(session, 0.0)) == 15
    assert wait_until_s(session, 0.0) == pytest.approx(0.1)
    assert write(session, 0.099) == []
    assert len(write(session, 0.1)) == 5
    assert session.out.ahead_s(0.1) == pytest.approx(0.3)
    assert session.queued_s == pytest.approx(4.6)


def test_a_text_goes_ahead_of_audio_that_is_not_on_its_way() -> None:
    session = make_session()
    session.queue_audio(sound(160 * 20), 0.0)
    session.due_s(0.0)
    session.queue_text('"a"')
    session.queue_text('"b"')
    out = write(session, 0.1)
    assert out[15:17] == ['"a"', '"b"']
    assert len(out) == 22


def test_a_new_lead_holds_from_now_on() -> None:
    session = make_session()
    session.queue_audio(long_sound(5.0, 8_000), 0.0)
    assert len(write(session, 0.0)) == 15
    session.lead_s = 1.0
    assert len(write(session, 0.0)) == 40  # 1.1 s together
    session.lead_s = 0.04
    assert session.lead_s == 0.04
    assert wait_until_s(session, 0.0) == pytest.approx(1.06)
    assert len(write(session, 1.06)) == 1


def test_a_new_lead_survives_a_correction_of_the_format() -> None:
    session = make_session(None)
    session.lead_s = 1.0
    session.text_received(first(8_000))
    assert session.lead_s == 1.0


# A live source


def send(session: Session, pcm: bytes, now_s: float, *, end: bool = False) -> Mark:
    """As a program sends: a frame that is due goes the short way, and all else the general one."""
    mark = None if end else session.out.push_live(pcm, now_s)
    return mark or session.queue_audio(pcm, now_s, end=end)


def test_a_live_frame_goes_straight_to_the_outbox() -> None:
    session = make_session()
    mark = session.out.push_live(sound(160), 1.0)
    assert session.out.outbox == [sound(160)]
    assert not session.out.has_more
    assert mark == Mark(session.out.ledger.epoch, 0, 160)
    assert (session.out.frames_out, session.out.bytes_out, session.queued_s) == (1, 320, 0.0)
    assert session.heard_s(5.0) == 0.0  # not before it is written
    write(session, 1.0)
    assert session.heard_s(1.01) == 0.01
    assert session.out.push_live(sound(160, 160), 1.01) == Mark(session.out.ledger.epoch, 160, 160)
    assert write(session, 1.01) == [sound(160, 160)]
    assert session.heard_s(5.0) == 0.04


@pytest.mark.parametrize("rate_hz", [8_000, None])
@pytest.mark.parametrize("samples", [0, 80, 159, 161, 320])
def test_what_is_not_one_whole_frame_takes_the_general_way(samples: int, rate_hz: int | None) -> None:
    session = make_session(rate_hz, assumed=8_000)
    assert session.out.push_live(sound(samples), 0.0) is None
    assert session.out.outbox == []
    assert (session.out.ledger.accepted, session.out.pacer.total_samples) == (0, 0)


def test_so_does_a_frame_behind_anything_that_waits() -> None:
    early = make_session(None, assumed=8_000)
    assert early.out.push_live(sound(160), 0.0) is None
    remainder = make_session()
    remainder.queue_audio(sound(40), 0.0)
    write(remainder, 0.0)
    queued = make_session()
    queued.queue_audio(sound(8_000), 0.0)
    write(queued, 0.0)
    paused = make_session()
    paused.pause(0.0)
    write(paused, 0.0)
    text = make_session()
    text.queue_text("{}")
    note = make_session()
    note.queue_audio(sound(200), 0.0)
    note.notify("a")
    write(note, 0.0)
    blocked = make_session()
    blocked.out.push_live(sound(160), 0.0)
    stuck(blocked, 0.0)
    ahead = make_session()
    for _ in range(11):
        ahead.out.push_live(sound(160), 0.0)
        write(ahead, 0.0)
    for session in (early, remainder, queued, paused, text, note, blocked, ahead):
        taken = session.out.ledger.accepted
        assert session.out.push_live(sound(160, 1_000), 0.01) is None
        assert session.out.ledger.accepted == taken
        assert sound(160, 1_000) not in session.out.outbox


def gaps_of(session: Session) -> list[tuple[str, float]]:
    return [(gap.cause, round(gap.dry_s, 6)) for gap in session.out.gaps.noted]


def test_a_live_frame_that_no_socket_has_taken_is_cut_anew_at_another_rate() -> None:
    session = make_session(16_000)
    assert session.out.push_live(sound(320), 1.0)
    session.text_received(first(8_000))
    assert session.out.has_more
    assert write(session, 1.0) == [sound(160), sound(160, 160)]
    assert session.heard_s(2.0) == 0.04


live_steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0013, 0.0191, 0.02, 0.02, 0.02, 0.0217, 0.0523, 0.3031, 1.5007]),
        st.sampled_from(["frame", "frame", "frame", "frame", "end", "clear", "pause and resume"]),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(live_steps, st.sampled_from([0.04, 0.1, 0.2]))
def test_the_short_way_and_the_general_one_come_to_the_same(steps: list[tuple[float, str]], lead_s: float) -> None:
    short, general = make_session(lead_s=lead_s), make_session(lead_s=lead_s)
    now_s, start = 0.0, 0
    for after_s, name in steps:
        out = [play_all(session, now_s, now_s + after_s) for session in (short, general)]
        assert [(round(at_s, 6), payload) for at_s, payload in out[0]] == [
            (round(at_s, 6), payload) for at_s, payload in out[1]
        ]
        now_s += after_s
        if name == "clear":
            assert short.clear(now_s) == general.clear(now_s)
        elif name == "pause and resume":
            for session in (short, general):
                session.pause(now_s)
                session.resume(0.0, now_s)
        else:
            end = name == "end"
            mark = send(short, sound(160, start), now_s, end=end)
            assert mark[1:] == general.queue_audio(sound(160, start), now_s, end=end)[1:]
            start += 160
        assert write(short, now_s) == write(general, now_s)
        assert short.heard_s(now_s) == general.heard_s(now_s)
        assert short.out.ahead_s(now_s) == pytest.approx(general.out.ahead_s(now_s), abs=TINY_S)
        assert gaps_of(short) == gaps_of(general)
        assert (short.out.frames_out, short.out.bytes_out) == (general.out.frames_out, general.out.bytes_out)


# What is kept of what went out


def kept_s(session: Session) -> float:
    return sum(map(len, session.out._history)) / 2 / 8_000


@pytest.mark.parametrize("seconds", [0.5, 1.5, 5.0])
def test_a_program_that_spoke_and_fell_silent_keeps_nothing(seconds: float) -> None:
    session = make_session()
    session.queue_audio(long_sound(seconds, 8_000), 0.0, end=True)
    play(session, 0.0, seconds - TINY_S)
    assert kept_s(session) >= min(seconds, MAX_REWIND_S)
    assert session.out.has_more  # there is more to be asked: when all of it has been heard
    assert wait_until_s(session, seconds - TINY_S) == pytest.approx(seconds)
    assert write(session, seconds + TINY_S) == []
    assert kept_s(session) == 0.0
    assert not session.out.has_more
    assert session.due_s(seconds + 1.0) is None


def test_it_keeps_what_a_blocked_socket_has_not_written() -> None:
    session = make_session()
    session.queue_audio(sound(2_400), 0.0)
    assert len(stuck(session, 0.0)) == 15
    session.due_s(5.0)
    assert session.out.has_more
    session.out.written(6.0)
    session.pause(6.1)
    session.resume(0.0, 6.1)
    assert write(session, 6.1)[-10:] == [sound(160, start) for start in range(800, 2_400, 160)]


def test_a_program_that_brings_its_frames_one_by_one_and_ahead_keeps_nothing_when_it_fell_silent() -> None:
    session = make_session()
    for number in range(200):
        now_s = max(0.0, number * 0.02 - 0.19)
        send(session, sound(160), now_s)
        write(session, now_s)
    assert kept_s(session) >= MAX_REWIND_S
    play(session, 4.0, 9.0)
    assert kept_s(session) == 0.0
    assert not session.out.has_more


def test_a_live_source_keeps_next_to_nothing() -> None:
    session = make_session()
    for number in range(200):
        send(session, sound(160), number * 0.02)
        write(session, number * 0.02)
        assert kept_s(session) <= 0.5 + 0.02
    assert not session.out.has_more


# What goes out is what came in


@dataclass
class Listener:
    """Hears what a session sends, and holds it to the rules. Frames are 160 samples."""

    session: Session
    late_s: float = 0.0  # every wake-up comes so much after its time
    now_s: float = 0.0
    queued: int = 0  # samples
    heard: int = 0
    ends: set[int] = field(default_factory=set)
    heard_until_s: float = 0.0

    def queue(self, samples: int, end: bool) -> None:
        self.session.queue_audio(sound(samples, self.queued), self.now_s, end=end)
        self.queued += samples
        if end:
            self.ends.add(self.queued)

    def advance(self, to_s: float) -> None:
        while True:
            for frame in write_audio(self.session, self.now_s):
                self.hear(frame)
            due_s = wait_until_s(self.session, self.now_s)
            if due_s is None or due_s > to_s:
                break
            self.now_s = due_s + self.late_s
        self.now_s = max(self.now_s, to_s)

    def hear(self, frame: bytes) -> None:
        assert len(frame) == 320
        assert self.session.audio_format is not None
        content = array("H", frame)
        samples = content.index(0) if 0 in content else 160
        start, stop = self.heard, self.heard + samples
        assert frame == sound(samples, start) + bytes(320 - 2 * samples)  # all of it, in order
        assert not any(start < end < stop for end in self.ends)  # an utterance that ended is padded
        if samples < 160 and stop not in self.ends:  # nobody asked for padding: it fell due
            assert stop == self.queued
            assert self.now_s >= self.heard_until_s - 0.04 - TINY_S
        self.heard = stop
        self.heard_until_s = max(self.heard_until_s, self.now_s) + 0.02
        assert self.heard_until_s - self.now_s <= self.session.lead_s * 1.5 + TINY_S  # lead and batch


leads_s = st.sampled_from([0.04, 0.07, 0.2])
chunks = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.3, 1.5]), st.integers(0, 900), st.booleans()), max_size=10
)


def check(chunks: list[tuple[float, int, bool]], lead_s: float, first_message_at: int = 0, late_s: float = 0.0) -> None:
    session = make_session(None, lead_s=lead_s, assumed=8_000)
    listener = Listener(session, late_s)
    for number, (pause_s, samples, end) in enumerate(chunks):
        if number == first_message_at:
            session.text_received(first(8_000))
        listener.queue(samples, end)
        listener.advance(listener.now_s + pause_s)
    listener.advance(listener.now_s + 20.0)
    assert listener.heard == listener.queued
    assert wait_until_s(session, listener.now_s) is None
    assert session.queued_s == 0.0
    assert session.out.bytes_out == 320 * session.out.frames_out


@settings(max_examples=25, deadline=None)
@given(chunks, leads_s)
def test_for_any_chunks_the_input_goes_out_padded_only_where_due(
    chunks: list[tuple[float, int, bool]], lead_s: float
) -> None:
    check(chunks, lead_s)


@settings(max_examples=25, deadline=None)
@given(chunks, leads_s, st.integers(0, 12), st.sampled_from([0.0, 0.003, 0.15]))
@example([(0.0, 321, True), (0.0, 1, False)], 0.2, 2, 0.0)
@example([(0.0, 321, True), (0.0, 1, False)], 0.04, 2, 0.0)
def test_it_does_so_on_a_late_loop_and_before_the_format_is_known_too(
    chunks: list[tuple[float, int, bool]], lead_s: float, first_message_at: int, late_s: float
) -> None:
    check(chunks, lead_s, first_message_at, late_s)


# What was found later


def test_the_rest_of_a_10_ms_stream_is_a_frame_of_20_ms() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0, frame_ms=10)
    assert [len(frame) for _, frame in play(session, 0.0, 2.0)] == [320, 320]


def test_after_a_blocked_socket_no_more_than_lead_and_batch_goes_out() -> None:
    session = make_session()
    session.queue_audio(long_sound(10.0, 8_000), 0.0)
    assert len(write(session, 0.0)) == 15
    session.due_s(0.1)
    assert len(session.out.outbox) == 5  # the socket is blocked until 5.0
    assert len(write(session, 5.0)) == 15
    assert session.out.ahead_s(5.0) == pytest.approx(0.3)


@pytest.mark.parametrize(("samples", "writes_s"), [(200, []), (7 * 160 + 40, [5.0, 5.1])])
def test_what_is_due_moves_with_one_question(samples: int, writes_s: list[float]) -> None:
    """On a late loop part of a frame is overdue together with the whole one before it."""
    session = make_session(lead_s=0.04)
    session.queue_audio(sound(samples), 0.0)
    for now_s in writes_s:
        assert len(write(session, now_s)) == 3
    due_s = session.due_s(5.2)
    assert due_s is None or due_s > 5.2
    assert len(session.out.outbox) == 2
    assert session.queued_s == 0.0


# Frames of one read


def test_live_frames_of_one_read_wait_together_for_one_write() -> None:
    session = make_session(16_000)
    frames = [bytes([number, 0]) * 320 for number in range(4)]
    out = session.out
    marks = [out.push_live(frame, 1.0) for frame in frames]
    assert None not in marks
    assert out.outbox == frames
    assert not out.has_more
    assert (out.pacer.unwritten_samples, out.heard_wire(1.0)) == (4 * 320, 0)
    out.outbox.clear()
    out.written(1.0)
    assert out.pacer.unwritten_samples == 0
    assert out.heard_wire(1.08) == 4 * 320


def test_a_flush_reaches_all_frames_of_one_read() -> None:
    session = make_session(16_000)
    for _ in range(4):
        assert session.out.push_live(bytes(640), 1.0) is not None
    result = session.clear(1.0)
    assert not [payload for payload in session.out.outbox if isinstance(payload, bytes)]
    assert result.heard_s == 0.0
    assert result.dropped_s == pytest.approx(0.08)
    assert session.out.frames_out == 0


def test_behind_anything_else_that_is_not_written_a_live_frame_takes_the_general_way() -> None:
    begun, texted, many = make_session(16_000), make_session(16_000), make_session(16_000)
    for session in (begun, texted):
        assert session.out.push_live(bytes(640), 1.0) is not None
        assert session.out.push_live(bytes(640), 1.0) is not None
    del begun.out.outbox[0]  # the socket has begun to take it
    assert begun.out.push_live(bytes(640), 1.0) is None
    texted.queue_text("{}")
    assert texted.out.push_live(bytes(640), 1.0) is None
    while many.out.push_live(bytes(640), 1.0) is not None:
        assert len(many.out.outbox) < 20
    assert 4 <= len(many.out.outbox) <= 9
    assert make_session(16_000).out.push_live(b"", 1.0) is None
