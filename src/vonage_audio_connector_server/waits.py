"""Waiting for something that a call brings about: room in the queue, the end of what plays, the audio format.

Each wait is a question that the call asks anew after each change, and when its time has come. So no task waits for a
task, one timer serves all of them, and all end when the call ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import anyio

Question = Callable[[float], float | None]
"""Asked with the time: None, it is over; else when to ask again at the latest, and `CHANGED` where only a change can
bring the answer."""

CHANGED: Final = math.inf


class Waits:
    """All that is waited for in one call. Only in the thread of its event loop.

    Args:
        clock: the clock of the call.
        arm: called with the time when to `ask` again at the latest, and the time.

    Attributes:
        open: what is waited for, and what is called when it is over.
        timed: the same, of questions that a send only puts off: they are not asked behind each one.
    """

    def __init__(self, clock: Callable[[], float], arm: Callable[[float, float], None]) -> None:
        self.open: list[tuple[Question, Callable[[], object]]] = []
        self.timed: list[tuple[Question, Callable[[], object]]] = []
        self._clock = clock
        self._arm = arm

    def add(self, question: Question, on_over: Callable[[], object], *, timed: bool = False) -> None:
        """Call `on_over`, which must not raise, once the question is over: at once, where it is already."""
        (self.timed if timed else self.open).append((question, on_over))
        now_s = self._clock()
        again_s = self.ask(now_s)
        if again_s < CHANGED:
            self._arm(again_s, now_s)

    def is_over(self, question: Question) -> bool:
        """Whether a question is over now."""
        return question(self._clock()) is None

    async def wait(self, question: Question) -> None:
        """Wait in a task of this event loop until the question is over. Cancelling it changes nothing."""
        if self.is_over(question):
            return
        over = anyio.Event()
        set_over = over.set
        self.add(question, set_over)
        try:
            await over.wait()
        finally:
            self.open = [wait for wait in self.open if wait[1] is not set_over]

    def ask(self, now_s: float) -> float:
        """Ask all questions; returns when to ask again at the latest."""
        next_s = CHANGED
        for waits in (self.open, self.timed):
            for wait in waits[:]:
                again_s = wait[0](now_s)
                if again_s is not None:
                    next_s = min(next_s, again_s)
                elif wait in waits:  # else what was over just now has ended this one, too
                    waits.remove(wait)
                    wait[1]()
        return next_s
