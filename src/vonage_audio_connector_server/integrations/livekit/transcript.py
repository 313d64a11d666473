"""The text of what an agent says without a break: pieces of LiveKit's, and which of their words were heard."""

from __future__ import annotations

from ...core.spoken_text import SpokenText


class Transcript:
    """It grows while it is said, and often before.

    Attributes:
        is_complete: no more text will come.
        is_spoken: its sound has begun to come.
    """

    def __init__(self) -> None:
        self.is_complete = self.is_spoken = False
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """More of it. A `TimedString` tells when it is spoken, or when it begins to be."""
        self._texts.append(text)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._texts)

    def heard(self, heard_s: float, duration_s: float, *, is_complete: bool) -> str:
        """Its words that were heard; see `SpokenText.heard`."""
        spoken, untimed = SpokenText(), ""
        start_s = 0.0
        for text in self._texts:
            begins_s, ends_s = (_seconds(getattr(text, name, None)) for name in ("start_time", "end_time"))
            if begins_s is None or not text.strip():
                untimed += text
                continue
            spoken.add(untimed, (), start_s)
            untimed, start_s = "", begins_s
            if ends_s is None:
                untimed = text
            else:
                spoken.add(text, [(text.strip(), 0.0, ends_s - begins_s)], begins_s)
        spoken.add(untimed, (), start_s)
        return spoken.heard(heard_s, duration_s, is_complete=is_complete)


def _seconds(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None
