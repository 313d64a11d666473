"""What a session sends, for tests that play it themselves, as with Starlette's TestClient."""

from __future__ import annotations

import math
from array import array
from functools import cache
from os import PathLike
from typing import Any

from ..audio.sound_files import read_audio
from ..core import wire
from ..formats import AudioFormat


def first_message(rate_hz: int = 16_000, **custom: Any) -> str:
    """The text that a session sends first, with the custom keys of the connect call."""
    return wire.first_message(AudioFormat(rate_hz), custom)


def frames(source: bytes | str | PathLike[str], rate_hz: int = 16_000) -> list[bytes]:
    """A recording (a file of any kind, or PCM at this rate) in frames of 20 ms; the last is padded with silence."""
    if isinstance(source, (str, PathLike)):
        source, _ = read_audio(source, rate_hz=rate_hz)
    size = AudioFormat(rate_hz).frame_bytes
    return [source[at : at + size].ljust(size, b"\0") for at in range(0, len(source), size)]


def silence(duration_s: float, rate_hz: int = 16_000) -> bytes:
    """PCM of silence."""
    return bytes(2 * round(duration_s * rate_hz))


@cache
def tone(duration_s: float, rate_hz: int = 16_000, *, pitch_hz: float = 440.0) -> bytes:
    """PCM of a tone that is loud enough to count as speech, at -12 dBFS."""
    step = 2 * math.pi * pitch_hz / rate_hz
    return array("h", (round(11_585 * math.sin(step * n)) for n in range(round(duration_s * rate_hz)))).tobytes()
