"""Pause and resume: what the listener hears twice, what he never misses, and what is counted."""

from __future__ import annotations

import pytest
from driving import CLEAR, Call, fill, first, make_session, play, sizes, sound, stuck, wait_until_s, write, write_audio

from vonage_audio_connector_server.core.playout import MAX_REWIND_S
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.results import FlushResult

PAUSES_S = [0.0001, 0.0199, 0.02, 0.0201, 0.3, 0.7531, 1.99, 2.05, 2.5]  # the last ones: after all was sent, or heard
FRAME = 160


def make_call(*, obeys: bool = True, phase_s: float = 0.01, samples: int = 16_320) -> Call:
    call = Call(make_session(), obeys=obeys, phase_s=phase_s)
    call.queue(samples, end=True)
    return call


def paused(call: Call, pause_s: float, rewind_s: float = 0.0) -> None:
    """Play until a pause, be silent for a second, and play the rest."""
    call.go_on(pause_s)
    call.session.pause(call.now_s)
    call.go_on(pause_s + 1.0)
    call.session.resume(rewind_s, call.now_s)
    call.go_on(pause_s + 9.0)


# What is heard


@pytest.mark.parametrize("phase_s", [0.0001, 0.007, 0.02])
@pytest.mark.parametrize("pause_s", PAUSES_S)
def test_nothing_is_lost_and_at_most_one_frame_is_heard_again(pause_s: float, phase_s: float) -> None:
    call = make_call(phase_s=phase_s)
    paused(call, pause_s)
    assert sum(call.repeated()) in (0, FRAME)
    assert call.heard()[-1] == call.queued
    assert call.peer.wrong_size == 0
    assert call.peer.furthest_ahead_s <= 0.3 + 1e-6
    assert call.session.heard_s(call.now_s) == call.queued / 8_000


@pytest.mark.parametrize("pause_s", PAUSES_S)
def test_during_the_pause_there_is_silence(pause_s: float) -> None:
    call = make_call()
    call.go_on(pause_s)
    call.session.pause(call.now_s)
    assert write(call.session, call.now_s) == CLEAR
    assert wait_until_s(call.session, call.now_s) is None
    call.peer.receive_text(CLEAR[0], call.now_s)
    heard = call.heard()
    call.go_on(pause_s + 1.0)
    assert call.heard() == heard


@pytest.mark.parametrize("rewind_s", [0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("pause_s", [1.2, 1.213, 1.99, 2.03])
def test_a_rewind_is_heard_again_with_at_most_one_frame_more(pause_s: float, rewind_s: float) -> None:
    call = make_call()
    paused(call, pause_s, rewind_s)
    [repeated] = call.repeated()
    assert repeated / 8_000 in (pytest.approx(rewind_s), pytest.approx(rewind_s + 0.02))
    assert call.heard()[-1] == call.queued
    assert call.session.heard_s(call.now_s) == call.queued / 8_000  # once is enough


@pytest.mark.parametrize("rewind_s", [0.0, 0.001, 0.0199, 0.1234, 0.5, 0.999])
@pytest.mark.parametrize("pause_s", [1.2, 1.2001, 1.213, 1.2199])
def test_by_the_clock_a_rewind_is_never_shorter_and_less_than_a_frame_longer(pause_s: float, rewind_s: float) -> None:
    session = make_session()
    session.queue_audio(sound(24_000), 0.0)
    play(session, 0.0, pause_s)
    heard = session.out.heard_wire(pause_s)
    session.pause(pause_s)
    session.resume(rewind_s, pause_s)
    repeated = heard - session.out.pacer.total_samples
    assert round(rewind_s * 8_000) <= repeated < round(rewind_s * 8_000) + FRAME
    start = session.out.pacer.total_samples
    assert write_audio(session, pause_s)[0] == sound(FRAME, start)


@pytest.mark.parametrize("pause_s", PAUSES_S)
@pytest.mark.parametrize("rewind_s", [0.0, 0.5])
def test_a_router_that_knows_no_clear_plays_what_it_has_and_then_the_same_again(
    pause_s: float, rewind_s: float
) -> None:
    call = make_call(obeys=False)
    paused(call, pause_s, rewind_s)
    assert sum(call.repeated()) / 8_000 <= 0.3 + rewind_s + 0.04 + 1e-6
    assert call.heard()[-1] == call.queued
    assert call.session.heard_s(call.now_s) == call.queued / 8_000


def test_a_rewind_goes_back_a_second_and_not_for_ever() -> None:
    call = make_call(samples=40_000)
    paused(call, 4.0, rewind_s=9.0)
    [repeated] = call.repeated()
    assert MAX_REWIND_S <= repeated / 8_000 <= MAX_REWIND_S + 0.3 + 0.04


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.1, 0.5])
def test_a_rewind_stops_where_the_last_clear_was(after_s: float) -> None:
    call = make_call()
    call.go_on(0.75)
    call.session.clear(call.now_s)
    call.go_on(1.0)
    before = len(call.heard())
    start = call.queued
    call.queue(8_000)
    call.go_on(1.0 + after_s)
    call.session.pause(call.now_s)
    call.go_on(2.0)
    call.session.resume(1.0, call.now_s)
    call.go_on(9.0)
    heard = call.heard()[before:]
    again = heard[heard.index(start + 1, 1) if heard.count(start + 1) > 1 else 0 :]
    assert again == list(range(start + 1, call.queued + 1))
    assert len(heard) - len(again) <= after_s * 8_000 + FRAME
    assert call.session.heard_s(call.now_s) == pytest.approx(0.75 + 1.0, abs=1e-3)


@pytest.mark.parametrize("end_s", [0.3, 1.0, 1.1, 1.44])
def test_a_live_source_has_nothing_to_rewind(end_s: float) -> None:
    call = Call(make_session())
    while call.now_s < end_s:
        call.queue(160)
        call.go_on(call.now_s + 0.02)
    call.session.pause(call.now_s)
    call.session.resume(1.0, call.now_s)
    call.go_on(2.0)
    assert sum(call.repeated()) <= 2 * FRAME


def test_many_pauses_repeat_a_frame_each() -> None:
    call = make_call()
    for number in range(1, 20):
        call.go_on(number * 0.0913)
        call.session.pause(call.now_s)
        call.session.resume(0.0, call.now_s)
    call.go_on(9.0)
    assert max(call.repeated()) == FRAME
    assert call.heard()[-1] == call.queued
    assert call.session.heard_s(call.now_s) == call.queued / 8_000


# What is counted


def test_what_was_heard_stands_still_in_a_pause_and_in_what_is_repeated() -> None:
    session = make_session()
    mark = session.queue_audio(sound(16_000), 0.0)
    play(session, 0.0, 1.013)
    session.pause(1.013)
    assert session.heard_s(1.013) == session.heard_s(5.0) == 1.013
    session.resume(0.5, 5.0)
    play(session, 5.0, 5.5)
    assert session.heard_s(5.5) == 1.013
    assert session.out.ledger.heard_of(mark, session.out.heard_wire(5.5)) == 8_104
    assert session.heard_s(5.6) == 1.1  # it went on at 0.5, a frame's beginning
    play(session, 5.5, 9.0)
    assert session.heard_s(9.0) == 2.0


def test_frames_that_go_out_again_are_frames_that_go_out() -> None:
    session = make_session()
    session.queue_audio(sound(1_600), 0.0)
    play(session, 0.0, 0.1)
    assert (session.out.frames_out, session.queued_s) == (10, 0.0)
    session.pause(0.1)
    assert session.queued_s == 0.1
    session.resume(0.0, 0.1)
    play(session, 0.1, 1.0)
    assert (session.out.frames_out, session.out.bytes_out) == (15, 15 * 320)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_clear_in_a_pause_drops_all_that_was_not_heard(resumed: bool) -> None:
    session = make_session()
    session.queue_audio(sound(16_000), 0.0)
    play(session, 0.0, 1.013)
    session.pause(1.013)
    assert write(session, 1.013) == CLEAR
    if resumed:
        session.resume(0.5, 1.5)
    assert session.clear(1.5) == FlushResult(1.013, 0.987, 0.0)
    assert not session.out.paused
    assert session.queued_s == 0.0
    session.queue_audio(sound(320, 20_000), 1.5)
    assert write(session, 1.5) == [*CLEAR, sound(160, 20_000), sound(160, 20_160)]
    session.pause(1.52)
    session.resume(1.0, 1.52)
    assert write_audio(session, 1.52) == [sound(160, 20_000), sound(160, 20_160)]  # nothing of before the clear


def test_clear_commands_of_a_pause_are_not_sent_twice() -> None:
    session = make_session()
    session.queue_audio(sound(1_600), 0.0)
    write(session, 0.0)
    session.pause(0.1)
    session.pause(0.1)
    session.clear(0.1)
    assert write(session, 0.1) == CLEAR
    assert session.flushes == 1


# What comes in a pause


def test_audio_that_comes_in_a_pause_waits_behind_the_rest() -> None:
    call = make_call(samples=8_000)
    call.go_on(0.5)
    call.session.pause(call.now_s)
    call.queue(8_000)
    call.go_on(1.0)
    call.queue(100, end=True)
    call.go_on(2.0)
    assert wait_until_s(call.session, call.now_s) is None
    call.session.resume(0.0, call.now_s)
    call.go_on(9.0)
    assert sum(call.repeated()) <= FRAME
    assert call.heard()[-1] == call.queued == 16_100


def test_part_of_a_frame_waits_for_its_rest_through_a_pause() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0)
    assert write_audio(session, 0.0) == [sound(160)]
    session.pause(0.02)
    fill(session, 5.0)
    assert write(session, 5.0) == CLEAR
    assert wait_until_s(session, 5.0) is None
    session.queue_audio(sound(120, 200), 5.0)
    session.resume(0.0, 5.0)
    assert write_audio(session, 5.0) == [sound(160, 160)]


def test_texts_do_not_wait() -> None:
    session = make_session()
    session.pause(0.0)
    session.queue_text("{}")
    assert write(session, 0.0) == [*CLEAR, "{}"]


@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
def test_a_format_that_comes_in_a_pause_holds_for_all_that_waits(rate_hz: int) -> None:
    session = make_session(None)
    session.queue_audio(sound(16_320), 0.0, frame_bytes=640)  # 16 kHz
    play(session, 0.0, 0.5)
    session.pause(0.5)
    write(session, 0.5)
    session.text_received(first(rate_hz))
    session.resume(1.0, 1.0)  # there is nothing to rewind at another rate
    frames = [frame for _, frame in play(session, 1.0, 9.0)]
    assert {len(frame) for frame in frames} == {rate_hz // 25}
    assert b"".join(frames).rstrip(b"\0") == sound(8_320, 8_000)
    assert session.heard_s(9.0) == 16_320 / rate_hz


def test_a_pause_before_the_format_is_known_holds_the_greeting() -> None:
    session = make_session(None)
    session.queue_audio(sound(200), 0.0, end=True)
    session.pause(0.1)
    assert write(session, 0.1) == CLEAR
    assert wait_until_s(session, 0.1) == 1.0
    session.text_received(first(8_000))
    assert wait_until_s(session, 2.0) is None
    session.resume(1.0, 2.0)
    assert write_audio(session, 2.0) == [sound(160), sound(40, 160).ljust(320, b"\0")]
    assert session.audio_format == AudioFormat(8_000)


def test_a_pause_takes_back_what_a_blocked_socket_has_not_taken() -> None:
    session = make_session()
    session.queue_audio(sound(1_600), 0.0)
    assert len(stuck(session, 0.0, 2)) == 2
    session.queue_text("{}")
    session.pause(0.5)
    assert session.heard_s(0.5) == 0.0
    assert write(session, 0.6) == ["{}", *CLEAR]
    session.resume(0.0, 0.7)
    frames = [frame for _, frame in play(session, 0.7, 2.0)]
    assert b"".join(frames) == sound(1_600)  # and so the two are sent again, behind the clear commands
    assert session.heard_s(2.0) == 0.2


def test_a_resume_without_a_pause_and_a_pause_of_nothing_change_nothing() -> None:
    session = make_session()
    session.queue_audio(sound(16_000), 0.0)
    assert sizes(write(session, 0.0)) == [320] * 15
    session.resume(1.0, 0.05)
    assert session.out.ahead_s(0.05) == pytest.approx(0.25)
    assert write(session, 0.05) == []
    silent = make_session()
    silent.pause(0.0)
    silent.resume(1.0, 0.5)
    assert write(silent, 0.5) == CLEAR
    assert wait_until_s(silent, 0.5) is None
    assert silent.heard_s(0.5) == 0.0
