"""The words of an utterance, and how many of them were heard when so much of its sound was. No I/O, no clock.

Times are seconds on the line of the utterance's own sound. Where a synthesis tells when each word is spoken, those
times hold; else the words of a text share the time of its sound by their letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

CHARS_PER_S = 15.0
"""How fast speech is, where nothing tells: about 150 English words a minute."""

Word = tuple[str, float, float]
"""A word, and when it begins and ends, in seconds since the beginning of the sound that it came with."""

_EPSILON_S = 0.001  # of floating point

_WORD = re.compile(r"\S+")
_ENDS = tuple(".!?,;:…。！？")  # noqa: RUF001 (of Chinese and Japanese)


@dataclass(frozen=True, slots=True)
class _Part:
    """A text, and where its sound begins."""

    text: str
    start_s: float
    ends_s: tuple[float, ...]  # of its words, where the synthesis has told


class SpokenText:
    """What one utterance says.

    Attributes:
        text: all of it.
    """

    def __init__(self) -> None:
        self.text = ""
        self._parts: list[_Part] = []

    def add(self, text: str, words: Sequence[Word], start_s: float) -> None:
        """A text joins, whose sound begins at `start_s`; that goes on until the next text comes.

        Args:
            text: as it is written; empty: the words, with spaces between.
            words: when its words are spoken; empty: unknown.
            start_s: how long the sound of the utterance was until then.
        """
        text = text or " ".join(word for word, _, _ in words)
        if not text:
            return
        if self.text.endswith(_ENDS) and not text[0].isspace():
            text = " " + text
        # A word counts as heard in the middle of its sound.
        ends_s = tuple(start_s + (begins_s + ends_s) / 2 for _, begins_s, ends_s in words)
        self.text += text
        if self._parts and self._parts[-1].start_s >= start_s:  # they share one sound
            before = self._parts.pop()
            ends_s = before.ends_s + ends_s if before.ends_s and ends_s else ()
            text = before.text + text
        self._parts.append(_Part(text, start_s, ends_s))

    def heard(self, heard_s: float, duration_s: float, *, is_complete: bool) -> str:
        """The words that were heard.

        Args:
            heard_s: so much of the sound was.
            duration_s: so much of it there is by now.
            is_complete: no more of it would have come.
        """
        heard = ""
        heard_s += _EPSILON_S
        parts = self._parts
        for number, part in enumerate(parts, 1):
            if number < len(parts):
                end_s = parts[number].start_s
            else:
                end_s = duration_s if is_complete else max(duration_s, part.start_s + len(part.text) / self._pace())
            if end_s <= part.start_s:  # its sound never came
                break
            if heard_s < end_s:
                return (heard + self._begun(part, heard_s, end_s)).rstrip()
            heard += part.text
        return heard.rstrip()

    def _begun(self, part: _Part, heard_s: float, end_s: float) -> str:
        """The words of one text that were heard."""
        words = list(_WORD.finditer(part.text))
        if part.ends_s:
            # The synthesis may count words otherwise: 'ten past' for '10:10'.
            share = sum(heard_s >= at_s for at_s in part.ends_s) / len(part.ends_s)
            count = round(share * len(words))
        else:
            reached = max(0.0, heard_s - part.start_s) / (end_s - part.start_s) * len(part.text)
            count = sum((word.start() + word.end()) / 2 <= reached for word in words)
        return part.text[: words[count - 1].end()] if count else ""

    def _pace(self) -> float:
        """Letters a second, by what is known of the texts before the last one."""
        first, last = self._parts[0], self._parts[-1]
        letters, seconds = sum(len(part.text) for part in self._parts[:-1]), last.start_s - first.start_s
        return letters / seconds if letters and seconds > 0 else CHARS_PER_S
