"""Changing between the rates of calls and of speech models, 8, 16, 24, 32 and 48 kHz, with little delay and CPU time.

A windowed sinc, as a matrix: each block of 2 ms, with what is around it, times the matrix is the block at the new rate.
The matrix is one for all streams, so it stays in the processor's cache however many there are; a stream holds a few
milliseconds of sound. All in 64-bit floats, so that the samples don't depend on how the stream is cut.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import TYPE_CHECKING, Any

from ..formats import SAMPLE_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATES_HZ = (8_000, 16_000, 24_000, 32_000, 48_000)

STOPBAND_DB = 96.0
"""What may be left of what the new rate can't have: the noise of 16 bits."""

TRANSITION = 0.2
"""The filter falls from 0.9 to 1.1 of the lower rate's half: what folds back lies above 0.9 of it, where speech has
little. It costs 4 ms of delay at 8 kHz, and 2 ms from 16 kHz on."""

_BLOCKS_A_SECOND = 500


class Polyphase:
    """One stream.

    Args:
        from_hz: one of `RATES_HZ`.
        to_hz: another one.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        import numpy as np

        self._matrix, self._before = matrix_of(from_hz, to_hz)
        self._width = len(self._matrix)
        self._block = from_hz // _BLOCKS_A_SECOND
        self._from_hz, self._to_hz = from_hz, to_hz
        self._ndarray, self._array, self._rint = np.ndarray, np.array, np.rint
        self._minimum, self._maximum = np.minimum, np.maximum
        self._int16, self._float64 = np.dtype("<i2"), np.dtype("f8")
        self._highest, self._lowest = np.array(32_767.0), np.array(-32_768.0)  # quicker than numbers of Python's
        self._begin()

    def process(self, pcm: bytes) -> bytes:
        """Put PCM in; returns what is ready."""
        self._samples += len(pcm) // SAMPLE_BYTES
        return self._convert(pcm)

    def end(self) -> bytes:
        """End the stream; returns the rest. Another one may begin."""
        wanted = ceil(self._samples * self._to_hz / self._from_hz - 0.5)
        rest = self._convert(bytes((self._width + self._block) * SAMPLE_BYTES))
        rest = rest[: len(rest) - (self._made - wanted) * SAMPLE_BYTES]
        self._begin()
        return rest

    def _begin(self) -> None:
        self._waiting = bytes(self._before * SAMPLE_BYTES)
        self._samples = self._made = 0

    def _convert(self, pcm: bytes) -> bytes:
        sound = self._waiting + pcm
        block, width = self._block, self._width
        rows = (len(sound) // SAMPLE_BYTES - width) // block + 1
        if rows <= 0:
            self._waiting = sound
            return b""
        # Rows overlap, without a copy of the sound.
        blocks: Any = self._ndarray((rows, width), self._int16, sound, 0, (block * SAMPLE_BYTES, SAMPLE_BYTES))
        made = self._array(blocks, self._float64).dot(self._matrix)
        self._rint(made, out=made)
        self._minimum(made, self._highest, out=made)
        self._maximum(made, self._lowest, out=made)
        self._made += made.size
        self._waiting = sound[rows * block * SAMPLE_BYTES :]
        return made.astype(self._int16).tobytes()  # type: ignore[no-any-return]


@lru_cache
def matrix_of(from_hz: int, to_hz: int) -> tuple[NDArray[np.float64], int]:
    """What a block and its surroundings are multiplied with, and how many samples before the block those begin."""
    import numpy as np

    up, down = to_hz // gcd(from_hz, to_hz), from_hz // gcd(from_hz, to_hz)
    both_hz = from_hz * up
    edge_hz = min(from_hz, to_hz) / 2
    # Kaiser's formulas (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6).
    taps = ceil((STOPBAND_DB - 7.95) / (14.36 * TRANSITION * edge_hz / both_hz)) | 1
    middle = taps // 2
    at = np.arange(taps) - middle
    sinc = 2 * edge_hz / both_hz * np.sinc(2 * edge_hz / both_hz * at)
    filtered = sinc * np.kaiser(taps, 0.1102 * (STOPBAND_DB - 8.7)) * up

    block, made = from_hz // _BLOCKS_A_SECOND, to_hz // _BLOCKS_A_SECOND
    before = middle // up
    behind = ((made - 1) * down + middle) // up
    matrix = np.zeros((before + 1 + max(behind, block - 1), made))
    for number in range(made):
        for row in range(len(matrix)):
            tap = number * down + middle - (row - before) * up
            if 0 <= tap < taps:
                matrix[row, number] = filtered[tap]
    for phase in range(up):  # a steady level stays as it is, to the last digit
        columns = range(phase, made, up)
        matrix[:, columns] /= matrix[:, columns[0]].sum()
    return matrix, before
