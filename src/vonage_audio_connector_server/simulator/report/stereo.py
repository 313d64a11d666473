"""Both sides of a call as one WAV file: what was said on the left, what was heard on the right, on one time line."""

from __future__ import annotations

import io
import wave
from array import array
from os import PathLike
from pathlib import Path

from ...formats import SAMPLE_BYTES
from .timeline import Timeline


def stereo_wav(timeline: Timeline) -> bytes:
    """The file, in memory."""
    left, right = array("h", timeline.said), array("h", timeline.heard)
    count = max(len(left), len(right))
    both = array("h", bytes(2 * SAMPLE_BYTES * count))
    both[: 2 * len(left) : 2] = left
    both[1 : 2 * len(right) : 2] = right
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(SAMPLE_BYTES)
        writer.setframerate(timeline.audio_format.rate_hz)
        writer.writeframes(both.tobytes())
    return file.getvalue()


def write_stereo_wav(path: str | PathLike[str], timeline: Timeline) -> None:
    """Write it, replacing what is there.

    Raises:
        OSError: it can't be written.
    """
    Path(path).write_bytes(stereo_wav(timeline))
