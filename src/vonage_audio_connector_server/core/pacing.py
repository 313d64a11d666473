"""When audio is due on the wire: absolute deadlines from a count of samples, never from the last wake-up.

The listener plays what it gets, one frame after the other. So all that went out has been heard at
`anchor + samples / rate`, the *position*. A frame is due one lead before its turn at the position. A late loop finds
several frames due and catches up, because the position has not moved; a listener who ran dry starts anew with the
next frame, so there the anchor is set anew. The same numbers tell what has been heard: all that went out, but for what
lies between now and the position.

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


_Sent = tuple[float, int, int, int, int]
"""What went out: one immutable value, so that another thread that looks never sees half of a change.

anchor_s           when the listener began to hear the last `samples`
samples
total_samples      since the beginning
unwritten_samples  the last ones: handed over, perhaps to a socket that is blocked
before_hz          the rate of what went out before the last `samples`

A plain tuple, because one is made for every frame of a live stream, and a named one takes five times as long.
"""


class Pacer:
    """The schedule of one stream of samples at `rate_hz`."""

    __slots__ = ("_batch_s", "_lead_s", "_sent", "rate_hz")

    def __init__(self, rate_hz: int, lead_s: float = DEFAULT_LEAD_S) -> None:
        self.rate_hz = rate_hz
        self._sent: _Sent = (-math.inf, 0, 0, 0, rate_hz)
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
        sent = self._sent
        return sent[0] + sent[1] / self.rate_hz

    @property
    def due_s(self) -> float:
        """When the next frame is due."""
        return self.position_s - self._lead_s

    @property
    def total_samples(self) -> int:
        """How many samples went out, since the beginning."""
        return self._sent[2]

    @property
    def unwritten_samples(self) -> int:
        """How many of them are not known to be written yet."""
        return self._sent[3]

    def heard_samples(self, now_s: float) -> int:
        """How many of `total_samples` have been heard by now."""
        anchor_s, samples, total_samples, unwritten_samples, before_hz = self._sent
        ahead_s = anchor_s + samples / self.rate_hz - now_s
        if ahead_s <= 0.0:
            return total_samples - unwritten_samples
        if anchor_s > now_s:  # after a change of the rate: what went out before is being heard
            unheard_samples = samples + math.ceil((anchor_s - now_s - _EPSILON_S) * before_hz)
        else:
            unheard_samples = math.ceil((ahead_s - _EPSILON_S) * self.rate_hz)
        return total_samples - max(unwritten_samples, unheard_samples)

    def budget_samples(self, now_s: float) -> int:
        """How many samples may go out now: none before the next frame is due, else up to the lead and a batch."""
        position_s = self.position_s
        if position_s - self._lead_s > now_s + _EPSILON_S:
            return 0
        ahead_s = max(0.0, position_s - now_s)
        return int((self._lead_s + self._batch_s - ahead_s + _EPSILON_S) * self.rate_hz)

    def offer(self, samples: int, now_s: float) -> float | None:
        """Count one frame as `sent` does, if it is due and all before it is written.

        Returns how many seconds the listener was ahead, less than 0 where it had run dry; None: the frame has to wait.
        """
        anchor_s, before, total_samples, unwritten_samples, before_hz = self._sent
        ahead_s = anchor_s + before / self.rate_hz - now_s
        if unwritten_samples or ahead_s > self._lead_s + _EPSILON_S:
            return None
        if ahead_s < 0.0:
            anchor_s, before = now_s, 0
        self._sent = (anchor_s, before + samples, total_samples + samples, samples, before_hz)
        return ahead_s

    def sent(self, samples: int, now_s: float) -> float:
        """Count samples that go out now. Returns for how many seconds the listener had run dry before (0: not).

        Returns inf for the first samples of all, and after a reset.
        """
        anchor_s, before, total_samples, _, before_hz = self._sent
        dry_s = now_s - anchor_s - before / self.rate_hz
        if dry_s > 0.0:
            self._sent = (now_s, samples, total_samples + samples, samples, before_hz)
            return dry_s
        self._sent = (anchor_s, before + samples, total_samples + samples, samples, before_hz)
        return 0.0

    def written(self, now_s: float) -> float:
        """What was counted last is on the wire by now: a listener who ran dry meanwhile hears it from now on.

        Returns for how many seconds the listener was dry (0: not).
        """
        anchor_s, samples, total_samples, unwritten_samples, before_hz = self._sent
        if not unwritten_samples:
            return 0.0
        position_s = anchor_s + samples / self.rate_hz
        if position_s >= now_s:
            self._sent = (anchor_s, samples, total_samples, 0, before_hz)
            return 0.0
        self._sent = (now_s, unwritten_samples, total_samples, 0, before_hz)
        return now_s - position_s + unwritten_samples / self.rate_hz

    def unsent(self, samples: int) -> None:
        """Take back the last samples, which were counted and did not go out."""
        anchor_s, before, total_samples, unwritten_samples, before_hz = self._sent
        unwritten_samples = max(0, unwritten_samples - samples)
        self._sent = (anchor_s, before - samples, total_samples - samples, unwritten_samples, before_hz)

    def change_rate(self, rate_hz: int) -> None:
        """Count at another rate from the position on.

        What is on its way at a third rate is counted at that of the second.
        """
        _, samples, total_samples, unwritten_samples, before_hz = self._sent
        before_hz = self.rate_hz if samples else before_hz
        self._sent = (self.position_s, 0, total_samples, unwritten_samples, before_hz)
        self.rate_hz = rate_hz

    def reset(self, total_samples: int) -> None:
        """Forget the schedule: the next frame is due at once. The stream goes on at `total_samples`."""
        self._sent = (-math.inf, 0, total_samples, 0, self.rate_hz)
