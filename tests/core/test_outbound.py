"""What goes out and when: the remainder of a frame, the order, the lead, and that it is what came in."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import pytest
from driving import TINY_S, first, long_sound, make_session, play, sound, wait_until_s, write, write_audio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.outbound import REMAINDER_WAIT_S
from vonage_audio_connector_server.core.session import Idle, Send, Session, Wait

# The remainder


def test_the_remainder_is_kept_for_the_next_call() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0)
    assert write(session, 0.0) == [sound(160)]
    session.queue_audio(sound(120, 200), 0.0)
    assert write(session, 0.0) == [sound(160, 160)]
    assert session.poll(0.0) == Idle()


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
    assert session.out.gaps.count == 0


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
    assert session.poll(10.0) == Wait(10.0 + REMAINDER_WAIT_S)
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


# Polling


def test_nothing_queued_is_idle() -> None:
    assert make_session().poll(0.0) == Idle()
    assert make_session(None).poll(5.0) == Idle()


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
    session.poll(0.0)
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
    session.receive_text(first(8_000))
    assert session.lead_s == 1.0


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
            action = self.session.poll(self.now_s)
            if not isinstance(action, Wait) or action.until_s > to_s:
                break
            assert action.until_s > self.now_s
            self.now_s = action.until_s + self.late_s
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
            session.receive_text(first(8_000))
        listener.queue(samples, end)
        listener.advance(listener.now_s + pause_s)
    listener.advance(listener.now_s + 20.0)
    assert listener.heard == listener.queued
    assert session.poll(listener.now_s) == Idle()
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


def test_the_rest_of_a_10_ms_stream_is_a_10_ms_frame() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0, frame_ms=10)
    assert [len(frame) for _, frame in play(session, 0.0, 2.0)] == [160, 160, 160]


def test_after_a_blocked_socket_no_more_than_lead_and_batch_goes_out() -> None:
    session = make_session()
    session.queue_audio(long_sound(10.0, 8_000), 0.0)
    assert len(write(session, 0.0)) == 15
    action = session.poll(0.1)
    assert isinstance(action, Send)
    assert len(action.payloads) == 5  # the socket is blocked until 5.0
    assert len(write(session, 5.0)) == 15
    assert session.out.ahead_s(5.0) == pytest.approx(0.3)
