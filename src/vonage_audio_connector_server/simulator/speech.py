"""Speech that comes with the package, for who has no recording at hand; its README tells where it is from."""

from __future__ import annotations

from pathlib import Path

from ..audio.sound_files import read_audio

FOLDER = Path(__file__).parent / "recordings"

RECORDINGS = tuple(sorted(path.stem for path in FOLDER.glob("*.wav")))
"""Their names: `librivox-1` to `librivox-5`, `go-forward-ten-meters`."""

_INTERJECTION = "librivox-4", 0.52, 1.12
"""Loud and voiced from its first frame on: a detector of voice needs no time to be sure."""


def recording(name: str, rate_hz: int) -> bytes:
    """One of the recordings, as PCM at this rate.

    Raises:
        AudioConnectorAudioError: there is none of this name.
        MissingExtraError: another rate than 16000 takes soxr.
    """
    return read_audio(FOLDER / f"{name}.wav", rate_hz=rate_hz)[0]


def interjection(rate_hz: int) -> bytes:
    """What somebody says who interrupts, as PCM at this rate."""
    name, start_s, end_s = _INTERJECTION
    first, last = (round(at_s * rate_hz) * 2 for at_s in (start_s, end_s))
    return recording(name, rate_hz)[first:last]
