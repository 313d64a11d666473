"""Changing between the rates of calls and of speech models, 8, 16, 24, 32 and 48 kHz, with little delay and CPU time.

A windowed sinc, as a matrix: each block of 2 ms, with what is around it, times the matrix is the block at the new rate.
The matrix is one for all streams, so it stays in the processor's cache however many there are; a stream holds a few
milliseconds of sound. All in 64-bit floats, so that the samples don't depend on how the stream is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
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

_MANY_ROWS = 40
"""From so many on one call that clips both ways is quicker than two, which have less to prepare."""

_MOST_TOGETHER = 16
"""With more frames what numpy works on is so large that it is asked from the system each time."""


class Plan:
    """How one rate becomes another one, for all streams.

    Args:
        from_hz: one of `RATES_HZ`.
        to_hz: another one.

    Attributes:
        rates_hz: both.
        block: samples of the old rate that are converted at once.
        width: of a block with its surroundings, in samples.
        before: how many samples before a block its surroundings begin.
        steady_bytes: so much waits in a stream of which a frame of 20 ms that comes gives one.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        import numpy as np

        self.rates_hz = from_hz, to_hz
        self._matrix, self.before = matrix_of(from_hz, to_hz)
        self.width = len(self._matrix)
        self.block = block = from_hz // _BLOCKS_A_SECOND
        self.steady_bytes = (self.width - block + (self.before - self.width) % block) * SAMPLE_BYTES
        self._ndarray, self._array, self._rint = np.ndarray, np.array, np.rint
        self._minimum, self._maximum = np.minimum, np.maximum
        self._int16, self._float64 = np.dtype("<i2"), np.dtype("f8")
        self._highest, self._lowest = np.array(32_767.0), np.array(-32_768.0)  # quicker than numbers of Python's

    def convert(self, sound: bytes, streams: int, rows: int) -> bytes:
        """The blocks of several streams at the new rate.

        Args:
            sound: of one stream behind the other, of the same length, each beginning `before` its first block.
            streams: how many.
            rows: blocks of each.
        """
        # Rows overlap, without a copy of the sound.
        shape = (streams, rows, self.width)
        strides = (len(sound) // streams, self.block * SAMPLE_BYTES, SAMPLE_BYTES)
        blocks: Any = self._ndarray(shape, self._int16, sound, 0, strides)
        made: NDArray[np.float64] = self._array(blocks, self._float64).reshape(-1, self.width).dot(self._matrix)
        self._rint(made, out=made)
        if len(made) > _MANY_ROWS:
            made.clip(-32_768.0, 32_767.0, out=made)
        else:
            self._minimum(made, self._highest, out=made)
            self._maximum(made, self._lowest, out=made)
        return made.astype(self._int16).tobytes()


@lru_cache
def plan_of(from_hz: int, to_hz: int) -> Plan:
    """That of two rates."""
    return Plan(from_hz, to_hz)


class Polyphase:
    """One stream.

    Args:
        from_hz: one of `RATES_HZ`.
        to_hz: another one.

    Attributes:
        plan: of the rates.
        samples_in: how many samples went in since the beginning, or the last `end`.
        samples_out: how many came out.
    """

    __slots__ = ("_waiting", "plan", "samples_in", "samples_out")

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.plan = plan_of(from_hz, to_hz)
        self._begin()

    def process(self, pcm: bytes) -> bytes:
        """Put PCM in; returns what is ready."""
        self.samples_in += len(pcm) // SAMPLE_BYTES
        return self._convert(pcm)

    @property
    def is_steady(self) -> bool:
        """Whether a frame of 20 ms that comes now gives one, and may go through `process_together`."""
        return len(self._waiting) == self.plan.steady_bytes

    def end(self) -> bytes:
        """End the stream; returns the rest. Another one may begin."""
        from_hz, to_hz = self.plan.rates_hz
        wanted = ceil(self.samples_in * to_hz / from_hz - 0.5)
        rest = self._convert(bytes((self.plan.width + self.plan.block) * SAMPLE_BYTES))
        rest = rest[: len(rest) - (self.samples_out - wanted) * SAMPLE_BYTES]
        self._begin()
        return rest

    def _begin(self) -> None:
        self._waiting = bytes(self.plan.before * SAMPLE_BYTES)
        self.samples_in = self.samples_out = 0

    def _convert(self, pcm: bytes) -> bytes:
        plan, sound = self.plan, self._waiting + pcm
        rows = (len(sound) // SAMPLE_BYTES - plan.width) // plan.block + 1
        if rows <= 0:
            self._waiting = sound
            return b""
        made = plan.convert(sound, 1, rows)
        self.samples_out += len(made) // SAMPLE_BYTES
        self._waiting = sound[rows * plan.block * SAMPLE_BYTES :]
        return made


def process_together(jobs: Sequence[tuple[Polyphase, bytes, object]]) -> list[bytes]:
    """What `process` returns, of one frame for each of several streams: numpy is called once for all of them.

    Args:
        jobs: streams that are `is_steady`, all of one plan, and 20 ms for each; what stands behind is yours.
    """
    count = len(jobs)
    if count > _MOST_TOGETHER:
        middle = count // 2
        return process_together(jobs[:middle]) + process_together(jobs[middle:])
    one, frame, _ = jobs[0]
    plan, samples_in = one.plan, len(frame) // SAMPLE_BYTES
    sound = b"".join([part for stream, frame, _ in jobs for part in (stream._waiting, frame)])
    made = plan.convert(sound, count, samples_in // plan.block)
    size, each, waiting_bytes, end = len(made) // count, len(sound) // count, plan.steady_bytes, 0
    samples_out = size // SAMPLE_BYTES
    for stream, _, _ in jobs:
        end += each
        stream._waiting = sound[end - waiting_bytes : end]
        stream.samples_in += samples_in
        stream.samples_out += samples_out
    return [made[at : at + size] for at in range(0, len(made), size)]


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
