"""Answers and interruptions as they happen: told once, with their times."""

from __future__ import annotations

from typing import Any

from vonage_audio_connector_server.console.turns import Turns
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.simulator.twin import Twin

LOUD, SILENT = b"\x00\x20\x00\xe0" * 160, bytes(640)
FRAME_S = 0.02


class Conversation:
    """Lets time pass, tick by tick, with somebody who speaks and a program that does."""

    def __init__(self) -> None:
        self.twin = Twin(AudioFormat(16_000), 0.0)
        self.turns = Turns(self.twin)
        self.tick = 0
        self.told: list[dict[str, Any]] = []

    def go_on(self, seconds: float, *, says: bool = False, hears: bool = False) -> None:
        for _ in range(round(seconds / FRAME_S)):
            now_s = self.tick * FRAME_S
            self.twin.due(now_s)
            if hears:
                self.twin.message_received(LOUD, now_s)
            self.turns.said(now_s, says)
            self.told += self.turns.new()
            self.tick += 1


def test_an_answer_is_told_when_it_begins() -> None:
    one = Conversation()
    one.go_on(0.5)
    one.go_on(1.0, says=True)
    one.go_on(0.6)
    assert one.told == []
    one.go_on(1.0, hears=True)
    one.go_on(2.0)
    assert one.told == [{"answered_after_s": 0.62, "at_s": 2.12}]


def test_a_click_is_no_speech() -> None:
    one = Conversation()
    one.go_on(0.04, says=True)
    one.go_on(1.0)
    one.go_on(1.0, hears=True)
    assert one.told == []


def test_an_answer_that_comes_before_the_end_of_speech_is_sure() -> None:
    one = Conversation()
    one.go_on(1.0, says=True)
    one.go_on(0.1)
    one.go_on(1.0, hears=True)
    assert [turn["answered_after_s"] for turn in one.told] == [0.12]


def test_an_interruption_that_is_obeyed() -> None:
    one = Conversation()
    one.go_on(2.0, hears=True)
    one.go_on(0.1, hears=True, says=True)
    one.go_on(0.2, says=True)
    assert one.told == []
    one.go_on(1.0)
    assert one.told == [{"interrupted_at_s": 2.0, "silent_after_s": 0.12, "heard_s": 2.1}]


def test_one_that_is_not_obeyed() -> None:
    one = Conversation()
    one.go_on(1.0, hears=True)
    one.go_on(0.5, hears=True, says=True)
    one.go_on(4.0, hears=True)
    (turn,) = one.told
    assert (turn["interrupted_at_s"], turn["silent_after_s"]) == (1.0, None)
    assert 3.9 <= turn["heard_s"] <= 4.1


def test_who_speaks_when_the_answer_is_over_does_not_interrupt() -> None:
    one = Conversation()
    one.go_on(1.0, hears=True)
    one.go_on(0.2)
    one.go_on(1.0, says=True)
    one.go_on(1.0)
    assert one.told == []


def test_the_button_interrupts_in_the_middle_of_other_speech() -> None:
    one = Conversation()
    one.go_on(0.5, says=True)
    one.go_on(1.0, says=True, hears=True)
    one.twin.say(LOUD * 10, one.tick * FRAME_S, interrupts=True)
    one.go_on(0.1, says=True, hears=True)
    one.go_on(1.0, says=True)
    assert [turn["interrupted_at_s"] for turn in one.told if "interrupted_at_s" in turn] == [1.5]


def test_a_pause_between_words_is_none_between_answers() -> None:
    one = Conversation()
    one.go_on(1.0, hears=True)
    one.go_on(0.2)
    one.go_on(1.0, hears=True)
    one.go_on(0.1, hears=True, says=True)
    one.go_on(1.0)
    (turn,) = one.told
    assert turn["heard_s"] == 2.3
