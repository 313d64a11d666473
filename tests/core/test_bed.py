"""A sound bed in the queue: when it goes out alone, what a flush and a pause make of it, and that it is not counted."""

from __future__ import annotations

from array import array

import pytest
from driving import CLEAR, Call, first, make_session, play, sound, stuck, wait_until_s, write, write_audio
from hypothesis import given, settings
from hypothesis import strategies as st
from test_random_calls import Model, Step, settings_of_a_call, steps

from vonage_audio_connector_server.core.bed import BED_LEAD_S
from vonage_audio_connector_server.core.session import Session

FRAME = 160  # samples, at 8 kHz
BED = 0x4000  # what the bed adds to each sample of speech: no sample of these tests is so large
ALONE = b"\xff\xff" * FRAME


class CountingBed:
    """A bed that can be told from speech; `frames`: how many there are of it."""

    def __init__(self, frames: int = 1_000_000) -> None:
        self.frames = frames
        self.silences = 0

    @property
    def is_over(self) -> bool:
        return self.frames <= 0

    @is_over.setter
    def is_over(self, is_over: bool) -> None:
        self.frames = 0

    def mix(self, frame: bytes) -> bytes:
        self.frames -= 1
        return array("H", (sample | BED for sample in array("H", frame))).tobytes()

    def alone(self, frame_bytes: int) -> bytes:
        self.frames -= 1
        return b"\xff" * frame_bytes

    def fall_silent(self) -> None:
        self.silences += 1


def begin(session: Session, bed: CountingBed | None = None) -> CountingBed:
    bed = bed or CountingBed()
    session.out.bed, session.out.has_more = bed, True
    return bed


def speech_of(frames: list[bytes]) -> bytes:
    """What of them is speech, without the bed and without silence."""
    mixed = b"".join(frame for frame in frames if frame != b"\xff" * len(frame))
    return array("H", (sample & ~BED for sample in array("H", mixed))).tobytes()


def played(call: Call) -> tuple[list[int], int]:
    """The numbers of the samples of speech that were heard, and how many ticks of silence after the first sound."""
    heard = array("H", bytes(call.peer.heard))
    speech = [sample & ~BED for sample in heard if sample not in (0, 0xFFFF, BED)]
    start = next((place for place, sample in enumerate(heard) if sample), len(heard))
    return speech, heard[start:].count(0) // FRAME


# Alone


@pytest.mark.parametrize("lead_s", [0.04, 0.05, 0.2, 2.0])
def test_alone_it_goes_out_a_little_ahead_and_has_no_hole(lead_s: float) -> None:
    session = make_session(lead_s=lead_s)
    begin(session)
    sent = play(session, 1.0, 11.0)
    for number, (at_s, _) in enumerate(sent):
        due_s = 1.0 + 0.02 * number
        assert due_s - min(BED_LEAD_S, lead_s) - 1e-6 <= at_s <= due_s - 0.02 + 1e-6 or number == 0
    assert len(sent) * 0.02 == pytest.approx(10.0 + min(BED_LEAD_S, lead_s), abs=0.021)
    out = session.out
    assert session.heard_s(11.0) == out.speech_left_s(11.0) == session.queued_s == 0.0
    assert not out.gaps.noted
    assert len(out._history) < 80
    assert len(out.ledger._book.breaks) < 8


@pytest.mark.parametrize("phase_s", [0.0001, 0.01, 0.02])
def test_a_router_plays_it_without_a_hole(phase_s: float) -> None:
    call = Call(make_session(), phase_s=phase_s)
    begin(call.session)
    call.go_on(3.0)
    call.queue(8_000, end=True)
    call.go_on(7.0)
    speech, silent_ticks = played(call)
    assert speech == list(range(1, 8_001))
    assert silent_ticks == 0
    assert call.session.heard_s(7.0) == 1.0
    assert call.peer.furthest_ahead_s <= 0.3 + 1e-6
    assert not call.session.out.gaps.noted


def test_a_loop_that_was_blocked_makes_no_gap_of_the_program() -> None:
    session = make_session()
    begin(session)
    play(session, 0.0, 1.0)
    assert write_audio(session, 1.5)
    session.queue_audio(sound(FRAME), 1.6)
    write(session, 1.7)
    assert not session.out.gaps.noted


def test_where_it_ends_nothing_more_is_due_and_live_audio_goes_the_short_way_again() -> None:
    session = make_session()
    begin(session, CountingBed(50))
    assert len(play(session, 0.0, 2.0)) == 50
    out = session.out
    assert out.bed is None
    assert not out.has_more
    assert wait_until_s(session, 2.0) is None
    assert out.push_live(sound(FRAME), 2.0) is not None
    assert write_audio(session, 2.0) == [sound(FRAME)]
    assert out.speech_left_s(2.0) == pytest.approx(0.02)


# Speech over it


@pytest.mark.parametrize("at_s", [0.5, 0.507, 0.5199])
def test_speech_begins_within_the_lead_of_the_bed(at_s: float) -> None:
    session = make_session()
    begin(session)
    play(session, 0.0, at_s)
    ahead_s = session.out.ahead_s(at_s)
    assert ahead_s <= BED_LEAD_S + 1e-6
    mark = session.queue_audio(sound(8_000), at_s, end=True)
    frames = [frame for _, frame in play(session, at_s, at_s + 2.0)]
    assert speech_of(frames) == sound(8_000)
    ledger, out = session.out.ledger, session.out
    assert ledger.heard_of(mark, out.heard_wire(at_s + 2.0)) == 8_000


def test_what_is_left_of_speech_does_not_count_the_bed_behind_it() -> None:
    session = make_session()
    begin(session)
    play(session, 0.0, 0.5)
    session.queue_audio(sound(1_600), 0.5, end=True)
    for now_s, left_s in [(0.5, 0.26), (0.6, 0.16), (0.7, 0.06), (0.74, 0.02), (0.77, 0.0), (0.9, 0.0)]:
        play(session, now_s, now_s)
        assert session.out.speech_left_s(now_s) == pytest.approx(left_s, abs=0.021)
        assert session.out.unheard_s(now_s) > 0.0
    assert session.out.speech_left_s(0.9) == 0.0
    assert session.out.end_s < 0.9
    assert session.heard_s(0.9) == 0.2


def test_live_speech_that_comes_late_is_not_cut_as_long_as_the_listener_has_some() -> None:
    session = make_session()
    begin(session)
    play(session, 0.0, 1.0)
    frames, lateness = [], [0.0, 0.03, 0.01, 0.04, 0.0, 0.02, 0.04, 0.0]
    now_s = 1.0
    for number, late_s in enumerate(lateness):
        arrives_s = 1.005 + 0.02 * number + late_s
        if arrives_s > now_s:
            frames += [frame for _, frame in play(session, now_s, arrives_s)]
            now_s = arrives_s
        session.queue_audio(sound(FRAME, FRAME * number), now_s)
    frames += [frame for _, frame in play(session, now_s, now_s + 1.0)]
    assert speech_of(frames) == sound(FRAME * len(lateness))
    start, end = [place for place, frame in enumerate(frames) if frame != ALONE][:: len(lateness) - 1]
    assert end - start == len(lateness) - 1  # nothing of the bed alone is between


@pytest.mark.parametrize("awaits_rest", [False, True])
def test_part_of_a_frame_does_not_hold_it_up(awaits_rest: bool) -> None:
    call = Call(make_session())
    begin(call.session)
    call.go_on(1.0)
    call.queue(FRAME + 40)
    call.session.out.awaits_rest = awaits_rest
    call.go_on(3.0)
    speech, silent_ticks = played(call)
    assert speech == list(range(1, FRAME + 41))
    assert silent_ticks == 0


def test_a_notify_follows_the_speech_and_not_the_bed() -> None:
    call = Call(make_session())
    begin(call.session)
    call.go_on(1.0)
    call.queue(1_600, end=True)
    call.session.notify("said")
    call.go_on(3.0)
    [(answered_s, _)] = call.events
    assert answered_s == pytest.approx(1.26, abs=0.03)


# Flush, pause, another rate


@pytest.mark.parametrize("at_s", [0.9, 1.1, 1.25])
def test_a_flush_ends_it_and_counts_only_speech(at_s: float) -> None:
    call = Call(make_session())
    begin(call.session)
    call.go_on(1.0)
    call.queue(800, end=True)
    call.go_on(1.0)
    result = None
    if at_s >= 1.0:
        call.go_on(at_s)
    else:
        at_s = 1.0
    result = call.session.clear(at_s)
    assert result.heard_s + result.dropped_s == pytest.approx(0.1)
    assert call.session.out.bed is None
    call.go_on(at_s + 0.02)
    heard = len(call.peer.heard)
    call.go_on(at_s + 2.0)
    assert not any(call.peer.heard[heard:])
    assert wait_until_s(call.session, call.now_s) is None
    call.queue(800, end=True)
    call.go_on(at_s + 4.0)
    numbers = array("H", bytes(call.peer.heard[heard:]))
    assert [number for number in numbers if number] == list(range(801, 1_601))


@pytest.mark.parametrize("pause_s", [0.5, 0.513, 1.013, 1.1, 1.2001, 1.26, 1.5])
def test_a_pause_silences_it_and_loses_no_speech(pause_s: float) -> None:
    call = Call(make_session())
    bed = begin(call.session)
    said_s = 1.0 if pause_s > 1.0 else 3.0
    call.go_on(min(said_s, pause_s))
    if pause_s > 1.0:
        call.queue(1_600, end=True)
        call.go_on(pause_s)
    call.session.pause(call.now_s)
    assert bed.silences == 1
    call.go_on(pause_s + 0.02)
    heard = len(call.peer.heard)
    call.go_on(pause_s + 1.0)
    assert not any(call.peer.heard[heard:])
    out = call.session.out
    assert out.bed is bed
    is_said = pause_s < 1.0 or pause_s >= 1.26
    assert (call.session.queued_s + out.speech_left_s(call.now_s) == 0.0) == is_said
    call.session.resume(0.0, call.now_s)
    resumed = len(call.peer.heard)
    call.go_on(pause_s + 3.0)
    assert array("H", bytes(call.peer.heard[resumed:]))[2 * FRAME :].count(0) == 0
    speech, _ = played(call)
    assert sorted(set(speech)) == list(range(1, call.queued + 1))
    assert len(speech) - call.queued in (0, FRAME)
    assert call.session.heard_s(call.now_s) == call.queued / 8_000


def test_a_rewind_repeats_what_was_heard() -> None:
    call = Call(make_session())
    begin(call.session)
    call.queue(16_000)
    call.go_on(1.0)
    call.session.pause(1.0)
    call.session.resume(0.5, 1.0)
    call.go_on(5.0)
    speech, _ = played(call)
    assert sorted(set(speech)) == list(range(1, 16_001))
    assert (len(speech) - 16_000) / 8_000 == pytest.approx(0.5, abs=0.041)
    assert call.session.heard_s(5.0) == 2.0


@pytest.mark.parametrize("payloads", [0, 2, 5])
def test_what_a_socket_has_not_taken_goes_back_without_it(payloads: int) -> None:
    session = make_session()
    begin(session)
    session.queue_audio(sound(3_200), 0.0)
    taken = stuck(session, 0.0, payloads)
    session.pause(0.0)
    session.out.bed = None
    assert write(session, 0.0)[-2:] == CLEAR
    session.resume(0.0, 0.0)
    rest = [frame for _, frame in play(session, 0.0, 2.0)]
    assert b"".join(rest) == sound(3_200)  # nothing was heard of what was taken
    assert len(taken) == payloads


def test_alone_it_does_not_go_back() -> None:
    session = make_session()
    begin(session)
    assert stuck(session, 0.0, 1) == [ALONE]
    session.pause(0.0)
    assert session.queued_s == 0.0
    assert session.out.ledger.wire == session.out.pacer.total_samples == 0


def test_another_rate_ends_it_and_keeps_the_speech() -> None:
    session = make_session()
    begin(session)
    play(session, 0.0, 0.5)
    session.queue_audio(sound(8_000), 0.5)
    write(session, 0.5)
    session.text_received(first(16_000))
    assert session.out.bed is None
    sent = speech_of([frame for _, frame in play(session, 0.5, 3.0)])
    assert sound(8_000).endswith(sent)


# In any order


class ModelWithBed(Model):
    """A call under whose speech a silent bed plays, which is begun and ended at any time."""

    bed: SilentBed

    def begin_bed(self, size: int) -> None:
        if self.session.audio_format is not None:
            self.bed = SilentBed()
            self.session.out.bed, self.session.out.has_more = self.bed, True

    def end_bed(self, size: int) -> None:
        if self.session.out.bed is not None:
            self.bed.is_over = True

    def leave(self, payload: bytes | str) -> None:
        if isinstance(payload, bytes) and not any(payload):
            assert len(payload) == self.rate_hz // 25
            self.wire += array("H", payload)
        else:
            super().leave(payload)

    def end(self) -> None:
        if self.session.out.paused:
            self.step("resume", 0)
        self.end_bed(0)
        super().end()


class SilentBed:
    """A bed that the model takes for padding."""

    is_over = False

    def mix(self, frame: bytes) -> bytes:
        return frame

    def alone(self, frame_bytes: int) -> bytes:
        return bytes(frame_bytes)

    def fall_silent(self) -> None:
        pass


@settings(max_examples=120, deadline=None)
@given(settings_of_a_call, steps(" queue_flush begin_bed begin_bed begin_bed end_bed"))
def test_in_any_order_at_one_rate(call: dict[str, object], steps: list[Step]) -> None:
    model = ModelWithBed(known=True, **call)  # type: ignore[arg-type]
    model.begin_bed(0)
    for name, size in steps:
        model.step(name, size)
    model.end()


@settings(max_examples=120, deadline=None)
@given(st.booleans(), settings_of_a_call, steps(" stick stick change_rate queue_flush begin_bed begin_bed end_bed"))
def test_in_any_order_with_a_slow_socket_and_other_rates(
    known: bool, call: dict[str, object], steps: list[Step]
) -> None:
    model = ModelWithBed(known=known, **call)  # type: ignore[arg-type]
    model.begin_bed(0)
    for name, size in steps:
        model.step(name, size)
    model.end()
