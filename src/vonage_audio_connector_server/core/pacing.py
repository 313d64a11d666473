"""When audio is due on the wire: absolute deadlines from a count of samples, never from the last wake-up.

The listener plays what it gets, one frame after the other. So all that went out has been heard at
`anchor + samples / rate`, the *position*. A frame is due one lead before its turn at the position. A late loop finds
several frames due and catches up, because the position has not moved; a listener who ran dry starts anew with the
next frame, so there the anchor is set anew.

Time is seconds on the caller's monotonic clock, handed in as `now_s`.
"""

from __future__ import annotations

import math

DEFAULT_LEAD_S = 0.2
"""How far ahead of real time audio is sent: covers a stalled loop of 200 ms, costs 200 ms at an interruption."""

MIN_LEAD_S, MAX_LEAD_S = 0.04, 15.0
"""Two frames; and three quarters of the 20 s that the router is known to hold (C: wsbridge, 1,024 frames)."""

MAX_BATCH_S = 0.1
"""Frames that fall due within this time go out together: one wake-up for five frames."""

_EPSILON_S = 1e-9  # far below a sample, far above the rounding of hours in floats


class Pacer:
    """The schedule of one stream of samples at `rate_hz`."""

    __slots__ = ("_anchor_s", "_batch_s", "_lead_s", "_samples", "rate_hz")

    def __init__(self, rate_hz: int, lead_s: float = DEFAULT_LEAD_S) -> None:
        self.rate_hz = rate_hz
        self._anchor_s = -math.inf
        self._samples = 0
        self.lead_s = lead_s

    @property
    def lead_s(self) -> float:
        """How far ahead of real time a frame is due. A batch may go out on top of it."""
        return self._lead_s

    @lead_s.setter
    def lead_s(self, lead_s: float) -> None:
        self._lead_s = lead_s
        # A short lead asks for short batches: otherwise the batch would be most of what an interruption leaves.
        self._batch_s = min(MAX_BATCH_S, lead_s / 2)

    @property
    def batch_s(self) -> float:
        """How much beyond the lead may go out in one go."""
        return self._batch_s

    @property
    def position_s(self) -> float:
        """When all that went out has been heard; in the past where the listener ran dry; -inf before the first."""
        return self._anchor_s + self._samples / self.rate_hz

    @property
    def due_s(self) -> float:
        """When the next frame is due."""
        return self.position_s - self._lead_s

    def budget_samples(self, now_s: float) -> int:
        """How many samples may go out now: none before the next frame is due, else up to the lead and a batch."""
        position_s = self.position_s
        if position_s - self._lead_s > now_s + _EPSILON_S:
            return 0
        ahead_s = max(0.0, position_s - now_s)
        return int((self._lead_s + self._batch_s - ahead_s + _EPSILON_S) * self.rate_hz)

    def sent(self, samples: int, now_s: float) -> float:
        """Count samples that go out now. Returns for how many seconds the listener had run dry before (0: not).

        Returns inf for the first samples of all.
        """
        dry_s = now_s - self.position_s
        if dry_s > 0.0:
            self._anchor_s = now_s
            self._samples = samples
            return dry_s
        self._samples += samples
        return 0.0

    def held_up(self, samples: int, now_s: float) -> None:
        """The last `samples` that were counted went out only by now: a listener who ran dry hears them from now on."""
        if self.position_s < now_s:
            self._anchor_s = now_s
            self._samples = samples

    def unsent(self, samples: int) -> None:
        """Take back samples that were counted and did not go out."""
        self._samples -= samples

    def change_rate(self, rate_hz: int) -> None:
        """Count at another rate from the position on."""
        self._anchor_s = self.position_s
        self._samples = 0
        self.rate_hz = rate_hz

    def reset(self) -> None:
        """Forget the schedule: the next frame is due at once."""
        self._anchor_s = -math.inf
        self._samples = 0
