"""The line of what was given to be heard: places, what passes on when, and what an interruption leaves."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from pipecat.frames.frames import OutputAudioRawFrame, TTSAudioRawFrame, TTSTextFrame

from vonage_audio_connector_server.integrations.pipecat.playout import Playout
from vonage_audio_connector_server.integrations.pipecat.spoken_words import NANOSECONDS, SpokenWords
from vonage_audio_connector_server.results import PlaybackResult

HZ = 16_000


@dataclass
class Tape:
    """What was heard of all pieces, as one recording."""

    heard_s: float = 0.0
    cut_s: float = 1e9
    sent_s: float = 0.0
    line: Playout = field(default_factory=Playout)

    def send(self, seconds: float, kind: type = TTSAudioRawFrame, *, is_kept: bool = False) -> bytes:
        pcm = bytes([round(100 * self.sent_s) % 250 + 1, 0]) * round(seconds * HZ)
        frame = kind(pcm, HZ, 1)
        self.line.add_audio(pcm, frame, 2 * HZ, Part(self, self.sent_s, seconds), is_kept=is_kept)
        self.sent_s += seconds
        return pcm


@dataclass
class Part:
    tape: Tape
    start_s: float
    duration_s: float

    @property
    def so_far(self) -> PlaybackResult:
        heard_s = min(max(0.0, min(self.tape.heard_s, self.tape.cut_s) - self.start_s), self.duration_s)
        interrupted = self.start_s + self.duration_s > self.tape.cut_s
        return PlaybackResult(self.duration_s, heard_s, interrupted=interrupted, evidence="clock")


@pytest.mark.parametrize("sizes", [[0.02] * 100, [0.5, 1.5], [2.0], [0.02, 1.0, 0.02, 0.02, 0.94]])
def test_the_place_that_was_heard_is_that_of_the_audio_however_it_is_cut(sizes: list[float]) -> None:
    tape = Tape()
    for seconds in sizes:
        tape.send(seconds)
    for heard_s in (0.0, 0.013, 0.5, 0.51, 1.99, 2.0):
        tape.heard_s = heard_s
        assert tape.line.heard_s() == pytest.approx(heard_s, abs=0.001)
    assert tape.line.is_all_heard


def test_audio_passes_on_in_chunks_and_whole() -> None:
    tape = Tape()
    sent = b"".join([tape.send(0.02) for _ in range(20)] + [tape.send(0.3, OutputAudioRawFrame)])
    passed = []
    for step in range(1, 72):
        tape.heard_s = step * 0.01
        while (found := tape.line.pop_audio(tape.line.heard_s(), 0.1)) is not None:
            passed.append((type(found[0].frame), found[1]))
    assert b"".join(pcm for _, pcm in passed) == sent
    assert all(0.08 <= len(pcm) / 2 / HZ <= 0.12 for _, pcm in passed)
    assert [kind for kind, _ in passed] == [TTSAudioRawFrame] * 4 + [OutputAudioRawFrame] * 3
    assert not tape.line.pieces


def test_frames_of_one_place_keep_their_order() -> None:
    tape = Tape()
    tape.line.add_frame("before", tape.line.end_s, is_kept=False)
    tape.send(1.0)
    for name in ("end", "behind"):
        tape.line.add_frame(name, tape.line.end_s, is_kept=False)
    tape.line.add_frame("word", 0.4, is_kept=False, is_word=True)
    passed: list[list[object]] = []
    for heard_s in (0.0, 0.39, 0.41, 1.0):
        tape.heard_s = heard_s
        passed.append([])
        while tape.line.next_frame(tape.line.heard_s()) is not None:
            passed[-1].append(tape.line.pop_frame().frame)
    assert passed == [["before"], [], ["word"], ["end", "behind"]]


def test_an_interruption_leaves_what_was_heard_and_what_is_kept() -> None:
    tape = Tape()
    first = tape.send(1.0)
    kept = tape.send(0.5, is_kept=True)
    tape.send(0.5)
    tape.line.add_frame("dropped", 1.2, is_kept=False)
    tape.line.add_frame("kept", tape.line.end_s, is_kept=True)
    tape.heard_s = 0.25
    left = tape.line.drop()
    assert [pcm for _, pcm in left] == [kept]
    assert tape.line.end_s == pytest.approx(0.25, abs=0.001)
    found = tape.line.pop_audio(tape.line.end_s, 0.0)
    assert found is not None
    assert found[1] == first[: HZ // 4 * 2]
    assert tape.line.pop_frame().frame == "kept"
    assert not tape.line.waiting


def test_audio_that_somebody_else_has_flushed_is_told() -> None:
    tape = Tape()
    tape.send(1.0)
    tape.send(1.0)
    tape.heard_s = tape.cut_s = 0.5
    assert tape.line.heard_s() == pytest.approx(0.5, abs=0.001)
    assert tape.line.is_cut_off


def text(words: str, *, pts_s: float = 0.0, spaced: bool = False) -> TTSTextFrame:
    frame = TTSTextFrame(words, "sentence")
    frame.pts = round(pts_s * NANOSECONDS) or None
    frame.includes_inter_frame_spaces = spaced
    return frame


def heard(words: SpokenWords, at_s: float, end_s: float) -> list[str]:
    return [frame.text for frame in words.heard(at_s, end_s)]


def test_a_text_behind_its_sound_shares_it_by_letters() -> None:
    words = SpokenWords()
    words.audio_came("a", 1.0, 0)
    words.add_text(text("ab abcdef"), 2.0)
    assert words.next_s(2.0) == pytest.approx(1.125)
    assert heard(words, 1.1, 2.0) == []
    assert heard(words, 1.2, 2.0) == ["ab"]
    assert heard(words, 1.7, 2.0) == ["abcdef"]
    assert not words.is_waiting


def test_a_text_ahead_of_its_sound_waits_for_it() -> None:
    words = SpokenWords()
    words.add_text(text("one two three"), 0.0)
    assert heard(words, 0.0, 0.0) == []
    for place in range(6):
        words.audio_came("a", place * 0.5, 0)
    assert heard(words, 1.3, 3.0) == ["one", "two"]
    words.add_text(text("four"), 3.0)  # the next sentence: the one before is as long as its sound
    assert heard(words, 3.0, 3.0) == ["three"]
    assert heard(words, 3.0, 3.0) == []
    words.speech_ended(3.0)  # and has none itself
    assert heard(words, 3.0, 3.0) == ["four"]


def test_times_of_words_are_counted_from_where_their_sound_stands() -> None:
    words = SpokenWords()
    words.audio_came("a", 5.0, 100 * NANOSECONDS)  # 5 s wait before it
    first = words.place_s(text("one", pts_s=100.0), 6.0, 100 * NANOSECONDS)
    second = words.place_s(text("two", pts_s=100.8), 6.0, 100 * NANOSECONDS)
    assert [first, second] == pytest.approx([5.1, 5.9])


def test_words_ahead_of_their_sound_come_with_it() -> None:
    words = SpokenWords()
    place_s = words.place_s(text("one", pts_s=7.3), 2.0, 7 * NANOSECONDS)
    words.audio_came("a", 2.0, 7 * NANOSECONDS)
    assert place_s == pytest.approx(2.4)


def test_an_interruption_leaves_no_word() -> None:
    words = SpokenWords()
    words.audio_came("a", 0.0, 0)
    words.add_text(text("one two"), 2.0)
    words.drop(0.3)
    assert heard(words, 9.0, 9.0) == []
    assert words.next_s(9.0) is None


def test_words_keep_the_spaces_that_their_service_brings() -> None:
    words = SpokenWords()
    words.audio_came("a", 0.0, 0)
    words.add_text(text(" one two.", spaced=True), 1.0)
    assert "".join(heard(words, 1.0, 1.0)) == " one two."
