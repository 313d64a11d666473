"""What a listener hears, and the statistics of the report. Plain calculations; standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .frames import FRAME_S

PREBUFFER_S = 0.2
"""How much audio the listener has before it begins to play. It does not fill up again after a gap."""

_TICK_S = 1e-6  # sums of 0.02 are not exact


@dataclass(frozen=True, slots=True)
class Heard:
    """What one listener heard of one answer.

    Attributes:
        frames: how many came.
        gaps: how often a frame was due and none was there.
        gap_s: how long it was silent, together.
        ahead_s: the furthest that audio received was ahead of the time since the first frame.
    """

    frames: int
    gaps: int
    gap_s: float
    ahead_s: float


def hear(arrivals_s: Sequence[float], prebuffer_s: float = PREBUFFER_S) -> Heard:
    """Play frames, given when each arrived, in order; a frame that comes late is played when it comes.

    It begins to play when it has `prebuffer_s` of audio, or all that there is. The end of the audio is no gap.
    """
    if not arrivals_s:
        return Heard(0, 0, 0.0, 0.0)
    prebuffered = min(len(arrivals_s), max(1, math.ceil(prebuffer_s / FRAME_S - _TICK_S)))
    due_s = arrivals_s[prebuffered - 1]
    gaps, gap_s, ahead_s = 0, 0.0, 0.0
    for place, at_s in enumerate(arrivals_s):
        ahead_s = max(ahead_s, (place + 1) * FRAME_S - (at_s - arrivals_s[0]))
        if at_s > due_s + _TICK_S:
            gaps += 1
            gap_s += at_s - due_s
            due_s = at_s
        due_s += FRAME_S
    return Heard(len(arrivals_s), gaps, gap_s, ahead_s)


def intervals_s(arrivals_s: Sequence[float]) -> list[float]:
    """The times between one arrival and the next."""
    return [later - earlier for earlier, later in pairwise(arrivals_s)]


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least `share` (0 to 1) of all values don't exceed; None where there are none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, and between what they lay."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """The spread of those rounds that have a value; None where none has."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Spread(median, ordered[0], ordered[-1], len(ordered))
