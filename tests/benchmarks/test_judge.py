"""The listener of the benchmark, and its statistics."""

from __future__ import annotations

import pytest

from benchmarks.frames import FRAME_BYTES, HEAD, INTERRUPTS, Answers, answer, frame, interrupts
from benchmarks.judge import hear, intervals_s, percentile, spread


def steady(frames: int, from_s: float = 100.0) -> list[float]:
    return [from_s + place * 0.02 for place in range(frames)]


def test_a_steady_stream_has_no_gap() -> None:
    heard = hear(steady(3000))
    assert (heard.frames, heard.gaps, heard.gap_s) == (3000, 0, 0.0)
    assert heard.ahead_s == pytest.approx(0.02)


def test_the_prebuffer_covers_a_stall_of_its_length_but_not_a_longer_one() -> None:
    covered = steady(50) + steady(50, 100.0 + 50 * 0.02 + 0.18)
    assert hear(covered).gaps == 0
    longer = steady(50) + steady(50, 100.0 + 50 * 0.02 + 0.23)
    heard = hear(longer)
    assert heard.gaps == 1
    # Frame 0 is played when frame 9 comes, 0.18 s after it; frame 50 would be due at 1.18 s and comes at 1.23 s.
    assert heard.gap_s == pytest.approx(0.05)


def test_a_listener_without_a_prebuffer_hears_every_stall() -> None:
    assert hear([0.0, 0.03, 0.05], prebuffer_s=0.0).gaps == 1


def test_after_a_gap_the_prebuffer_does_not_fill_up_again() -> None:
    late = [*steady(20), 101.0, 101.03]
    assert hear(late).gaps == 2


def test_a_burst_is_far_ahead_and_its_pause_is_a_gap_only_if_it_is_longer_than_the_burst() -> None:
    burst = [0.0] * 250 + [4.9] * 250
    assert hear(burst).gaps == 0
    assert hear(burst).ahead_s == pytest.approx(5.1)
    assert hear([0.0] * 250 + [5.1] * 250).gaps == 1


def test_the_end_of_the_audio_is_no_gap_and_less_than_the_prebuffer_is_played() -> None:
    assert hear([0.0, 1.0]).gaps == 0  # both are there before it begins
    assert hear([]).frames == 0


def test_percentile() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 1.0) == 100.0
    assert percentile([7.0], 0.01) == 7.0
    assert percentile([], 0.5) is None


def test_spread() -> None:
    odd = spread([3.0, 1.0, None, 2.0])
    assert odd is not None
    assert (odd.median, odd.low, odd.high, odd.rounds) == (2.0, 1.0, 3.0, 3)
    even = spread([4.0, 1.0, 2.0, 3.0])
    assert even is not None
    assert even.median == 2.5
    assert spread([None]) is None


def test_intervals() -> None:
    assert intervals_s([1.0, 1.5, 3.0]) == [0.5, 1.5]


def test_frames_tell_where_they_belong() -> None:
    pcm = frame(7, 3, 1.5)
    assert len(pcm) == FRAME_BYTES
    assert HEAD.unpack_from(pcm) == (7, 3, 1.5)
    assert not interrupts(pcm)
    assert interrupts(frame(7 | INTERRUPTS, 0, 0.0))
    assert len(answer(0.1)) == 5 * FRAME_BYTES


def test_an_answer_behind_a_flush_tells_its_time_in_its_first_frame() -> None:
    pcm = Answers().after(9, 12.25)
    assert HEAD.unpack_from(pcm) == (1, 0, 12.25)
    assert HEAD.unpack_from(pcm, 4 * FRAME_BYTES) == (1, 4, 0.0)
