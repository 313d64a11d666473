"""What a listener waits for: an answer to what was said last, and the end of it. Times are seconds since the accept."""

from __future__ import annotations

from ..waits import CHANGED
from .said import Said
from .twin import Twin

_EPSILON = 1e-6  # seconds by which floats may miss a moment


class Listening:
    """Listens to what a router plays.

    Args:
        twin: the router's end of the call.

    Attributes:
        said: what is answered; None: what is loud from `since_s` on is an answer.
        since_s: when the last answer was over.
    """

    def __init__(self, twin: Twin) -> None:
        self.said: Said | None = None
        self.since_s = 0.0
        self._twin = twin
        self._frame_s = twin.audio_format.frame_s

    def mark_s(self, at_s: float) -> float:
        """The end of the speech that is answered; `at_s` where it has not begun."""
        said = self.said
        if said is None or not said.loud:  # nothing was asked: every sound counts
            return self.since_s
        if said.start_s is None:
            return at_s
        return min(said.start_s + said.speech_s, CHANGED if said.end_s is None else said.end_s)

    def answer_s(self, at_s: float) -> float | None:
        """Since when an answer is heard, or is going to be; None: there is none."""
        if self.said is not None and self.said.start_s is None:
            return None
        mark_s, first_s = self.mark_s(at_s), None
        for start, end in reversed(self._twin.loud):
            if end * self._frame_s <= mark_s + _EPSILON:
                break
            first_s = max(start * self._frame_s, mark_s)
        return first_s

    def loud_until_s(self) -> float:
        """Until when something loud is heard, as far as is known."""
        return self._twin.loud[-1][1] * self._frame_s if self._twin.loud else 0.0

    def until_answer(self, now_s: float, within_s: float) -> float | None:
        """Is an answer heard, or none in time? See `Question`; the times are those of the clock."""
        at_s = now_s - self._twin.origin_s
        answer_s = self.answer_s(at_s)
        until_s = self.mark_s(at_s) + within_s if answer_s is None else answer_s
        return None if at_s >= until_s - _EPSILON else self._twin.origin_s + until_s

    def until_over(self, now_s: float, quiet_s: float, limit_s: float) -> float | None:
        """Is the answer over, for so long, or has its limit come? See `Question`."""
        over_s = min(self.loud_until_s() + quiet_s, limit_s) + _EPSILON
        return None if now_s - self._twin.origin_s >= over_s else self._twin.origin_s + over_s
