"""Several recordings as one: what a session sends where the connect call names no streams (D)."""

from __future__ import annotations

from collections.abc import Sequence

from .resampler import numpy_for


def mixed(recordings: Sequence[bytes]) -> bytes:
    """The sum of 16-bit mono PCM that begins together; what is beyond full scale is clipped.

    Raises:
        MissingExtraError: numpy is not installed.
    """
    np = numpy_for("mixing recordings")
    total = np.zeros(max(map(len, recordings)) // 2, np.int32)
    for pcm in recordings:
        samples = np.frombuffer(pcm, dtype="<i2")
        total[: len(samples)] += samples
    mix: bytes = np.clip(total, -32_768, 32_767).astype("<i2").tobytes()
    return mix
