"""Assertions about sound."""

from __future__ import annotations

from os import PathLike

from ..audio.sound_files import read_audio
from ..simulator.compare import SAME, assert_same
from ..simulator.heard import Heard

Sound = bytes | Heard | str | PathLike[str]


def assert_same_speech(a: Sound, b: Sound, *, at_least: float = SAME, rate_hz: int = 16_000) -> None:
    """Assert that the shorter of two sounds stands in the other one, at any volume; it takes numpy.

    Args:
        a: 16-bit mono PCM, what a call has heard, or a file of any kind.
        b: the other one.
        at_least: the best normalised cross-correlation, 1 for a perfect copy.
        rate_hz: of the PCM; files are brought to it.

    Raises:
        AssertionError: it says how similar they are.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    assert_same(_pcm(a, rate_hz), _pcm(b, rate_hz), at_least)


def _pcm(sound: Sound, rate_hz: int) -> bytes:
    if isinstance(sound, Heard):
        return sound.pcm
    return sound if isinstance(sound, bytes) else read_audio(sound, rate_hz=rate_hz)[0]
