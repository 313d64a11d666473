"""Texts that follow a certain sample of the wire line: notify commands, each right behind its audio.

One that went out comes back when its audio does, because a router that was told to forget that audio forgets it, too.
"""

from __future__ import annotations

from bisect import insort
from operator import itemgetter

_wire = itemgetter(0)


class Notices:
    """The texts of one connection, by the sample of the wire line that they follow."""

    __slots__ = ("_told", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] = []
        self._told: list[tuple[int, str]] = []  # went out behind audio that may not have been heard yet

    @property
    def are_waiting(self) -> bool:
        """Whether any of them has not gone out."""
        return bool(self._waiting)

    @property
    def are_told(self) -> bool:
        """Whether any that went out may come back."""
        return bool(self._told)

    def add(self, wire: int, text: str) -> None:
        """Let a text follow the audio that ends at `wire`."""
        insort(self._waiting, (wire, text), key=_wire)

    def take(self, sent_wire: int) -> list[str]:
        """The texts that are due, so much of the wire line being sent."""
        due = []
        while self._waiting and self._waiting[0][0] <= sent_wire:
            _, text = self._waiting.pop(0)
            self._told.append((sent_wire, text))
            due.append(text)
        return due

    def recall(self, wire: int) -> list[str]:
        """The audio behind `wire` waits again, and so do the texts that follow it; returns those that went out."""
        recalled = [notice for notice in self._told if notice[0] > wire]
        self._told = [notice for notice in self._told if notice[0] <= wire]
        for notice in recalled:
            insort(self._waiting, notice, key=_wire)
        return [text for _, text in recalled]

    def heard(self, heard_wire: int) -> None:
        """So much of the wire line has been heard: what follows it doesn't come back."""
        self._told = [notice for notice in self._told if notice[0] > heard_wire]

    def shorten(self, wire: int, samples: int) -> None:
        """`samples` from `wire` on were taken out of the queue."""
        self._waiting = [(max(wire, at - samples), text) for at, text in self._waiting]

    def clear(self) -> None:
        """Forget those that have not gone out."""
        self._waiting.clear()
