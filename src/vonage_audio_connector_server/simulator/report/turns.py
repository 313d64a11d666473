"""Who spoke when: what the caller said, when it was answered, and how soon an interruption was obeyed.

All times are seconds on the time line of the recording.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

BEING_HEARD_S = 0.2
"""Something loud this long before, or after, a moment counts as being heard at it."""

OBEYED_S = 0.3
"""An interruption is obeyed where the loudspeaker is silent this soon."""

_PAUSE_S = 1.0  # within one answer, between two of its sentences
_TALKS_ON_S = 0.5  # a pause up to this long behind an interruption doesn't end what is interrupted
_TALKS_ON_CLEARED_S = 0.3  # the same once the server has cleared: what comes then is sooner something new


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something that the caller said, as far as it is loud.

    Attributes:
        start_s: when its first loud frame began.
        end_s: when its last loud frame ended.
        name: how the script calls it; empty where nobody does.
        interrupts: whether it was meant to interrupt.
        speech: its PCM from the first loud frame to the last one.
    """

    start_s: float
    end_s: float
    name: str = ""
    interrupts: bool = False
    speech: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of something that the caller said.

    Attributes:
        to: how the script calls what was said; empty where nobody does.
        said_until_s: when its last loud frame had been said.
        after_s: from there to the first loud frame that was heard after it; None: nothing was heard before the caller
            spoke again, or the call ended.
        overlaps: something was heard already while it was being said, and not because it interrupted that.
    """

    to: str
    said_until_s: float
    after_s: float | None
    overlaps: bool = False


@dataclass(frozen=True, slots=True)
class Interruption:
    """The caller began to speak while something was heard.

    Attributes:
        at_s: when.
        silent_after_s: from there to the end of the last loud frame of what was being heard; None: nothing was.
        heard_s: how much of that answer was heard in all.
        meant: the script calls it an interruption. Else the caller merely spoke at the same time.
    """

    at_s: float
    silent_after_s: float | None
    heard_s: float
    meant: bool


class Turns:
    """The turns of a call.

    Args:
        said: what the caller said, in order.
        loud_s: when each loud frame that was heard began, ascending.
        clears_s: when the server sent its clear commands.
        frame_s: how long a frame lasts.

    Attributes:
        greeting_s: when something was heard before the caller's first word; None: nothing was.
        answers: one for each thing said.
        interruptions: in order.
    """

    def __init__(
        self, said: Sequence[Utterance], loud_s: Sequence[float], clears_s: Sequence[float], frame_s: float
    ) -> None:
        self._loud_s = loud_s
        self._clears_s = clears_s
        self._frame_s = frame_s
        first_word_s = said[0].start_s if said else float("inf")
        self.greeting_s = loud_s[0] if loud_s and loud_s[0] < first_word_s else None
        answers: list[Answer] = []
        interruptions: list[Interruption] = []
        for utterance, after in zip_longest(said, said[1:]):
            interruption = self._interruption(utterance)
            if interruption is not None:
                interruptions.append(interruption)
            until_s = after.start_s if after is not None else float("inf")
            answers.append(self._answer(utterance, interruption, until_s))
        self.answers = tuple(answers)
        self.interruptions = tuple(interruptions)

    def _interruption(self, utterance: Utterance) -> Interruption | None:
        at_s = utterance.start_s
        first = bisect_left(self._loud_s, at_s - BEING_HEARD_S)
        now = bisect_left(self._loud_s, at_s)
        goes_on = now < len(self._loud_s) and self._loud_s[now] < at_s + BEING_HEARD_S
        if not utterance.interrupts and (first == now or not goes_on):
            return None
        if first == now:
            return Interruption(at_s, None, 0.0, utterance.interrupts)
        last = now - 1
        while last + 1 < len(self._loud_s) and self._talks_on(utterance, last):
            last += 1
        end_s = self._loud_s[last] + self._frame_s
        return Interruption(at_s, max(0.0, end_s - at_s), end_s - self._begin_s(now - 1), utterance.interrupts)

    def _talks_on(self, utterance: Utterance, last: int) -> bool:
        """Whether the loud frame behind `last` still belongs to what is interrupted."""
        next_s = self._loud_s[last + 1]
        if next_s < utterance.end_s - self._frame_s:
            return True  # nobody answers what isn't said yet
        cleared = any(utterance.start_s <= clear_s <= next_s for clear_s in self._clears_s)
        return next_s - self._loud_s[last] <= (_TALKS_ON_CLEARED_S if cleared else _TALKS_ON_S)

    def _begin_s(self, of: int) -> float:
        """When the answer began to which this loud frame belongs."""
        while of > 0 and self._loud_s[of] - self._loud_s[of - 1] <= _PAUSE_S:
            of -= 1
        return self._loud_s[of]

    def _answer(self, utterance: Utterance, interruption: Interruption | None, until_s: float) -> Answer:
        after_s = utterance.end_s
        silent_after_s = interruption.silent_after_s if interruption is not None else None
        if silent_after_s is not None:
            after_s = max(after_s, utterance.start_s + silent_after_s)
        # Half a frame of slack: what is said and what is heard have ticks of their own.
        first = bisect_left(self._loud_s, after_s - self._frame_s / 2)
        found = first < len(self._loud_s) and self._loud_s[first] < until_s
        overlaps = interruption is None and bisect_left(self._loud_s, utterance.start_s) < first
        answer_after_s = max(0.0, self._loud_s[first] - utterance.end_s) if found else None
        return Answer(utterance.name, utterance.end_s, answer_after_s, overlaps)
