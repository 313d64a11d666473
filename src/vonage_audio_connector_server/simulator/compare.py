"""Whether a recording stands in another one: the best normalised cross-correlation over all positions.

1 is a perfect copy at any volume, below 0.3 is something else, -1 is a copy upside down at the only place where they
overlap. A gap, a dropped frame or a foreign sound inside the copy lowers it. It needs numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MissingExtraError
from ..formats import SAMPLE_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAME = 0.9
"""From this similarity on it is the same speech; something else is below 0.3."""

_SILENT = 1e-6
"""Windows with less than this share of the loudest one's energy are silence: dividing by it would tell nothing."""

_SMALLEST_FFT_BITS = 16


def require_numpy() -> None:
    """Say now that numpy is missing, before somebody waits for a comparison.

    Raises:
        MissingExtraError: numpy is not installed.
    """
    try:
        import numpy  # noqa: F401 (only to see whether it is there)
    except ImportError as exc:
        raise MissingExtraError("comparing recordings", "cli") from exc


def assert_same(a: bytes, b: bytes, at_least: float = SAME) -> None:
    """Assert that the shorter of two recordings stands in the other one, at any volume.

    Raises:
        AssertionError: it says how similar they are.
        MissingExtraError: numpy is not installed.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    shorter, longer = sorted((a, b), key=len)
    found = similarity(shorter, longer)
    if found < at_least:
        raise AssertionError(f"it is not the same speech: the similarity is {found:.2f}, {at_least:g} is wanted")


def similarity(sought: bytes, heard: bytes) -> float:
    """The best normalised cross-correlation of `sought` with any stretch of `heard`, in [-1, 1].

    The stretch is as long as `sought` and may reach beyond both ends of `heard`, where there is silence. 0 where one of
    them is silent or empty.

    Raises:
        MissingExtraError: numpy is not installed.
    """
    require_numpy()
    import numpy as np

    wanted, found = _samples(sought), _samples(heard)
    if not wanted.any() or not found.any():
        return 0.0
    padded = np.pad(found, len(wanted) - 1)
    energy = _window_energy(padded, len(wanted))
    products = _correlate(wanted, padded)
    norms = np.sqrt(float(_window_energy(wanted, len(wanted))[0]) * energy)
    audible = energy > energy.max() * _SILENT
    return float(np.clip((products[audible] / norms[audible]).max(), -1.0, 1.0))


def _samples(pcm: bytes) -> NDArray[np.int16]:
    import numpy as np

    return np.frombuffer(pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES], dtype="<i2").astype(np.int16)


def _window_energy(samples: NDArray[np.int16], window: int) -> NDArray[np.int64]:
    """The energy of every stretch of `window` samples; exact, because in floats small windows would drown."""
    import numpy as np

    total = np.concatenate(([0], np.cumsum(samples.astype(np.int64) ** 2)))
    energy: NDArray[np.int64] = total[window:] - total[:-window]
    return energy


def _correlate(wanted: NDArray[np.int16], found: NDArray[np.int16]) -> NDArray[np.float64]:
    """The product of `wanted` with every stretch of `found`, block by block, so that `found` may be long."""
    import numpy as np

    size = 1 << max(_SMALLEST_FFT_BITS, (2 * len(wanted)).bit_length())
    step = size - len(wanted) + 1
    spectrum = np.conj(np.fft.rfft(wanted, size))
    products = np.empty(len(found) - len(wanted) + 1)
    for start in range(0, len(products), step):
        block = np.fft.irfft(np.fft.rfft(found[start : start + size], size) * spectrum, size)
        products[start : start + step] = block[: min(step, len(products) - start)]
    return products
