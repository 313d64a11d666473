"""What a program says before the audio format is known: it waits here, uncut."""

from __future__ import annotations

from .playout import Playout


class Early:
    """Audio, and the texts that follow it.

    Attributes:
        size_bytes: how much audio waits.
    """

    __slots__ = ("_audio", "_queued_at_s", "_texts", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self._audio: list[tuple[bytes, bool]] = []  # (pcm, whether an utterance ends there)
        self._texts: list[tuple[int, str]] = []  # (how much of what was accepted it follows, text)
        self._queued_at_s = 0.0

    def __bool__(self) -> bool:
        return bool(self._audio)

    def push(self, pcm: bytes, now_s: float, *, end: bool) -> None:
        """Audio was queued."""
        self._audio.append((pcm, end))
        self.size_bytes += len(pcm)
        self._queued_at_s = now_s

    def notify(self, text: str, accepted: int) -> None:
        """A text is to follow so much of the audio that was accepted."""
        self._texts.append((accepted, text))

    def clear(self) -> None:
        """Forget all of it."""
        self._audio.clear()
        self._texts.clear()
        self.size_bytes = 0

    def pour(self, out: Playout) -> None:
        """The format is known: give all of it to the queue."""
        for pcm, end in self._audio:
            out.push(pcm, self._queued_at_s, end=end)
        for accepted, text in self._texts:
            out.notify(text, out.ledger.wire_of(accepted))
        self.clear()
