"""Whether what was heard sounds right: clipping, clicks, noise, a file's header played as audio. Plain Python.

Every threshold was tried on real speech at 8, 16 and 24 kHz, which triggers none of them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import mul

from ...formats import AudioFormat

CLIPPED_SHARE = 0.001
"""One sample in a thousand at full scale: it crackles."""

NOISE_SHARE = 0.3
"""This share of the loud frames is noise: it isn't speech that was played."""

CLICK = 3000
"""A first sample this far from digital silence, a tenth of full scale, is heard as a click."""

# Of a sample, at -14 dBFS: the noise of misread bytes is at -5, fricatives, which look like it, are at -45 to -25.
_NOISE_ENERGY = (32_768 * 10 ** (-14 / 20)) ** 2
_NOISE_CORRELATION = 0.4  # of a sample with the next one: white noise has 0, voiced speech more than 0.7
_FEWEST_FRAMES = 10
_SILENCE_SAMPLES = 32  # zeros before a click


@dataclass(frozen=True, slots=True)
class Sound:
    """What was found in the sound. Times are seconds on the time line of the recording.

    Attributes:
        clipped_share: how many of the samples of loud frames are at full scale, from 0 to 1.
        noise_share: how many of the loud frames are noise, from 0 to 1.
        click_at_s: when an answer began with a click; None: none did.
        header_at_s: when the header of a WAV file was played; None: never.
        speed: how fast the question came back, 1 as it was said; None: not looked for, or not found.
    """

    clipped_share: float = 0.0
    noise_share: float = 0.0
    click_at_s: float | None = None
    header_at_s: float | None = None
    speed: float | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with it, as sentences."""
        found = []
        if self.header_at_s is not None:
            found.append(
                f"the header of a WAV file was played as audio at {self.header_at_s:.2f} s: send only the samples"
            )
        if self.noise_share >= NOISE_SHARE:
            found.append(
                f"{self.noise_share:.0%} of what was loud is noise: the audio is not 16-bit little-endian PCM, or "
                "it is a file as it stands"
            )
        elif self.clipped_share >= CLIPPED_SHARE:
            found.append(f"{self.clipped_share:.1%} of the samples are at full scale: it is too loud, and clips")
        if self.click_at_s is not None and self.header_at_s is None and self.noise_share < NOISE_SHARE:
            found.append(f"a click at {self.click_at_s:.2f} s: the audio begins in the middle of a sound")
        if self.speed is not None and self.speed != 1:
            found.append(f"it came back at {self.speed:.2g} × the speed: the sample rate of the answer is wrong")
        return tuple(found)


def sound_of(
    heard: bytes, audio_format: AudioFormat, loud: Sequence[int], begin_s: float, resumed: frozenset[int]
) -> Sound:
    """What is to be found in what was heard.

    Args:
        heard: 16-bit mono PCM from `begin_s` on.
        audio_format: its format.
        loud: its loud ticks, ascending.
        begin_s: the time of tick 0.
        resumed: the ticks at which audio goes on after a gap: what clicks there is the gap's fault.
    """
    samples = array("h", heard)
    if sys.byteorder == "big":
        samples.byteswap()
    size = audio_format.frame_samples
    noisy = clipped = 0
    click_at_s = None
    for tick, before in zip(loud, [-2, *loud], strict=False):
        frame = samples[tick * size : (tick + 1) * size]
        clipped += frame.count(32_767) + frame.count(-32_768)
        noisy += _is_noise(frame)
        if click_at_s is None and tick != before + 1 and tick not in resumed:
            click = _click(samples, tick * size, size)
            click_at_s = None if click is None else begin_s + click / audio_format.rate_hz
    header_at = next(_headers(heard), None)
    return Sound(
        clipped_share=clipped / (len(loud) * size) if loud else 0.0,
        noise_share=noisy / len(loud) if len(loud) >= _FEWEST_FRAMES else 0.0,
        click_at_s=click_at_s,
        header_at_s=None if header_at is None else begin_s + header_at / 2 / audio_format.rate_hz,
    )


def _is_noise(frame: array[int]) -> bool:
    """Whether it is loud, and no sample tells anything about the next one."""
    energy: int = sum(map(mul, frame, frame))
    if energy <= _NOISE_ENERGY * len(frame):
        return False
    with_next: int = sum(map(mul, frame, frame[1:]))
    return with_next < _NOISE_CORRELATION * energy


def _click(samples: array[int], start: int, count: int) -> int | None:
    """The first sample of a frame that stands far from the digital silence before it; at the start of all, too."""
    for at in range(start, min(start + count, len(samples))):
        if samples[at]:
            is_click = abs(samples[at]) >= CLICK and not any(samples[max(0, at - _SILENCE_SAMPLES) : at])
            return at if is_click else None
    return None


def _headers(heard: bytes) -> Iterator[int]:
    """Where WAV headers stand, in bytes."""
    at = heard.find(b"RIFF")
    while at >= 0:
        if heard[at + 8 : at + 12] == b"WAVE":
            yield at
        at = heard.find(b"RIFF", at + 1)
