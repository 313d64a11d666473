"""The question of a call: its PCM in whole frames, and where the speech in it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import AudioConnectorAudioError
from ..formats import FRAME_MS, SAMPLE_BYTES, AudioFormat
from .loudness import loud_ticks
from .wav import RATES_HZ

FRAMES_MS = (10, 20)
"""The router's frames last 20 ms (D, V). Those of 10 ms are for trying what a server makes of them."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is said in a call.

    Attributes:
        audio_format: the format of the call.
        pcm: whole frames; the last one is padded with silence.
        loud: the numbers of its loud frames, ascending.
    """

    audio_format: AudioFormat
    pcm: bytes
    loud: Sequence[int]

    @classmethod
    def from_pcm(cls, pcm: bytes, rate_hz: int, frame_ms: int = FRAME_MS) -> Question:
        """Cut PCM into frames.

        Raises:
            AudioConnectorAudioError: it is empty or holds half a sample, the rate is none of the Audio Connector, or a
                frame lasts neither 10 nor 20 ms.
        """
        if rate_hz not in RATES_HZ:
            raise AudioConnectorAudioError(f"rate_hz must be 8000, 16000 or 24000, not {rate_hz!r}")
        if type(frame_ms) is not int or frame_ms not in FRAMES_MS:
            raise AudioConnectorAudioError(f"frame_ms must be 10 or 20, not {frame_ms!r}")
        if not pcm or len(pcm) % SAMPLE_BYTES:
            raise AudioConnectorAudioError(f"audio must be whole samples of 16-bit PCM, which {len(pcm)} bytes are not")
        audio_format = AudioFormat(rate_hz, frame_ms)
        padded = pcm + bytes(-len(pcm) % audio_format.frame_bytes)
        return cls(audio_format, padded, loud_ticks(padded, audio_format))

    @property
    def ticks(self) -> int:
        """How many frames it has."""
        return len(self.pcm) // self.audio_format.frame_bytes

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return self.ticks * self.audio_format.frame_s

    @property
    def end_tick(self) -> int:
        """Its last loud frame; -1 for a question without one: then every sound counts as an answer."""
        return self.loud[-1] if self.loud else -1

    @property
    def speech(self) -> bytes:
        """From the first to the last loud frame."""
        return self.frames(self.loud[0], self.loud[-1] + 1) if self.loud else b""

    def frames(self, start: int, end: int) -> bytes:
        """The frames from `start` to before `end`, as far as it has them."""
        frame_bytes = self.audio_format.frame_bytes
        return self.pcm[start * frame_bytes : end * frame_bytes]
