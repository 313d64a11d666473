"""A sound bed: what plays under a program's speech, and alone where nothing is said; and how it is sent alone.

Its sound is made in `audio/mixer.py`.
"""

from __future__ import annotations

import math
from typing import Protocol

from ..formats import FRAME_MS
from .cues import Cues
from .history import History
from .pacer import EPSILON_S
from .progress import Progress

BED_LEAD_S = 0.06
"""How far ahead of the listener a bed is sent where it plays alone: speech that begins waits so long at most."""

SPEECH_WAIT_S = 0.01
"""How long before the listener runs dry a bed follows speech that no end was told of: more of it may still come."""

_FRAME_S = FRAME_MS / 1_000


class Bed(Protocol):
    """The sound bed of one connection, at its rate. Each frame that is asked for is the next one.

    Attributes:
        is_over: nothing of it is left.
    """

    is_over: bool

    def mix(self, frame: bytes) -> bytes:
        """The next frame, softer, under one of speech."""

    def alone(self, frame_bytes: int) -> bytes:
        """The next frame, where nothing is said."""

    def fall_silent(self) -> None:
        """What was sent last was taken back: the next frame begins out of silence."""


class Bedded(Progress):
    """What goes out, of which some may be a bed alone.

    Args:
        now_s: the time of the accept.
        rate_hz: the sample rate, until it changes.
        lead_s: how far ahead of real time audio is sent.

    Attributes:
        outbox: to be written now, from the left: `bytes` is a frame of audio, `str` a text.
        frame_bytes: of a frame on the wire; 0 as long as the format is unknown.
        bed: plays under all that is sent; as a rule None. Whoever sets it sets `has_more`, and knows the format.
    """

    def __init__(self, now_s: float, rate_hz: int, lead_s: float) -> None:
        super().__init__(rate_hz, lead_s)
        self.outbox: list[bytes | str] = []  # a list, because it is short, and an empty deque takes 600 bytes
        self.frame_bytes = self._frame_samples = 0
        self.frames_out = self.bytes_out = 0
        self.bed: Bed | None = None
        self._history = History()
        self._cues: Cues | None = None  # while there are some
        self._sent_at_s = now_s  # when the last batch was handed over
        self._ends: list[int] = []  # of the wire line, where utterances end: silence there is a pause, not a gap

    @property
    def _alone_due_s(self) -> float:
        """When the bed has to follow alone what went out."""
        is_ended = bool(self._ends) and self._ends[-1] == self.ledger.wire
        return self.pacer.position_s - (self._bed_lead_s - _FRAME_S if is_ended else SPEECH_WAIT_S)

    @property
    def _bed_lead_s(self) -> float:
        return min(BED_LEAD_S, self.pacer.lead_s)

    def _send_alone(self, bed: Bed, now_s: float) -> None:
        """Nothing is being said: the bed goes out alone, which for the program's audio is a pause, and no gap."""
        frame_bytes, samples = self.frame_bytes, self._frame_samples
        if self._alone_from is None:
            self._alone_from = self.pacer.total_samples
        missing_s = self._bed_lead_s - self.ahead_s(now_s)
        for _ in range(math.floor((missing_s + 2 * EPSILON_S) / _FRAME_S)):
            self.outbox.append(bed.alone(frame_bytes))
            self._history.append(bytes(frame_bytes))
            self.ledger.padded(samples, self.heard_wire(now_s))
            self.pacer.sent(samples, now_s)
            self.frames_out += 1
            self.bytes_out += frame_bytes
        if self._cues is not None:
            self.outbox.extend(self._cues.due(self.pacer.total_samples))
        self._ends[:] = [self.ledger.wire]
        self._sent_at_s = now_s

    def _drop_alone(self, to_wire: int) -> int:
        """Take back what went out of the bed alone, behind `to_wire`, if nothing waits behind it: nobody misses it.

        Returns how many frames.
        """
        if self._alone_from is None or self.ledger.wire != self.pacer.total_samples:
            return 0
        unheard_samples = max(0, self.pacer.total_samples - max(self._alone_from, to_wire))
        frames = -(-unheard_samples // self._frame_samples)
        self._history.drop(frames)
        self.pacer.unsent(frames * self._frame_samples)
        self.ledger.unpadded(frames * self._frame_samples)
        return frames
