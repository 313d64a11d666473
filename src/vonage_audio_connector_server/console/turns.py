"""Who spoke when, as it happens: how soon an answer began, and how soon an interruption was obeyed."""

from __future__ import annotations

from typing import Any

from ..simulator.call import Saying
from ..simulator.twin import Twin

PAUSE_S = 0.4
"""A caller who says nothing for this long has ended."""

SPEECH_FRAMES = 5
"""100 ms: less is a click."""

SILENT_S = 0.3
"""The loudspeaker is silent where nothing loud follows for this long."""


class Turns:
    """Looks at what is said and heard in one call; asked again and again.

    Args:
        twin: the router's end of it.
    """

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._frame_s = twin.audio_format.frame_s
        self._loud_frames = 0  # since the caller began
        self._loud_until_s = 0.0
        self._ended_s: float | None = None  # the caller's last speech, whose answer has not begun
        self._interruptions: list[Saying] = []

    def said(self, at_s: float, loud: bool) -> None:
        """A frame of the caller's."""
        if loud:
            self._loud_frames += 1
            self._loud_until_s = at_s + self._frame_s
            self._ended_s = None
        elif self._loud_frames and at_s - self._loud_until_s >= PAUSE_S:
            if self._loud_frames >= SPEECH_FRAMES:
                self._ended_s = self._loud_until_s
            self._loud_frames = 0

    def interrupted(self, saying: Saying) -> None:
        """The caller interrupts."""
        self._interruptions.append(saying)

    def new(self) -> list[dict[str, Any]]:
        """What has become known since it was asked last."""
        found: list[dict[str, Any]] = []
        now_tick = self._twin.router.tick
        if self._ended_s is not None:
            starts = [start * self._frame_s for start, _ in self._twin.loud if start < now_tick]
            after = [start_s for start_s in starts if start_s >= self._ended_s]
            if after:
                found.append({"answered_after_s": round(after[0] - self._ended_s, 2), "at_s": round(after[0], 2)})
                self._ended_s = None
        for saying in list(self._interruptions):
            silent = self._silenced(saying, now_tick)
            if silent is not None:
                found.append(silent)
                self._interruptions.remove(saying)
        return found

    def _silenced(self, saying: Saying, now_tick: int) -> dict[str, Any] | None:
        at_s = saying.start_s
        if at_s is None:
            return None
        tick = round(at_s / self._frame_s)
        silent = round(SILENT_S / self._frame_s)
        runs = [(start, end) for start, end in self._twin.loud if end > tick - silent]
        if not runs or runs[0][0] > tick + silent:  # nothing was being heard
            return (
                {"interrupted_at_s": round(at_s, 2), "silent_after_s": 0.0, "heard_s": 0.0} if now_tick > tick else None
            )
        begin, end = runs[0]
        for start, until in runs[1:]:
            if start - end > silent:
                break
            end = until
        if now_tick < end + silent:
            return None  # it may go on
        return {
            "interrupted_at_s": round(at_s, 2),
            "silent_after_s": round(max(0.0, end - tick) * self._frame_s, 2),
            "heard_s": round((end - self._begin(begin)) * self._frame_s, 2),
        }

    def _begin(self, tick: int) -> int:
        """Where the answer began to which a loud tick belongs."""
        for start, end in reversed(self._twin.loud):
            if end <= tick and tick - end > round(1.0 / self._frame_s):
                break
            if start <= tick:
                tick = start
        return tick
