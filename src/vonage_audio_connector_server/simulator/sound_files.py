"""Reading recordings: any file that libsndfile knows, as 16-bit mono PCM at a rate of the Audio Connector.

A WAV file of 16-bit mono PCM that has the rate needs nothing but the standard library; all else needs the extra `cli`.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AudioConnectorAudioError, MissingExtraError
from ..formats import SAMPLE_BYTES
from .resample import resample, resample_blocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATES_HZ = (8_000, 16_000, 24_000)
"""The sample rates that the Audio Connector documents."""

MAX_DURATION_S = 3600.0
"""A longer recording is refused: an hour is 115 MB of PCM at 16 kHz."""

_DEFAULT_HZ = 16_000
_FILE_HZ = range(1_000, 768_001)  # below it is no speech, and a broken header would grow into gigabytes
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
    name = fspath(path)
    plain = _read_plain_wav(name)
    if plain is None:
        pcm, to_hz = _read_any(name, rate_hz)
    else:
        pcm, file_hz = plain
        to_hz = rate_hz or _call_hz(file_hz)
        if to_hz != file_hz:
            pcm = resample(pcm, file_hz, to_hz)
    if not pcm:
        raise AudioConnectorAudioError(f"{name} holds no audio")
    return pcm, to_hz


def _call_hz(file_hz: int) -> int:
    return file_hz if file_hz in RATES_HZ else _DEFAULT_HZ


def _check(name: str, file_hz: int, samples: int) -> None:
    """Refuse what can't be a recording of speech."""
    if file_hz not in _FILE_HZ:
        raise AudioConnectorAudioError(
            f"{name} has a sample rate of {file_hz} Hz, but it must be {_FILE_HZ[0]} to {_FILE_HZ[-1]} Hz"
        )
    if samples > MAX_DURATION_S * file_hz:
        raise AudioConnectorAudioError(
            f"{name} lasts {samples / file_hz / 60:.0f} minutes, but a recording may last {MAX_DURATION_S / 60:.0f}"
        )


def _read_plain_wav(name: str) -> tuple[bytes, int] | None:
    """The PCM and the rate of a WAV file of 16-bit mono PCM; None for any other file."""
    try:
        with wave.open(name, "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, SAMPLE_BYTES):
                return None
            # The header of a file that was written into a pipe says 2 GB, whatever follows.
            samples = min(file.getnframes(), Path(name).stat().st_size // SAMPLE_BYTES)
            _check(name, file.getframerate(), samples)
            pcm = file.readframes(samples)
            # A file that was cut off may end in half a sample.
            return pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES], file.getframerate()
    except (wave.Error, EOFError):
        return None


def _read_any(name: str, rate_hz: int | None) -> tuple[bytes, int]:
    """The PCM of any file, and the rate of that."""
    try:
        import numpy as np
        import soundfile
    except (ImportError, OSError) as exc:  # an OSError where libsndfile is missing
        raise MissingExtraError(f"reading {name}, which isn't a WAV file of 16-bit mono PCM,", "cli") from exc
    if Path(name).suffix.lower() == ".raw":
        raise AudioConnectorAudioError(f"{name} has no header that tells its rate: make it a WAV file")
    try:
        with soundfile.SoundFile(name) as file:
            file_hz = file.samplerate
            _check(name, file_hz, 0)
            to_hz = rate_hz or _call_hz(file_hz)
            with np.errstate(all="ignore"):  # what is no number is found and told below
                return resample_blocks(_blocks(name, file), file_hz, to_hz), to_hz
    except soundfile.SoundFileError as exc:
        raise AudioConnectorAudioError(
            f"{name} is no audio that can be read: {exc} (ffmpeg -i IN OUT.wav makes a WAV file of most others)"
        ) from exc


def _blocks(name: str, file: Any) -> Iterator[NDArray[np.float32]]:
    """What is in an open file, as one channel of floats in the range of 16 bits."""
    import numpy as np

    samples = 0  # counted, because the header of a broken file may say anything
    while len(block := file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
        samples += len(block)
        _check(name, file.samplerate, samples)
        mono: NDArray[np.float32] = block.mean(axis=1) * np.float32(32_768)
        if not np.isfinite(mono).all():
            raise AudioConnectorAudioError(f"{name} holds samples that are no numbers")
        yield mono
