"""How fast a question comes back: audio at another rate than the call's is heard too slow or too fast.

It needs numpy and soxr.
"""

from __future__ import annotations

from ...audio.resampler import resample
from ..compare import similarity

FOUND = 0.6
"""A copy at this similarity is a copy."""

_SPEEDS = (0.5, 2 / 3, 1.5, 2.0)  # each two of the rates 8, 16 and 24 kHz, taken for each other
_BETTER = 0.2


def speed_of(speech: bytes, heard: bytes, rate_hz: int, as_said: float) -> float | None:
    """The speed at which `speech` stands in `heard`; 1 as it was said, None at none.

    `as_said` is its similarity at speed 1.

    Raises:
        MissingExtraError: numpy or soxr is not installed.
    """
    if as_said >= 1 - _BETTER:
        return 1.0
    found = {speed: similarity(resample(speech, round(rate_hz * speed), rate_hz), heard) for speed in _SPEEDS}
    best = max(found, key=lambda speed: found[speed])
    if found[best] >= max(FOUND, as_said + _BETTER):
        return round(best, 3)
    return 1.0 if as_said >= FOUND else None
