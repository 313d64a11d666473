"""WAV files out, and recordings of any kind in, under the names that programs know."""

from __future__ import annotations

import wave
from os import PathLike, fspath

from ..formats import SAMPLE_BYTES
from .sound_files import RATES_HZ, read_audio

__all__ = ["RATES_HZ", "read_wav", "write_wav"]


def read_wav(path: str | PathLike[str], *, rate_hz: int | None = None) -> tuple[bytes, int]:
    """Read a recording of any kind: the older name of `sound_files.read_audio`, which tells all about it."""
    return read_audio(path, rate_hz=rate_hz)


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
