"""One side of a recording on its time line: sound stands where it was heard, and where there was none is silence."""

from __future__ import annotations

from ..formats import SAMPLE_BYTES
from .levels import is_loud

JITTER_S = 0.2
"""What comes so much later than the end of what came before follows it; what is later still stands where it came."""

PLAYED_JITTER_S = 0.06
"""What is sent so much too late to be heard without a hole follows what was sent before: a router has a buffer, too."""

MOST_AHEAD_S = 30.0
"""More than a router keeps (PROTOCOL: about 20 s): what is further ahead is an error of the clock, and is dropped."""


class TimeLine:
    """16-bit mono PCM, of which the end may still change.

    Args:
        rate_hz: its sample rate.

    Attributes:
        written: up to which sample it was taken.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self.written = 0
        self._sound_end = 0  # where the last sound ends, which may be long ago
        self._waiting = bytearray()  # from `written` on

    @property
    def end(self) -> int:
        """Up to which sample there is sound, or was."""
        return self.written + len(self._waiting) // SAMPLE_BYTES

    def came(self, pcm: bytes, at_s: float) -> None:
        """Sound that lasted until `at_s`, as it comes over a network: what follows the sound before it is not moved."""
        samples = len(pcm) // SAMPLE_BYTES
        start = round(at_s * self._rate_hz) - samples
        end = self._sound_end
        if start - end > JITTER_S * self._rate_hz:
            self._put(pcm, start)
        elif max(end, self.written) - start <= samples // 2 or is_loud(pcm):
            self._put(pcm, end)
        # Else it was late, and would delay all that follows: silence can be left out.

    def played(self, pcm: bytes, at_s: float) -> None:
        """Sound that was sent at `at_s`: it begins then, or behind what still plays."""
        at, end = round(at_s * self._rate_hz), self._sound_end
        self._put(pcm, at if at - end > PLAYED_JITTER_S * self._rate_hz else end)

    def cut(self, at_s: float) -> None:
        """What would be heard from `at_s` on never is."""
        keep = max(0, round(at_s * self._rate_hz) - self.written)
        del self._waiting[keep * SAMPLE_BYTES :]
        self._sound_end = min(self._sound_end, self.end)

    def take(self, until: int) -> bytes:
        """The sound up to a sample, which can't change any more."""
        size_bytes = (until - self.written) * SAMPLE_BYTES
        if size_bytes <= 0:
            return b""
        pcm = bytes(self._waiting[:size_bytes]).ljust(size_bytes, b"\0")
        del self._waiting[:size_bytes]
        self.written = until
        return pcm

    def _put(self, pcm: bytes, at: int) -> None:
        if at - self.written <= MOST_AHEAD_S * self._rate_hz:
            self._waiting.extend(bytes(max(0, at - self.end) * SAMPLE_BYTES))
            self._waiting.extend(pcm)
            self._sound_end = self.end
