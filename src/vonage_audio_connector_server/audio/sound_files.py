"""Reading recordings: any file that libsndfile knows, as 16-bit mono PCM at the rate that is wanted; writing WAV files.

A WAV file of 16-bit mono PCM that has the rate needs nothing but the standard library; all else needs the extra
`audio`.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from os import SEEK_END, PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import AudioConnectorAudioError
from ..formats import RESAMPLE_HZ, SAMPLE_BYTES, check_rate
from .resampler import Resampler, missing, resampled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Source = str | PathLike[str] | BinaryIO
"""Where a recording is: the path of a file, or a file that is open for reading bytes, such as `io.BytesIO(data)`."""

RATES_HZ = (8_000, 16_000, 24_000)
"""The sample rates that the Audio Connector documents."""

MAX_DURATION_S = 3600.0
"""A longer recording is not read as a whole: an hour is 115 MB of PCM at 16 kHz."""

_DEFAULT_HZ = 16_000
_BLOCK_SAMPLES = 65_536


def read_audio(path: str | PathLike[str], *, rate_hz: int | None = None) -> tuple[bytes, int]:
    """Read a recording; returns it as 16-bit mono PCM, and the sample rate of that in Hz.

    Several channels are averaged; no level is changed, but what a float file has beyond full scale is clipped.

    Args:
        path: the file: WAV of every kind, FLAC, MP3, OGG and whatever else libsndfile reads, at any rate from 1 kHz on,
            up to an hour long.
        rate_hz: the sample rate to bring it to: 8000, 16000 or 24000. None: the file's own if it is one of those, else
            16000.

    Raises:
        AudioConnectorAudioError: it is no audio, or none that can be played into a call, or `rate_hz` is wrong.
        MissingExtraError: the file takes soundfile, numpy or soxr, which is not installed.
        OSError: it can't be read.
    """
    if rate_hz is not None and rate_hz not in RATES_HZ:
        raise AudioConnectorAudioError(f"rate_hz must be 8000, 16000 or 24000, not {rate_hz!r}")
    with SoundFile(path, max_duration_s=MAX_DURATION_S) as file:
        to_hz = rate_hz or (file.rate_hz if file.rate_hz in RATES_HZ else _DEFAULT_HZ)
        pcm = b"".join(file.blocks(to_hz))
    if not pcm:
        raise AudioConnectorAudioError(f"{fspath(path)} holds no audio")
    return pcm, to_hz


def write_wav(path: str | PathLike[str], pcm: bytes, rate_hz: int) -> None:
    """Write 16-bit mono PCM as a WAV file, replacing what is there.

    Raises:
        OSError: it can't be written.
    """
    with wave.open(fspath(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(rate_hz)
        file.writeframes(pcm)


class SoundFile:
    """A recording that is open, to be read in blocks.

    Args:
        source: the file, see `read_audio`; or one that is open, which is not closed here.
        max_duration_s: a longer one is an error. None: however long.

    Attributes:
        rate_hz: the sample rate of the file.

    Raises:
        AudioConnectorAudioError: it is no audio.
        MissingExtraError: the file takes soundfile, numpy or soxr, which is not installed.
        OSError: it can't be read.
    """

    def __init__(self, source: Source, *, max_duration_s: float | None = None) -> None:
        file = fspath(source) if isinstance(source, (str, PathLike)) else source
        self.name = file if isinstance(file, str) else "the sound"
        self._max_duration_s = max_duration_s
        self._plain = _open_plain_wav(file)
        self._file: Any = None
        try:
            if self._plain is not None:
                self.rate_hz = self._plain.getframerate()
                # The header of a file that was written into a pipe says 2 GB, whatever follows.
                self._check(min(self._plain.getnframes(), _size_bytes(file) // SAMPLE_BYTES))
            else:
                self._file = _open_any(file, self.name)
                self.rate_hz = self._file.samplerate
                self._check(0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; again, it does nothing."""
        for file in (self._plain, self._file):
            if file is not None:
                file.close()

    def blocks(self, rate_hz: int, block_samples: int = _BLOCK_SAMPLES) -> Iterator[bytes]:
        """Its sound as PCM at this rate, in blocks; `block_samples` are read for each.

        Raises:
            AudioConnectorAudioError: what follows is no audio, or too much, or the rate is none.
            MissingExtraError: changing the rate takes soxr, which is not installed.
        """
        check_rate("rate_hz", rate_hz)
        if self._plain is not None:
            resampler = Resampler(self.rate_hz, rate_hz)
            while pcm := self._plain.readframes(block_samples):
                # A file that was cut off may end in half a sample.
                yield resampler.process(memoryview(pcm)[: len(pcm) - len(pcm) % SAMPLE_BYTES])
            yield resampler.flush()
            return
        import numpy as np
        import soundfile

        try:
            with np.errstate(all="ignore"):  # what is no number is found and told
                yield from resampled(self._float_blocks(block_samples), self.rate_hz, rate_hz)
        except soundfile.SoundFileError as exc:
            raise _unreadable(self.name, exc) from exc

    def _float_blocks(self, block_samples: int) -> Iterator[NDArray[np.float32]]:
        """What is in the file, as one channel of floats in the range of 16 bits."""
        import numpy as np

        samples = 0  # counted, because the header of a broken file may say anything
        while len(block := self._file.read(block_samples, dtype="float32", always_2d=True)):
            samples += len(block)
            self._check(samples)
            mono: NDArray[np.float32] = block.mean(axis=1) * np.float32(32_768)
            if not np.isfinite(mono).all():
                raise AudioConnectorAudioError(f"{self.name} holds samples that are no numbers")
            yield mono

    def _check(self, samples: int) -> None:
        """Refuse what can't be a recording of speech."""
        if self.rate_hz not in RESAMPLE_HZ:  # a broken header would grow into gigabytes
            raise AudioConnectorAudioError(
                f"{self.name} has a sample rate of {self.rate_hz} Hz, but it must be {RESAMPLE_HZ[0]} to "
                f"{RESAMPLE_HZ[-1]} Hz"
            )
        most_s = self._max_duration_s
        if most_s is not None and samples > most_s * self.rate_hz:
            raise AudioConnectorAudioError(
                f"{self.name} lasts {samples / self.rate_hz / 60:.0f} minutes, but a recording may last "
                f"{most_s / 60:.0f}"
            )


def _size_bytes(file: str | BinaryIO) -> int:
    if isinstance(file, str):
        return Path(file).stat().st_size
    at = file.tell()
    size_bytes = file.seek(0, SEEK_END)
    file.seek(at)
    return size_bytes


def _open_plain_wav(source: str | BinaryIO) -> wave.Wave_read | None:
    """A WAV file of 16-bit mono PCM; None for any other file."""
    file = None
    try:
        file = wave.open(source, "rb")  # noqa: SIM115 (whoever gets it closes it)
        if (file.getnchannels(), file.getsampwidth()) == (1, SAMPLE_BYTES):
            return file
    except (wave.Error, EOFError):
        pass
    if file is not None:
        file.close()
    if not isinstance(source, str):
        source.seek(0)
    return None


def _open_any(source: str | BinaryIO, name: str) -> Any:
    try:
        import numpy  # noqa: F401 (what `blocks` needs: better told now)
        import soundfile
    except (ImportError, OSError) as exc:  # an OSError where libsndfile is missing
        raise missing(f"reading {name}, which isn't a WAV file of 16-bit mono PCM,") from exc
    if Path(name).suffix.lower() == ".raw":
        raise AudioConnectorAudioError(f"{name} has no header that tells its rate: make it a WAV file")
    try:
        return soundfile.SoundFile(source)
    except soundfile.SoundFileError as exc:
        raise _unreadable(name, exc) from exc


def _unreadable(name: str, exc: Exception) -> AudioConnectorAudioError:
    return AudioConnectorAudioError(
        f"{name} is no audio that can be read: {exc} (ffmpeg -i IN OUT.wav makes a WAV file of most others)"
    )
