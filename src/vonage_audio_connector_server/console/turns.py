"""Who spoke when, as it happens: how soon an answer began, and how soon an interruption was obeyed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from ..simulator.twin import Twin

PAUSE_S = 0.4
"""A caller who says nothing for this long has ended."""

SPEECH_FRAMES = 5
"""100 ms: less is a click."""

SILENT_S = 0.3
"""The program is silent where nothing loud follows for this long: words have shorter pauses."""

ANSWER_PAUSE_S = 1.0
"""What follows within this time belongs to the same answer."""

OBEYS_S = 3.0
"""A program that speaks on for longer did not let itself be interrupted."""


class Turns:
    """Looks at what is said and heard in one call. Times are seconds since the accept.

    Args:
        twin: the router's end of it.
    """

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._frame_s = twin.audio_format.frame_s
        self._loud_frames = 0  # since the caller began
        self._began_s = self._loud_until_s = 0.0
        self._ended_s: float | None = None  # the end of the caller's speech, whose answer has not begun
        self._interrupted_s: float | None = None  # since when the caller speaks while the program does
        self._read = 0  # of what the caller was told to say: it may interrupt in the middle of other speech

    def said(self, at_s: float, loud: bool) -> None:
        """A frame of the caller's."""
        if loud:
            if not self._loud_frames:
                self._began_s = at_s
            self._loud_frames += 1
            self._loud_until_s = at_s + self._frame_s
            if self._loud_frames == SPEECH_FRAMES:
                self._ended_s = None
                self._interrupts(self._began_s)
        elif self._loud_frames and at_s - self._loud_until_s >= PAUSE_S:
            if self._loud_frames >= SPEECH_FRAMES:
                self._ended_s = self._loud_until_s
            self._loud_frames = 0

    def new(self) -> list[dict[str, Any]]:
        """What has become known since it was asked last: answers, and interruptions that were obeyed or weren't."""
        found: list[dict[str, Any]] = []
        now_s = self._twin.router.tick * self._frame_s
        while self._read < len(self._twin.said) and (said := self._twin.said[self._read]).start_s is not None:
            self._read += 1
            if said.interrupts:
                self._interrupts(said.start_s)
        if self._ended_s is not None:
            start_s = self._first_loud_s(self._ended_s)
            if start_s is not None and start_s < now_s:
                found.append({"answered_after_s": round(start_s - self._ended_s, 2), "at_s": round(start_s, 2)})
                self._ended_s = None
        if self._interrupted_s is not None:
            at_s, answer = self._interrupted_s, self._answer_at(self._interrupted_s)
            if answer is None:  # it was cleared before it was heard
                self._interrupted_s = None
            elif now_s >= answer[1] + SILENT_S or now_s >= at_s + OBEYS_S:
                start_s, end_s = answer
                is_silent = now_s >= end_s + SILENT_S
                self._interrupted_s = None
                if end_s > at_s:
                    found.append(
                        {
                            "interrupted_at_s": round(at_s, 2),
                            "silent_after_s": round(end_s - at_s, 2) if is_silent else None,
                            "heard_s": round(min(end_s, now_s) - start_s, 2),
                        }
                    )
        return found

    def _interrupts(self, at_s: float) -> None:
        """The caller begins to speak: it is an interruption if the program is heard to."""
        if self._interrupted_s is None and self._answer_at(at_s) is not None:
            self._interrupted_s = at_s

    def _first_loud_s(self, since_s: float) -> float | None:
        """When something loud is heard first, from a time on."""
        loud = self._twin.loud
        index = bisect_left(loud, since_s, key=self._starts_s)
        return self._starts_s(loud[index]) if index < len(loud) else None

    def _answer_at(self, at_s: float) -> tuple[float, float] | None:
        """The answer that is heard at a time: since when and until when, the pauses between its words included."""
        runs, pause = self._twin.loud, SILENT_S / self._frame_s
        first = last = bisect_right(runs, at_s, key=self._starts_s) - 1
        if first < 0 or at_s - runs[first][1] * self._frame_s > SILENT_S:
            return None
        while first > 0 and runs[first][0] - runs[first - 1][1] <= ANSWER_PAUSE_S / self._frame_s:
            first -= 1
        while last + 1 < len(runs) and runs[last + 1][0] - runs[last][1] <= pause:
            last += 1
        return self._starts_s(runs[first]), runs[last][1] * self._frame_s

    def _starts_s(self, run: list[int]) -> float:
        return run[0] * self._frame_s
