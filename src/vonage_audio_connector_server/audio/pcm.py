"""PCM and what models take: float arrays, several channels, base64 in JSON."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from ..core.framer import as_pcm
from ..errors import AudioConnectorAudioError
from ..formats import SAMPLE_BYTES
from .resampler import numpy_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Buffer

FULL_SCALE = 32_768

_NO_FLOATS = 100  # clipped sound stays far below, 16-bit values in floats are far above

_MAX_CHANNELS = 32  # assumed: no sound has more, so the longer side of a table is time


def to_float32(pcm: Buffer) -> NDArray[np.float32]:
    """16-bit mono PCM as an array of floats from -1 to 1, as speech models take it.

    Raises:
        AudioConnectorAudioError: it is no PCM, as in `send_audio_buffer`.
        MissingExtraError: numpy is not installed.
    """
    numpy = numpy_for("making an array of PCM")
    samples: NDArray[np.float32] = numpy.frombuffer(as_pcm(pcm), "<i2").astype(numpy.float32)
    samples /= FULL_SCALE
    return samples


def to_pcm(samples: ArrayLike) -> bytes:
    """An array as 16-bit mono PCM: floats from -1 to 1, which are clipped beyond, or integers of 16 or 32 bits.

    A table of two dimensions is a sound of several channels, in whichever order: they are averaged.

    Raises:
        AudioConnectorAudioError: the array holds something else, or floats that are no numbers.
        MissingExtraError: numpy is not installed.
    """
    np = numpy_for("making PCM of an array")
    array = np.asarray(samples)
    if array.dtype.kind == "f":
        scaled = array.astype(np.float32) * np.float32(FULL_SCALE)
    elif array.dtype.kind == "i" and array.dtype.itemsize in (2, 4):
        scaled = array.astype(np.float64) / 2 ** (8 * array.dtype.itemsize - 16)
    else:
        raise AudioConnectorAudioError(
            f"samples are of type {array.dtype}, but floats from -1 to 1 or integers of 16 or 32 bits are needed"
        )
    if array.ndim == 2:
        scaled = scaled.mean(axis=0 if array.shape[0] < array.shape[1] and array.shape[0] <= _MAX_CHANNELS else 1)
    elif array.ndim != 1:
        raise AudioConnectorAudioError(f"samples have the shape {array.shape}, but one or two dimensions are needed")
    if not np.isfinite(scaled).all():
        raise AudioConnectorAudioError("samples hold values that are no numbers")
    if array.dtype.kind == "f" and scaled.size and abs(scaled).max() > _NO_FLOATS * FULL_SCALE:
        raise AudioConnectorAudioError(
            f"samples are floats up to {abs(array).max():.0f}, but -1 to 1 is full scale: divide those of 16 bits by "
            "32768"
        )
    pcm: bytes = scaled.round().clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2").tobytes()
    return pcm


def to_mono(pcm: Buffer, channels: int = 2) -> bytes:
    """Interleaved 16-bit PCM of several channels as one: their average.

    Raises:
        AudioConnectorAudioError: it is no PCM, or not whole samples of all channels.
        MissingExtraError: numpy is not installed.
    """
    data = as_pcm(pcm)
    if type(channels) is not int or channels < 1:
        raise AudioConnectorAudioError(f"channels must be a whole number from 1 on, not {channels!r}")
    if len(data) % (SAMPLE_BYTES * channels):
        raise AudioConnectorAudioError(
            f"audio is {len(data)} bytes: that is not whole samples of {channels} channels, which take "
            f"{SAMPLE_BYTES * channels} bytes together"
        )
    if channels == 1:
        return data
    np = numpy_for("averaging channels")
    return to_pcm(np.frombuffer(data, "<i2").reshape(-1, channels).mean(axis=1) / FULL_SCALE)


class Base64Audio:
    """Takes a stream of PCM out of base64 chunks, as realtime models send it, whatever their length.

    A chunk may end within a sample: the odd byte waits for the next one.
    """

    def __init__(self) -> None:
        self._odd = b""

    def push(self, chunk: str | bytes) -> bytes:
        """Take one chunk; returns whole samples, which may be none.

        Raises:
            AudioConnectorAudioError: it is no base64; nothing was taken.
        """
        try:
            data = self._odd + binascii.a2b_base64(chunk, strict_mode=True)
        except (binascii.Error, ValueError) as exc:  # a ValueError where a text has other letters than ASCII
            raise AudioConnectorAudioError(f"a chunk of {len(chunk)} characters is no base64: {exc}") from exc
        whole_bytes = len(data) - len(data) % SAMPLE_BYTES
        self._odd = data[whole_bytes:]
        return data[:whole_bytes]

    def reset(self) -> None:
        """Forget the odd byte: another stream begins."""
        self._odd = b""
