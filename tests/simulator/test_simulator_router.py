"""The simulated router: what is heard when, and what it answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.simulator.router import Router, Run
from vonage_audio_connector_server.simulator.rules import LENIENT

FORMAT = AudioFormat(8_000)
SILENCE = bytes(320)
EARLY_S = 99.9
CLEARED = '{"event":"websocket:cleared"}'
CLEAR_FORMS = ['{"event":"websocket:cleared"}', '{"action":"clear"}', '{"event":"clearAudio"}']


def tone(number: int) -> bytes:
    return number.to_bytes(2, "little") * 160


def make_peer(frames: int = 0) -> Router:
    """A router whose first tick is at 100 s, with frames 1, 2, … that came before."""
    peer = Router(FORMAT, 100.0)
    for number in range(1, frames + 1):
        peer.receive_bytes(tone(number), EARLY_S)
    return peer


def mark(name: str) -> str:
    return '{"action":"notify","payload":{"mark":"' + name + '"}}'


def marked(name: str) -> str:
    return '{"event":"websocket:notify","payload":{"mark":"' + name + '"}}'


# Playout


def test_one_frame_is_played_a_tick() -> None:
    peer = make_peer(3)
    assert peer.heard == b""
    peer.advance(100.0)
    assert peer.heard == tone(1)
    peer.advance(100.0199)
    assert peer.heard == tone(1)
    peer.advance(100.02)
    assert peer.heard == tone(1) + tone(2)
    assert peer.buffered_s == 0.02
    assert peer.runs == [Run(0, 2)]


def test_an_empty_buffer_is_heard_as_silence_and_ends_the_run() -> None:
    peer = make_peer(1)
    peer.advance(100.04)
    peer.receive_bytes(tone(2), 100.05)
    peer.receive_bytes(tone(3), 100.05)
    peer.advance(100.07)
    assert peer.heard == tone(1) + SILENCE + SILENCE + tone(2)
    peer.advance(100.08)
    assert peer.runs == [Run(0, 1), Run(3, 2)]


def test_silence_before_the_first_frame_is_no_run() -> None:
    peer = make_peer()
    peer.receive_bytes(tone(1), 101.0)
    peer.advance(101.02)
    assert peer.runs == [Run(51, 1)]
    assert peer.heard == SILENCE * 51 + tone(1)


def test_a_frame_that_comes_with_its_tick_is_too_late_for_it() -> None:
    peer = make_peer()
    peer.receive_bytes(tone(1), 100.0)
    peer.advance(100.02)
    assert peer.heard == SILENCE + tone(1)


def test_what_is_heard_does_not_depend_on_how_often_the_time_is_told() -> None:
    seldom, often = make_peer(5), make_peer(5)
    for step in range(2_000):
        often.advance(100.0 + step * 0.0001)
    seldom.advance(100.1999)
    assert often.heard == seldom.heard
    assert often.runs == seldom.runs == [Run(0, 5)]
    assert len(often.heard) == 10 * 320


def test_ticks_are_exact_after_hours() -> None:
    peer = Router(AudioFormat(50), 100.0)  # one sample a frame, because silence is kept, too
    peer.advance(100.0 + 6 * 3600 - 0.02)
    peer.receive_bytes(b"\1\0", 100.0 + 6 * 3600 - 0.01)
    peer.advance(100.0 + 6 * 3600 - 0.001)
    assert peer.runs == []
    peer.advance(100.0 + 6 * 3600)
    assert peer.runs == [Run(6 * 3600 * 50, 1)]


def test_nothing_is_played_before_the_first_tick() -> None:
    peer = make_peer(1)
    peer.advance(99.99)
    assert peer.heard == b""


# Messages that are not one frame


def test_a_long_message_is_cut_to_one_frame() -> None:
    peer = make_peer()
    peer.receive_bytes(tone(1) + tone(2), EARLY_S)
    peer.receive_bytes(tone(3), EARLY_S)
    peer.advance(100.02)
    assert peer.heard == tone(1) + tone(3)
    assert (peer.frames_received, peer.wrong_size) == (2, 1)


def test_a_short_message_takes_a_whole_tick() -> None:
    peer = make_peer()
    peer.receive_bytes(tone(1)[:100], EARLY_S)
    peer.receive_bytes(tone(2), EARLY_S)
    peer.advance(100.02)
    assert peer.heard == tone(1)[:100] + bytes(220) + tone(2)
    assert (peer.frames_received, peer.wrong_size) == (2, 1)


def test_a_full_buffer_drops_the_new_frame() -> None:
    peer = make_peer(1_024)
    assert peer.overflowed == 0
    peer.receive_bytes(tone(2_000), EARLY_S)
    assert (peer.overflowed, peer.frames_received) == (1, 1_025)
    peer.receive_bytes(tone(3_000), 100.0)  # one was played, so there is room for one
    peer.receive_bytes(tone(4_000), 100.0)
    assert peer.overflowed == 2
    peer.advance(100.0 + 1_024 * 0.02)
    assert peer.heard[-640:] == tone(1_024) + tone(3_000)
    assert peer.runs == [Run(0, 1_025)]


def test_size_of_the_buffer_can_be_set() -> None:
    peer = Router(FORMAT, 100.0, rules=replace(LENIENT, buffer_frames=2))
    for number in (1, 2, 3):
        peer.receive_bytes(tone(number), EARLY_S)
    assert (peer.overflowed, peer.buffered_s) == (1, 0.04)


# How far ahead


def test_furthest_ahead_is_the_longest_wait_of_a_frame_for_its_turn() -> None:
    peer = make_peer()
    peer.receive_bytes(tone(1), 100.01)
    assert peer.furthest_ahead_s == pytest.approx(0.01)
    peer.receive_bytes(tone(2), 100.01)
    peer.receive_bytes(tone(3), 100.01)
    assert peer.furthest_ahead_s == pytest.approx(0.05)
    peer.receive_bytes(tone(4), 100.07)  # waits for 0.01 s
    assert peer.furthest_ahead_s == pytest.approx(0.05)


def test_a_dropped_frame_is_not_ahead() -> None:
    peer = Router(FORMAT, 100.0, rules=replace(LENIENT, buffer_frames=1))
    peer.receive_bytes(tone(1), 100.01)
    peer.receive_bytes(tone(2), 100.01)
    assert peer.furthest_ahead_s == pytest.approx(0.01)


# Clear


@pytest.mark.parametrize("text", [*CLEAR_FORMS, ' { "action" : "clear" } '])
def test_clear_empties_the_buffer_and_is_acknowledged(text: str) -> None:
    peer = make_peer(5)
    peer.advance(100.02)
    assert peer.receive_text(text, 100.03) == [CLEARED]
    peer.advance(100.05)
    assert peer.heard == tone(1) + tone(2) + SILENCE
    assert (peer.clears, peer.cleared_frames, peer.buffered_s) == (1, 3, 0.0)
    assert peer.texts == []


def test_hole_of_a_clear_is_told_from_a_gap() -> None:
    peer = make_peer(1)
    peer.advance(100.02)
    peer.receive_bytes(tone(2), 100.03)
    peer.advance(100.04)
    peer.receive_text('{"action":"clear"}', 100.05)
    peer.receive_bytes(tone(3), 100.05)  # follows without a hole, and is another run all the same
    peer.advance(100.06)
    assert peer.runs == [Run(0, 1), Run(2, 1, cleared=True), Run(3, 1)]


def test_clear_before_anything_is_heard_is_acknowledged() -> None:
    peer = make_peer(2)
    assert peer.receive_text('{"action":"clear"}', EARLY_S) == [CLEARED]
    peer.receive_bytes(tone(3), EARLY_S)
    peer.advance(100.0)
    assert peer.heard == tone(3)
    assert peer.runs == [Run(0, 1)]


def test_clear_comes_after_the_ticks_that_have_passed() -> None:
    peer = make_peer(5)
    peer.receive_text('{"action":"clear"}', 100.05)
    assert peer.heard == tone(1) + tone(2) + tone(3)
    assert peer.cleared_frames == 2


@pytest.mark.parametrize(
    "text", ['{"action":"clear","x":1}', '{"action":"stop"}', '{"event":"clear"}', "clear", "[]", "", "[" * 100_000]
)
def test_other_texts_are_remembered_and_not_answered(text: str) -> None:
    peer = make_peer(1)
    assert peer.receive_text(text, EARLY_S) == []
    assert peer.texts == [text]
    assert (peer.clears, peer.buffered_s) == (0, 0.02)


# Notify


def test_notify_is_answered_when_the_audio_before_it_was_played_and_not_before() -> None:
    peer = make_peer(2)
    assert peer.receive_text(mark("end"), EARLY_S) == []
    peer.receive_bytes(tone(3), EARLY_S)
    assert peer.advance(100.0) == []
    assert peer.advance(100.0199) == []
    assert peer.advance(100.02) == [marked("end")]
    assert peer.advance(100.1) == []


def test_notify_without_audio_is_answered_at_once() -> None:
    assert make_peer().receive_text(mark("now"), EARLY_S) == [marked("now")]


def test_notify_answers_come_in_order_and_with_whatever_call_tells_the_time() -> None:
    peer = make_peer(1)
    peer.receive_text(mark("a"), EARLY_S)
    peer.receive_text(mark("b"), EARLY_S)
    peer.receive_bytes(tone(2), EARLY_S)
    peer.receive_text(mark("c"), EARLY_S)
    assert peer.receive_bytes(tone(3), 100.0) == [marked("a"), marked("b")]
    assert peer.receive_text("hello", 100.02) == [marked("c")]


def test_clear_drops_the_marks_of_what_was_never_played() -> None:
    peer = make_peer(2)
    peer.receive_text(mark("a"), EARLY_S)
    peer.receive_bytes(tone(3), EARLY_S)
    peer.receive_text(mark("b"), EARLY_S)
    assert peer.receive_text('{"action":"clear"}', 100.03) == [marked("a"), CLEARED]
    assert peer.advance(101.0) == []
    peer.receive_bytes(tone(4), 101.01)
    peer.receive_text(mark("c"), 101.01)
    assert peer.advance(101.02) == [marked("c")]


def test_an_overflowed_frame_does_not_hold_back_a_mark() -> None:
    peer = Router(FORMAT, 100.0, rules=replace(LENIENT, buffer_frames=1))
    peer.receive_bytes(tone(1), EARLY_S)
    peer.receive_bytes(tone(2), EARLY_S)
    peer.receive_text(mark("end"), EARLY_S)
    assert peer.advance(100.0) == [marked("end")]
