"""WAV files out, and recordings of any kind in, under the names that programs know."""

from __future__ import annotations

from os import PathLike

from ..audio.sound_files import RATES_HZ, read_audio, write_wav

__all__ = ["RATES_HZ", "read_wav", "write_wav"]


def read_wav(path: str | PathLike[str], *, rate_hz: int | None = None) -> tuple[bytes, int]:
    """Read a recording of any kind: the older name of `audio.read_audio`, which tells all about it."""
    return read_audio(path, rate_hz=rate_hz)
