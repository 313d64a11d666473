"""How loud PCM is, and which of its frames are loud enough to be speech. Plain Python: 34 µs, and 6 µs to judge one."""

from __future__ import annotations

import math
import sys
from array import array
from operator import mul

from ..formats import SAMPLE_BYTES, AudioFormat

LOUD_DBFS = -45.0
"""Assumed: frames above it are speech. Recorded rooms hum at -60 to -45 dBFS, speech is at -35 to -15."""

FLOOR_DBFS = -96.0
"""The level of digital silence: nothing of 16 bits is below it."""

_FULL_SCALE = 32_768
_LOUD = _FULL_SCALE * 10 ** (LOUD_DBFS / 20)

_STRIDE = 7  # of the samples that tell whether a frame is loud: only a tone of a 7th of their rate could hide between


def level_dbfs(pcm: bytes) -> float:
    """The RMS level of 16-bit PCM in dBFS, `FLOOR_DBFS` at the least. Half a sample at the end is left out."""
    return _level_dbfs(_samples(pcm))


def peak_dbfs(pcm: bytes) -> float:
    """The level of the largest sample of 16-bit PCM in dBFS, `FLOOR_DBFS` at the least."""
    samples = _samples(pcm)
    peak = max(max(samples), -min(samples)) if samples else 0
    return max(FLOOR_DBFS, 20 * math.log10(peak / _FULL_SCALE)) if peak else FLOOR_DBFS


def is_loud(frame: bytes, above_dbfs: float = LOUD_DBFS) -> bool:
    """Whether a frame is loud enough to be speech; every seventh of its samples tells."""
    if frame.count(0) == len(frame):
        return False
    samples = _samples(frame)[::_STRIDE]
    if not samples:
        return False
    loud = _LOUD if above_dbfs == LOUD_DBFS else _FULL_SCALE * 10 ** (above_dbfs / 20)
    # One sample that is so loud makes the frame loud, whatever the others are.
    return max(samples) > loud * len(samples) ** 0.5 or _level_dbfs(samples) > above_dbfs


def _samples(pcm: bytes) -> array[int]:
    samples = array("h", pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _level_dbfs(samples: array[int]) -> float:
    energy = sum(map(mul, samples, samples))
    if not energy:
        return FLOOR_DBFS
    return max(FLOOR_DBFS, 10 * math.log10(energy / len(samples) / _FULL_SCALE**2))


def loud_ticks(pcm: bytes | bytearray, audio_format: AudioFormat) -> list[int]:
    """The numbers of the loud frames of `pcm`, ascending."""
    frame_bytes = audio_format.frame_bytes
    frames = (bytes(pcm[at : at + frame_bytes]) for at in range(0, len(pcm), frame_bytes))
    return [tick for tick, frame in enumerate(frames) if is_loud(frame)]
