"""The text of what an agent says without a break: pieces of LiveKit's, and which of them were heard."""

from __future__ import annotations

from ...core.spoken_text import SpokenText, Word


class Transcript:
    """It grows while it is said, and often before.

    Attributes:
        is_complete: no more text will come.
        is_spoken: its sound has begun to come.
    """

    def __init__(self) -> None:
        self.is_complete = self.is_spoken = False
        self._texts: list[tuple[str, Word | None]] = []

    def add(self, text: str) -> None:
        """More of it; a `TimedString` tells when it is spoken."""
        begins_s, ends_s = getattr(text, "start_time", None), getattr(text, "end_time", None)
        word: Word | None = None
        if isinstance(begins_s, (int, float)) and isinstance(ends_s, (int, float)) and text.strip():
            word = text.strip(), begins_s, ends_s
        self._texts.append((str(text), word))

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(text for text, _ in self._texts)

    def heard(self, heard_s: float, duration_s: float, *, is_complete: bool) -> str:
        """Its words that were heard; see `SpokenText.heard`."""
        spoken = SpokenText()
        words = [word for _, word in self._texts if word is not None]
        if len(words) < sum(bool(text.strip()) for text, _ in self._texts):
            words = []  # of some nobody knows when they are spoken
        spoken.add(self.text, words, 0.0)
        return spoken.heard(heard_s, duration_s, is_complete=is_complete)
