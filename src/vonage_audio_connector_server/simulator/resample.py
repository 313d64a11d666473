"""Changing the sample rate of a whole recording, with soxr. The same recording always gives the same samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def resample(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """The same sound at another sample rate; 16-bit mono PCM in and out.

    Raises:
        MissingExtraError: soxr is not installed.
    """
    try:
        import numpy as np
    except ImportError as exc:
        raise _missing() from exc
    return resample_blocks([np.frombuffer(pcm, dtype="<i2").astype(np.float32)], from_hz, to_hz)


def resample_blocks(blocks: Iterable[NDArray[np.float32]], from_hz: int, to_hz: int) -> bytes:
    """The sound of all blocks as 16-bit PCM at another sample rate, or at the same; they are floats in that range.

    Raises:
        MissingExtraError: numpy or soxr is not installed.
    """
    if from_hz == to_hz:
        return b"".join(map(_to_pcm, blocks))
    try:
        import numpy as np
        import soxr
    except ImportError as exc:
        raise _missing() from exc
    # In floats, because soxr adds noise to what it returns as int16: silence must stay silence.
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")
    resampled = [_to_pcm(stream.resample_chunk(block)) for block in blocks]
    return b"".join(resampled) + _to_pcm(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _to_pcm(samples: NDArray[np.float32]) -> bytes:
    """As 16 bits; what is beyond their range is clipped."""
    return samples.round().clip(-32_768, 32_767).astype("<i2").tobytes()


def _missing() -> MissingExtraError:
    return MissingExtraError("resampling a recording", "cli")
