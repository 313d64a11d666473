"""The audio format of a connection."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import AudioConnectorAudioError

SAMPLE_BYTES = 2
"""16-bit signed little-endian PCM, mono (documented for the Audio Connector)."""

FRAME_MS = 20
"""One binary message is one frame of 20 ms (documented for the Audio Connector)."""

DOCUMENTED_FRAME_BYTES = (320, 640, 960)
"""What a message of the Audio Connector holds: 20 ms at 8, 16 and 24 kHz."""

RESAMPLE_HZ = range(1_000, 768_001)
"""The sample rates that can be changed: below is no speech, above no sound card."""

_RATE = re.compile(r";\s*rate\s*=\s*\"?(\d{4,6})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """The PCM format of one connection: 16-bit little-endian mono at `rate_hz`, in frames of `frame_ms`.

    Attributes:
        rate_hz: samples a second. The Audio Connector documents 8,000, 16,000 and 24,000.
        frame_ms: milliseconds of audio in one message.
    """

    rate_hz: int = 16_000
    frame_ms: int = FRAME_MS

    @property
    def frame_samples(self) -> int:
        """Samples in one frame: 320 at 16 kHz."""
        return self.rate_hz * self.frame_ms // 1000

    @property
    def frame_bytes(self) -> int:
        """Bytes in one frame: 320 at 8 kHz, 640 at 16 kHz, 960 at 24 kHz."""
        return self.frame_samples * SAMPLE_BYTES

    @property
    def frame_s(self) -> float:
        """Seconds of audio in one frame."""
        return self.frame_ms / 1000

    @property
    def content_type(self) -> str:
        """The form in which the first message of a connection states it: `audio/l16;rate=16000`."""
        return f"audio/l16;rate={self.rate_hz}"

    @classmethod
    def from_content_type(cls, content_type: str) -> AudioFormat | None:
        """Read `audio/l16;rate=16000`. None where it states no rate that cuts into whole 20 ms frames."""
        found = _RATE.search(content_type)
        return cls.from_rate(int(found[1])) if found else None

    @classmethod
    def from_rate(cls, rate_hz: int) -> AudioFormat | None:
        """The format at this rate; None below 8 kHz, above 48 kHz, or where 10 ms is not whole samples."""
        return cls(rate_hz) if 8_000 <= rate_hz <= 48_000 and rate_hz % 100 == 0 else None

    @classmethod
    def from_frame_bytes(cls, frame_bytes: int) -> AudioFormat | None:
        """Tell the format from the size of a 20 ms frame: 320, 640 or 960 bytes; None for any other."""
        return cls(frame_bytes * 25) if frame_bytes in DOCUMENTED_FRAME_BYTES else None


def check_rate(name: str, rate_hz: object) -> None:
    """Refuse what is no sample rate.

    Raises:
        AudioConnectorAudioError: naming `name`.
    """
    if type(rate_hz) is not int or rate_hz not in RESAMPLE_HZ:
        raise AudioConnectorAudioError(
            f"{name} must be a sample rate of {RESAMPLE_HZ[0]:,} to {RESAMPLE_HZ[-1]:,} Hz, not {rate_hz!r}"
        )
