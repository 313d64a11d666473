"""Changing the sample rate, of a stream or of a whole recording. 16-bit mono PCM in and out.

Between the rates of calls and models it is done here (`polyphase.py`), between all others by soxr.

However a stream is cut into chunks, its samples are the same, and those of a whole recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ..core.framer import as_pcm
from ..errors import MissingExtraError
from ..formats import SAMPLE_BYTES, check_rate
from .polyphase import RATES_HZ as POLYPHASE_HZ
from .polyphase import Polyphase

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Buffer


class Resampler:
    """One stream of 16-bit mono PCM on its way to another sample rate.

    What comes out lags behind what goes in, and `flush` brings the rest: by 4 ms at most between 16, 24, 32 and 48 kHz,
    by 6 ms from or to 8 kHz. Other rates go through soxr, which works in blocks and lags by 40 to 75 ms. In all there
    come out `samples_in * to_hz / from_hz` samples, to the nearest whole one.

    Args:
        from_hz: the sample rate of what goes in, 1,000 to 768,000 Hz.
        to_hz: the sample rate of what comes out.

    Attributes:
        from_hz: as given.
        to_hz: as given.

    Raises:
        AudioConnectorAudioError: a rate is none.
        MissingExtraError: soxr or numpy is not installed.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        check_rate("from_hz", from_hz)
        check_rate("to_hz", to_hz)
        self.from_hz, self.to_hz = from_hz, to_hz
        self._stream = _stream(from_hz, to_hz)

    def __repr__(self) -> str:
        return f"<Resampler {self.from_hz} Hz to {self.to_hz} Hz>"

    @property
    def samples_in(self) -> int:
        """How many samples went in since the beginning, or the last `reset` or `flush`."""
        return self._stream.samples_in

    @property
    def samples_out(self) -> int:
        """How many of them came out."""
        return self._stream.samples_out

    def process(self, pcm: Buffer) -> bytes:
        """Put PCM in, whole samples, of any length; returns what is ready of the result, which may be empty.

        Raises:
            AudioConnectorAudioError: it is no PCM, as in `send_audio_buffer`; nothing was taken.
        """
        return self._stream.process(as_pcm(pcm))

    def flush(self) -> bytes:
        """End the stream: returns what has not come out. The next `process` begins another one."""
        return self._stream.end() if self._stream.samples_in else b""

    def reset(self) -> None:
        """Forget the stream: what has not come out never will. The next `process` begins another one."""
        self.flush()

    @property
    def steady(self) -> Polyphase | None:
        """The stream, where a frame of 20 ms that comes now gives one: see `process_together`."""
        stream = self._stream
        return stream if isinstance(stream, Polyphase) and stream.is_steady else None

    @property
    def is_blocky(self) -> bool:
        """Whether what comes out comes in blocks that are longer than a frame, as soxr's are."""
        return isinstance(self._stream, _Stream)

    @property
    def held_s(self) -> float:
        """How much of what went in has not come out yet, in seconds."""
        return self.samples_in / self.from_hz - self.samples_out / self.to_hz


class Stream(Protocol):
    """A stream of PCM on its way to another rate.

    Attributes:
        samples_in: how many samples went in since it began.
        samples_out: how many came out.
    """

    samples_in: int
    samples_out: int

    def process(self, pcm: bytes) -> bytes:
        """Put PCM in; returns what is ready."""

    def end(self) -> bytes:
        """End the stream; returns the rest. Another one may begin."""


def _stream(from_hz: int, to_hz: int) -> Stream:
    if from_hz == to_hz:
        return _Same()
    if from_hz in POLYPHASE_HZ and to_hz in POLYPHASE_HZ:
        numpy_for("changing a sample rate")
        return Polyphase(from_hz, to_hz)
    return _Stream(from_hz, to_hz)


class _Same:
    """One that stays as it is."""

    def __init__(self) -> None:
        self.samples_in = self.samples_out = 0

    def process(self, pcm: bytes) -> bytes:
        self.samples_in += len(pcm) // SAMPLE_BYTES
        self.samples_out = self.samples_in
        return pcm

    def end(self) -> bytes:
        self.samples_in = self.samples_out = 0
        return b""


class _Stream:
    """soxr's stream, for PCM. In floats, because soxr adds noise to what it returns as int16: silence must stay it."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        try:
            import numpy as np
            import soxr
        except ImportError as exc:
            raise missing("changing a sample rate") from exc
        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")
        self._from_buffer, self._in, self._float = np.frombuffer, np.dtype("<i2"), np.dtype(np.float32)
        self._nothing = np.zeros((0, 1), np.float32)
        self.samples_in = self.samples_out = 0

    def process(self, pcm: bytes) -> bytes:
        # One column: soxr takes 2 µs more for an array without.
        samples = self._from_buffer(pcm, self._in).astype(self._float).reshape(-1, 1)
        made = to_int16(self._stream.resample_chunk(samples))
        self.samples_in += len(samples)
        self.samples_out += len(made) // SAMPLE_BYTES
        return made

    def end(self) -> bytes:
        rest = to_int16(self._stream.resample_chunk(self._nothing, last=True))
        self._stream.clear()
        self.samples_in = self.samples_out = 0
        return rest


def resample(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """The same sound at another sample rate.

    Raises:
        AudioConnectorAudioError: it is no PCM, or a rate is none.
        MissingExtraError: soxr or numpy is not installed.
    """
    resampler = Resampler(from_hz, to_hz)
    return resampler.process(pcm) + resampler.flush()


def resampled(blocks: Iterable[NDArray[np.float32]], from_hz: int, to_hz: int) -> Iterator[bytes]:
    """The sound of all blocks as PCM at another sample rate, or at the same; they are floats in the range of 16 bits.

    Raises:
        MissingExtraError: numpy or soxr is not installed.
    """
    if from_hz == to_hz:
        yield from map(to_int16, blocks)
        return
    try:
        import numpy as np
        import soxr
    except ImportError as exc:
        raise missing("changing a sample rate") from exc
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")
    for block in blocks:
        yield to_int16(stream.resample_chunk(block))
    yield to_int16(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def to_int16(samples: NDArray[np.float32]) -> bytes:
    """Floats in the range of 16 bits as PCM; what is beyond it is clipped."""
    return samples.round().clip(-32_768, 32_767).astype("<i2").tobytes()


def require() -> None:
    """Make sure that sample rates can be changed.

    Raises:
        MissingExtraError: soxr or numpy is not installed.
    """
    try:
        import numpy  # noqa: F401
        import soxr  # noqa: F401
    except ImportError as exc:
        raise missing("changing a sample rate") from exc


def numpy_for(feature: str) -> Any:
    """numpy, for what needs it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import numpy as np
    except ImportError as exc:
        raise missing(feature) from exc
    return np


def missing(feature: str) -> MissingExtraError:
    """The extra `audio` is not installed."""
    return MissingExtraError(feature, "audio")
