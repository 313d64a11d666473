"""Times without audio between two stretches of it: gaps and pauses, and what caused a gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ..router import Router

GAP_S = 1.0
"""A hole up to this long is a gap; a longer one is a pause between two utterances."""

GAP_IN_SPEECH_S = 3.0
"""A hole up to this long is a gap if it is loud on both of its sides: nobody stops in the middle of a word."""

CAUSE_SLACK_S = 0.5
"""What happened this long before a hole may have caused it: what was sent ahead is played first."""

_SIDE_MS = 100  # how far from a hole its sides reach


@dataclass(frozen=True, slots=True)
class Hole:
    """A time without audio between two stretches of it.

    Attributes:
        at_s: when it began, in seconds from the start of the call.
        ms: how long it lasted.
        cleared: whether the server asked for it, by a clear command.
        cause: why it was, where that is known: what the server noted (`producer late`, `loop blocked`, `socket backed
            up`), or `network: …, on purpose`. None: not known from here.
    """

    at_s: float
    ms: int
    cleared: bool = False
    cause: str | None = None

    @property
    def until_s(self) -> float:
        """When it was over."""
        return self.at_s + self.ms / 1000


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that may have caused a gap: from `since_s` to `until_s`."""

    text: str
    since_s: float
    until_s: float

    def overlap_s(self, hole: Hole) -> float:
        """For how long both last, with the slack: more than 0 where it may be the cause."""
        return min(self.until_s + CAUSE_SLACK_S, hole.until_s) - max(self.since_s - CAUSE_SLACK_S, hole.at_s)

    def distance_s(self, hole: Hole) -> float:
        """How far the middles of both are apart."""
        return abs(self.since_s + self.until_s - hole.at_s - hole.until_s) / 2


def holes_of(
    router: Router, loud: AbstractSet[int], *, begin_s: float = 0.0, said_until_s: Iterable[float] = ()
) -> tuple[tuple[Hole, ...], tuple[Hole, ...]]:
    """The gaps and the pauses between what was played.

    Args:
        router: that has played it.
        loud: the ticks at which it was loud.
        begin_s: the time of tick 0.
        said_until_s: when the caller ended something. A hole in which that was is a pause: it was the caller's turn.
    """
    frame_s, frame_ms = router.audio_format.frame_s, router.audio_format.frame_ms
    side_ticks = _SIDE_MS // frame_ms
    gaps: list[Hole] = []
    pauses: list[Hole] = []
    for before, after in zip(router.runs, router.runs[1:], strict=False):
        start = before.start + before.ticks
        ticks = after.start - start
        if not ticks:  # the answer to a clear came at once
            continue
        in_speech = not loud.isdisjoint(range(start - side_ticks, start)) and not loud.isdisjoint(
            range(after.start, after.start + side_ticks)
        )
        longest_ms = (GAP_IN_SPEECH_S if in_speech else GAP_S) * 1000
        hole = Hole(round(begin_s + start * frame_s, 6), ticks * frame_ms, before.cleared)
        is_turn = any(hole.at_s < ended_s <= hole.until_s for ended_s in said_until_s)
        is_gap = not before.cleared and not is_turn and hole.ms <= longest_ms
        (gaps if is_gap else pauses).append(hole)
    return tuple(gaps), tuple(pauses)


def explained(hole: Hole, *known: Iterable[Cause]) -> Hole:
    """The same hole with its cause, from the first of `known` that has one; the nearest of several."""
    for causes in known:
        fitting: Sequence[Cause] = [cause for cause in causes if cause.overlap_s(hole) > 0]
        if fitting:
            nearest = min(fitting, key=lambda cause: cause.distance_s(hole))
            return Hole(hole.at_s, hole.ms, hole.cleared, nearest.text)
    return hole
