"""When the words of a speech are heard: their places on the line of the playout. No I/O.

A word counts as heard in the middle of its sound. Some speech services tell when each word is spoken, as a time of the
pipeline's clock that supposes that audio is heard when it comes; such times are counted from where that audio stands on
the line. Others give whole texts, behind or before their sound: those words share the sound by their letters.
"""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipecat.frames.frames import TTSTextFrame
from pipecat.utils.utils import obj_count, obj_id

from ...core.spoken_text import CHARS_PER_S
from .playout import NEAR_S

NANOSECONDS = 1_000_000_000

MOST_CONTEXTS = 16
"""So many speeches are remembered: a service brings the words of two or three at a time."""

_WORD = re.compile(r"\s*\S+\s*")


@dataclass(slots=True)
class _Sound:
    """A stretch of audio, and the texts that are spoken in it.

    Attributes:
        start_s: its place on the line.
        end_s: where it ends; None: more of it may come.
        words: those that were not heard yet: the frame, and the share of all letters up to its middle, in letters.
        letters: of all texts.
    """

    start_s: float
    end_s: float | None
    words: deque[tuple[TTSTextFrame, float]] = field(default_factory=deque)
    letters: int = 0


class SpokenWords:
    """The words of one call that wait to be heard."""

    def __init__(self) -> None:
        self._contexts: dict[str | None, tuple[float, int]] = {}  # of each speech: its place, and when it came, in ns
        self._latest: tuple[float, int] | None = None  # that of the word that came last
        self._latest_word_s = 0.0
        self._sounds: deque[_Sound] = deque()
        self._audio_since_s: float | None = None  # no text has come since this place

    def audio_came(self, context_id: str | None, start_s: float, now_ns: int) -> None:
        """Speech was sent.

        Args:
            context_id: of which speech; None: of the one that began last.
            start_s: its place.
            now_ns: by the pipeline's clock.
        """
        if self._audio_since_s is None:
            self._audio_since_s = start_s
        self._anchor(context_id, start_s, now_ns)

    def speech_began(self) -> None:
        """Another speech comes; one that has no id is told from the one before by this."""
        self._contexts.pop(None, None)

    def speech_ended(self, end_s: float) -> None:
        """No more of the speech comes: what was said is as long as it is by now."""
        self._close(end_s)
        self._audio_since_s = None

    def place_s(self, frame: Any, end_s: float, now_ns: int) -> float:
        """The place of a frame that has a time; of a word, its middle. What is no word comes behind the words."""
        is_word = isinstance(frame, TTSTextFrame)
        anchor = self._latest
        if is_word:  # perhaps it comes ahead of its sound, but in the same moment
            self._latest = anchor = self._anchor(frame.context_id, end_s, now_ns)
            self._audio_since_s = None
        if anchor is None:
            return end_s
        at_s: float = anchor[0] + (frame.pts - anchor[1]) / NANOSECONDS
        if is_word:
            at_s += len(frame.text.strip()) / CHARS_PER_S / 2
        self._latest_word_s = max(at_s, self._latest_word_s)
        return self._latest_word_s

    def add_text(self, frame: TTSTextFrame, end_s: float) -> None:
        """A text without a time: of the sound since the text before or, where there is none, of what comes."""
        since_s = self._audio_since_s
        is_open = bool(self._sounds) and self._sounds[-1].end_s is None
        if since_s is not None and not is_open:
            sound = _Sound(since_s, end_s)
            self._sounds.append(sound)
        elif is_open and since_s is None:
            sound = self._sounds[-1]
        else:
            self._close(end_s)
            sound = _Sound(end_s, None)
            self._sounds.append(sound)
        self._audio_since_s = None
        for word in _words(frame):
            letters = len(word.text)
            sound.words.append((word, sound.letters + letters / 2))
            sound.letters += letters

    def heard(self, heard_s: float, end_s: float) -> Iterator[TTSTextFrame]:
        """The words that were heard by now, each once.

        Args:
            heard_s: up to this place.
            end_s: where the last audio ends.
        """
        while self._sounds:
            sound = self._sounds[0]
            while sound.words and self._due_s(sound, end_s) <= heard_s + NEAR_S:
                yield sound.words.popleft()[0]
                if not self._sounds or self._sounds[0] is not sound:  # interrupted meanwhile
                    return
            if sound.words or sound.end_s is None:
                return
            self._sounds.popleft()

    def next_s(self, end_s: float) -> float | None:
        """The place of the next word; None: there is none."""
        words = (self._due_s(sound, end_s) for sound in self._sounds if sound.words)
        return next(words, None)

    @property
    def is_waiting(self) -> bool:
        """Whether words wait to be heard."""
        return any(sound.words for sound in self._sounds)

    def drop(self, heard_s: float) -> None:
        """What was not heard never will be."""
        self._sounds.clear()
        self._contexts.clear()
        self._latest = self._audio_since_s = None
        self._latest_word_s = heard_s

    # Inside

    def _anchor(self, context_id: str | None, start_s: float, now_ns: int) -> tuple[float, int]:
        """Where the sound of a speech begins, and when it came; from the first that comes of it."""
        contexts = self._contexts
        if context_id is None and contexts:  # some services name it on their audio alone
            context_id = next(reversed(contexts))
        if context_id not in contexts:
            if len(contexts) == MOST_CONTEXTS:
                del contexts[next(iter(contexts))]
            contexts[context_id] = start_s, now_ns
        return contexts[context_id]

    def _close(self, end_s: float) -> None:
        if self._sounds and self._sounds[-1].end_s is None:
            self._sounds[-1].end_s = end_s

    def _due_s(self, sound: _Sound, end_s: float) -> float:
        sound_end_s = sound.end_s
        if sound_end_s is None:  # as long as it must be, if speech is as fast as it mostly is
            sound_end_s = max(end_s, sound.start_s + sound.letters / CHARS_PER_S)
        share = sound.words[0][1] / sound.letters if sound.letters else 0.0
        return sound.start_s + (sound_end_s - sound.start_s) * share


def _words(frame: TTSTextFrame) -> list[TTSTextFrame]:
    """A text, word by word; as it is, where what is remembered of it is not what is spoken."""
    texts = _WORD.findall(frame.text)
    if len(texts) < 2 or getattr(frame, "raw_text", None):
        return [frame]
    words = []
    for text in texts:
        word = copy.copy(frame)
        word.id = obj_id()
        word.name = f"{type(frame).__name__}#{obj_count(word)}"
        word.text = text if frame.includes_inter_frame_spaces else text.strip()
        word.metadata = dict(frame.metadata)
        setattr(word, "text_type" if hasattr(frame, "text_type") else "aggregated_by", "word")
        words.append(word)
    return words
