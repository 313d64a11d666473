"""How far the audio of one connection has come: what waits, what went out, and what was heard of it."""

from __future__ import annotations

from ..formats import SAMPLE_BYTES
from .framer import Framer
from .ledger import Ledger
from .pacer import Pacer


class Progress:
    """The audio of one connection, as far as it can be asked about.

    Args:
        rate_hz: the sample rate, until it changes.
        lead_s: how far ahead of real time audio is sent.

    Attributes:
        pacer: when what is due.
        ledger: the book of what was heard.
    """

    def __init__(self, rate_hz: int, lead_s: float) -> None:
        self.pacer = Pacer(rate_hz, lead_s)
        self.ledger = Ledger()
        self._framer = Framer()
        self._alone_from: int | None = None  # of the wire line, from where on nothing but a bed went out; None: nothing

    @property
    def queued_bytes(self) -> int:
        """How much waits to be sent, part of a frame included."""
        return self._framer.size_bytes

    def seconds(self, size_bytes: int) -> float:
        """How long so much audio lasts."""
        return size_bytes / SAMPLE_BYTES / self.pacer.rate_hz

    def ahead_s(self, now_s: float) -> float:
        """Seconds of audio that went out and can't have been heard yet."""
        return max(0.0, self.pacer.position_s - now_s)

    def unheard_s(self, now_s: float) -> float:
        """Seconds of audio that went out and was not heard, what a blocked socket has not taken included."""
        return (self.pacer.total_samples - self.heard_wire(now_s)) / self.pacer.rate_hz

    def speech_left_s(self, now_s: float) -> float:
        """Seconds until all of the program's audio that went out was heard; a bed that plays on is not counted."""
        end_wire = self.pacer.total_samples if self._alone_from is None else self._alone_from
        return max(0, end_wire - self.heard_wire(now_s)) / self.pacer.rate_hz

    @property
    def end_s(self) -> float:
        """When all that the program queued will have been heard, if it goes out in time."""
        alone_s = 0.0
        if self._alone_from is not None:
            alone_s = (self.pacer.total_samples - self._alone_from) / self.pacer.rate_hz
        return self.pacer.position_s - alone_s + self.seconds(self._framer.size_bytes)

    def heard_wire(self, now_s: float) -> int:
        """How much of the wire line has been heard."""
        return self.pacer.heard_samples(now_s)
