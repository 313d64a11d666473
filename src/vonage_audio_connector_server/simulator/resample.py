"""Changing the sample rate of a whole recording, with soxr. The same recording always gives the same samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def resample(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """The same sound at another sample rate; 16-bit mono PCM in and out.

    Raises:
        MissingExtraError: soxr is not installed.
    """
    try:
        import numpy as np
        import soxr
    except ImportError as exc:
        raise MissingExtraError("resampling a recording", "cli") from exc
    # In floats, because soxr adds noise to what it returns as int16: silence must stay silence.
    given = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    resampled: NDArray[np.float32] = soxr.resample(given, from_hz, to_hz)
    return np.clip(np.rint(resampled), -32_768, 32_767).astype("<i2").tobytes()
