"""Something that the caller says: its frames, and when it was said."""

from __future__ import annotations

from ..audio.levels import loud_ticks
from ..formats import AudioFormat


class Said:
    """One utterance of the caller, cut into frames; the last one is padded with silence.

    Args:
        pcm: 16-bit mono PCM at the rate of the call.
        audio_format: of the call.
        name: how reports call it; a file name as a rule.
        interrupts: it is meant to interrupt.

    Attributes:
        start_s: when its first frame went out, in seconds since the accept; None: it has not yet.
        end_s: when its last frame had been said; None: it has not.
        loud: the numbers of its loud frames, ascending.
    """

    def __init__(self, pcm: bytes, audio_format: AudioFormat, *, name: str = "", interrupts: bool = False) -> None:
        self.pcm = pcm + bytes(-len(pcm) % audio_format.frame_bytes)
        self.name = name
        self.interrupts = interrupts
        self.start_s: float | None = None
        self.end_s: float | None = None
        self._format = audio_format
        self._at = 0  # of the next frame, in bytes
        self.loud = loud_ticks(self.pcm, audio_format)

    @property
    def duration_s(self) -> float:
        """How long it takes to say it."""
        return len(self.pcm) / self._format.frame_bytes * self._format.frame_s

    @property
    def said_s(self) -> float:
        """How much of it has been said."""
        return self._at / self._format.frame_bytes * self._format.frame_s

    @property
    def speech_s(self) -> float:
        """From its beginning to the end of its last loud frame; 0 for one without: then all counts as an answer."""
        return (self.loud[-1] + 1) * self._format.frame_s if self.loud else 0.0

    @property
    def speech(self) -> bytes:
        """From its first to its last loud frame."""
        if not self.loud:
            return b""
        frame_bytes = self._format.frame_bytes
        return self.pcm[self.loud[0] * frame_bytes : (self.loud[-1] + 1) * frame_bytes]

    def last(self, size_bytes: int) -> bytes:
        """The end of what has been said; empty once all has been."""
        return b"" if self.end_s is not None else self.pcm[max(0, self._at - size_bytes) : self._at]

    def next_frame(self) -> bytes | None:
        """The next frame; None: all of it has been said."""
        frame = self.pcm[self._at : self._at + self._format.frame_bytes]
        self._at += len(frame)
        return frame or None
