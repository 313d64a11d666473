"""Where turns begin and end: a stream in which each frame says itself whether it is voice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_audio_connector_server import AudioConnectorConfigError
from vonage_audio_connector_server.speech import (
    SpeechEnded,
    SpeechProgress,
    SpeechStarted,
    Turn,
    TurnDetector,
    TurnRules,
)
from vonage_audio_connector_server.speech.turn_detector import SpeechPaused

VOICE, NONE = b"\0\x20" * 160, b"\1\0" * 160  # at 8 kHz


class ByLevel:
    def is_speech(self, frame: bytes, rate_hz: int) -> bool:
        assert len(frame) == 320
        return frame[1] > 0


class Stream:
    """Frames that come in time, as far as nothing else is said."""

    def __init__(self, **rules: Any) -> None:
        self.detector = TurnDetector(ByLevel(), TurnRules(**rules))
        self.now_s = 0.0
        self.turns: list[Turn] = []

    def come(self, pcm: bytes, seconds: float) -> Stream:
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.turns += self.detector.audio(pcm, 8_000, self.now_s)
        return self

    def pass_by(self, seconds: float) -> Stream:
        """No frames: the clock alone."""
        end_s = self.now_s + seconds
        while (due_s := self.detector.due_s) is not None and due_s <= end_s:
            assert due_s > self.now_s
            self.now_s = due_s
            self.turns += self.detector.tick(due_s)
        self.now_s = end_s
        return self

    def ended(self) -> list[SpeechEnded]:
        return [turn for turn in self.turns if isinstance(turn, SpeechEnded)]


def spans(turns: Iterable[Turn]) -> list[tuple[float, float]]:
    return [(round(turn.start_s, 3), round(turn.end_s, 3)) for turn in turns if isinstance(turn, SpeechEnded)]


ENDINGS: dict[str, Callable[[Stream], object]] = {
    "frames without voice": lambda stream: stream.come(NONE, 1.0),
    "no frames": lambda stream: stream.pass_by(1.0),
    "a mute": lambda stream: stream.turns.extend(stream.detector.end(stream.now_s + 0.01)),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_turn_ends_where_the_voice_did_however_that_becomes_known(ending: str) -> None:
    stream = Stream().come(NONE, 0.5).come(VOICE, 1.0)
    ENDINGS[ending](stream)

    started, ended = stream.turns
    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, SpeechEnded)
    assert [started.start_s, started.at_s] == pytest.approx([0.5, 0.6])
    assert spans(stream.turns) == [(0.5, 1.5)]
    assert ended.pcm[: 15 * 320] == NONE * 15  # 0.3 s before
    assert ended.pcm[15 * 320 :][: 50 * 320] == VOICE * 50
    behind = ended.pcm[65 * 320 :]
    assert behind == (NONE * 10 if ending == "frames without voice" else b"")
    assert (ended.sample_rate_hz, ended.is_cut) == (8_000, False)
    assert not stream.detector.is_speaking
    assert stream.detector.due_s is None


def test_it_is_noticed_in_time() -> None:
    for ending in ("frames without voice", "no frames"):
        stream = Stream(hang_over_s=0.4).come(VOICE, 1.0)
        ENDINGS[ending](stream)
        assert stream.ended()[0].at_s == pytest.approx(1.4, abs=0.07)


def test_a_short_pause_is_none() -> None:
    stream = Stream().come(VOICE, 1.0).come(NONE, 0.5).come(VOICE, 1.0).pass_by(0.5).come(VOICE, 0.5).pass_by(1)
    assert spans(stream.turns) == [(0.0, 3.5)]


def test_a_long_one_makes_two_turns() -> None:
    stream = Stream().come(VOICE, 1.0).pass_by(3.0).come(VOICE, 1.0).come(NONE, 0.8).come(VOICE, 0.5).pass_by(1)
    assert spans(stream.turns) == [(0.0, 1.0), (4.0, 5.0), (5.8, 6.3)]
    assert len(stream.turns) == 6


def test_a_click_begins_nothing_and_a_stutter_does() -> None:
    stream = Stream()
    for _ in range(20):
        stream.come(VOICE, 0.08).come(NONE, 0.4)
    assert stream.turns == []
    stream.come(VOICE, 0.06).come(NONE, 0.1).come(VOICE, 0.04).pass_by(1)
    assert len(stream.turns) == 2
    assert spans(stream.turns) == [(9.6, 9.8)]


def test_what_is_soft_is_no_voice_whatever_the_detector_says() -> None:
    soft = b"\0\x01" * 160  # -42 dBFS
    assert len(Stream().come(soft, 1).pass_by(1).turns) == 2
    assert Stream(min_level_dbfs=-40).come(soft, 1).pass_by(1).turns == []


def test_what_was_before_a_hole_is_no_pre_roll() -> None:
    stream = Stream().come(NONE, 1.0).pass_by(2.0).come(NONE, 0.1).come(VOICE, 0.5).pass_by(1)
    assert stream.ended()[0].pcm == NONE * 5 + VOICE * 25


def test_jitter_moves_nothing_and_a_stall_does() -> None:
    stream = Stream()
    for late_s in (0.0, 0.1, 0.05, 0.15, 0.0) * 10:
        stream.turns += stream.detector.audio(VOICE, 8_000, stream.now_s + 0.02 + late_s)
        stream.now_s += 0.02
    assert spans(stream.pass_by(1).turns) == [(0.0, 1.0)]


def test_one_that_is_too_long_is_cut_and_nothing_is_lost_or_doubled() -> None:
    stream = Stream(max_turn_s=2.0).come(VOICE, 5.0).come(NONE, 1)
    assert spans(stream.turns) == [(0.0, 2.0), (2.0, 4.0), (4.0, 5.0)]
    assert [turn.is_cut for turn in stream.ended()] == [True, True, False]
    assert b"".join(turn.pcm for turn in stream.ended()) == VOICE * 250 + NONE * 10
    assert [type(turn) for turn in stream.turns] == [SpeechStarted, SpeechEnded] * 3


def test_one_that_is_too_long_in_a_pause_ends_there() -> None:
    stream = Stream(max_turn_s=2.0).come(VOICE, 1.9).come(NONE, 0.3).come(VOICE, 1.0).pass_by(1)
    assert spans(stream.turns) == [(0.0, 1.9), (2.2, 3.2)]
    assert [type(turn) for turn in stream.turns] == [SpeechStarted, SpeechEnded] * 2
    stream = Stream(max_turn_s=2.0).come(VOICE, 2.0).pass_by(1)
    assert [type(turn) for turn in stream.turns] == [SpeechStarted, SpeechEnded] * 2


@pytest.mark.parametrize("seconds", [0.3, 1.0, 3.0])
def test_frames_that_were_held_up_follow_each_other(seconds: float) -> None:
    stream = Stream().come(NONE, 0.5).come(VOICE, 1.0)
    stream.now_s += seconds
    for _ in range(round(seconds / 0.02)):
        stream.turns += stream.detector.audio(VOICE, 8_000, stream.now_s)
    stream.come(NONE, 1.0).pass_by(1)
    ended = stream.ended()
    assert len(ended) == 1
    assert ended[0].pcm.count(VOICE[:2]) == 160 * (50 + round(seconds / 0.02))


def test_what_was_said_until_now_is_told_as_it_grows() -> None:
    stream = Stream(progress_s=0.5).come(NONE, 0.5).come(VOICE, 1.2).come(NONE, 0.3).come(VOICE, 0.4).pass_by(1)
    progress = [turn for turn in stream.turns if isinstance(turn, SpeechProgress)]
    assert [round(turn.at_s, 2) for turn in progress] == [1.0, 1.5, 2.02]
    assert {turn.start_s for turn in progress} == {stream.ended()[0].start_s}
    assert progress[1].pcm == NONE * 15 + VOICE * 50
    assert stream.ended()[0].pcm.startswith(progress[2].pcm)


class TestAModelThatTellsTheEnd:
    def stream(self) -> Stream:
        return Stream(asks=True, hang_over_s=0.2, patience_s=2.0).come(VOICE, 1.0)

    def test_it_is_asked_at_a_pause_and_ends_the_turn(self) -> None:
        stream = self.stream().come(NONE, 0.3)
        pause = stream.turns[-1]
        assert isinstance(pause, SpeechPaused)
        assert stream.detector.is_paused
        (ended,) = stream.detector.end(1.3)
        assert spans([ended]) == spans([pause]) == [(0.0, 1.0)]

    def test_it_waits_and_the_turn_goes_on(self) -> None:
        stream = self.stream().come(NONE, 0.3)
        stream.detector.wait()
        stream.come(VOICE, 1.0).pass_by(0.4)
        assert [type(turn) for turn in stream.turns] == [SpeechStarted, SpeechPaused, SpeechPaused]
        assert stream.turns[-1] == stream.turns[-1]
        assert spans(stream.turns) == [(0.0, 1.0), (0.0, 2.3)]

    def test_its_answer_comes_when_somebody_has_gone_on_to_speak(self) -> None:
        stream = self.stream().come(NONE, 0.3).come(VOICE, 0.1)
        assert not stream.detector.is_paused

    @pytest.mark.parametrize("behind", [lambda one: one.come(NONE, 3), lambda one: one.pass_by(3)])
    def test_patience_ends(self, behind: Callable[[Stream], Stream]) -> None:
        stream = self.stream()
        behind(stream)
        assert [type(turn) for turn in stream.turns] == [SpeechStarted, SpeechPaused, SpeechEnded]
        assert stream.turns[-1].at_s == pytest.approx(3.0, abs=0.08)


@given(st.lists(st.tuples(st.sampled_from(["voice", "none", "nothing"]), st.integers(1, 100)), max_size=12))
def test_beginnings_and_ends_alternate_and_lie_in_order(parts: list[tuple[str, int]]) -> None:
    stream = Stream()
    for kind, count in parts:
        if kind == "nothing":
            stream.pass_by(count * 0.02)
        else:
            stream.come(VOICE if kind == "voice" else NONE, count * 0.02)
    stream.pass_by(1)

    assert [type(turn) for turn in stream.turns] == [SpeechStarted, SpeechEnded] * (len(stream.turns) // 2)
    ends = [at_s for span in spans(stream.turns) for at_s in span]
    assert ends == sorted(ends)
    voiced_s = sum(count * 0.02 for kind, count in parts if kind == "voice")
    assert sum(turn.pcm.count(VOICE[:2]) / 8_000 for turn in stream.ended()) <= voiced_s + 0.001


@pytest.mark.parametrize(
    "wrong",
    [{"min_speech_s": 0.0}, {"min_level_dbfs": 3.0}, {"hang_over_s": -1.0}, {"max_turn_s": True}, {"pre_roll_s": "1"}],
)
def test_a_wrong_rule_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(AudioConnectorConfigError, match=f"{next(iter(wrong))} must be"):
        TurnRules(**wrong)
