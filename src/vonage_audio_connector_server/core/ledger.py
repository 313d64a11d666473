"""What became of the audio that a program sent: heard, dropped, or still to be heard. In samples, exactly.

Two lines are counted. The *wire* line has every sample that goes out, silence for padding included; the pacer tells
how much of it has been heard. The *program's* line has the samples that the program gave. They run side by side, but
where padding was put in, or audio that was never sent was taken out: there is a break.

An *epoch* is the time between two interruptions. When it ends, all of it that was not heard is dropped.
"""

from __future__ import annotations

from typing import NamedTuple


class _Break(NamedTuple):
    wire: int  # from this sample of the wire line on
    taken: int  # this sample of the program's line is heard,
    lost: int  # and so many before it, in this epoch, never were


class _Book(NamedTuple):
    """One immutable value, so that another thread that looks never sees half of a change."""

    breaks: tuple[_Break, ...]  # the first is at or before what is being heard
    reached: tuple[int, int]  # the furthest point that was heard: (taken, lost); a rewind doesn't undo hearing
    dropped_before: int  # samples of the program that were dropped in the epochs that are over


class Epoch:
    """The time between two interruptions."""

    __slots__ = ("heard_to",)

    def __init__(self) -> None:
        self.heard_to: int | None = None  # when it is over: up to where on the program's line it was heard


class Mark:
    """A stretch of the program's line: what one call sent."""

    __slots__ = ("_lost", "acknowledged", "epoch", "samples", "start")

    def __init__(self, epoch: Epoch, start: int, samples: int) -> None:
        self.epoch = epoch
        self.start = start
        self.samples = samples
        self._lost: tuple[tuple[int, int], ...] = ()  # stretches of it that were taken out of a full queue
        self.acknowledged: bool | None = None  # by the router, that it has played it; None: it was not asked

    @property
    def end(self) -> int:
        """Where it ends on the program's line."""
        return self.start + self.samples

    @property
    def lost(self) -> int:
        """How many samples of it were taken out of a full queue."""
        return sum(end - start for start, end in self._lost)

    def lose(self, start: int, end: int) -> None:
        """What lies between two points of the program's line was taken out of a full queue."""
        start, end = max(start, self.start), min(end, self.end)
        if start >= end:
            return
        apart = []
        for stretch in self._lost:
            if stretch[0] <= end and start <= stretch[1]:  # they touch, and become one
                start, end = min(start, stretch[0]), max(end, stretch[1])
            else:
                apart.append(stretch)
        self._lost = (*apart, (start, end))

    def heard(self, to: int) -> int:
        """How many samples of it were heard, where all up to `to` was heard but for what is lost."""
        lost = sum(max(0, min(end, to) - start) for start, end in self._lost)
        return max(0, min(to, self.end) - self.start - lost)


class Ledger:
    """The book of one connection."""

    __slots__ = ("_book", "_cut", "_epoch_start", "_lost", "epoch", "taken", "wire")

    def __init__(self) -> None:
        self.epoch = Epoch()
        self.taken = 0  # samples that the program gave
        self.wire = 0  # samples of the wire line, sent or waiting
        self._cut = 0  # how much of `taken` is on the wire line; what waits for the format is not
        self._lost = 0  # samples of this epoch that were taken out of a full queue
        self._epoch_start = 0  # on the program's line
        self._book = _Book((_Break(0, 0, 0),), (0, 0), 0)

    # What goes in

    def take(self, samples: int) -> Mark:
        """The program gave samples."""
        mark = Mark(self.epoch, self.taken, samples)
        self.taken += samples
        return mark

    def pushed(self, samples: int) -> None:
        """Samples that were taken joined the wire line."""
        self.wire += samples
        self._cut += samples

    def padded(self, samples: int, heard_wire: int) -> None:
        """Silence joined the wire line."""
        self.wire += samples
        breaks = (*self._since(heard_wire), _Break(self.wire, self._cut, self._lost))
        self._book = self._book._replace(breaks=breaks)

    def remove(self, wire: int, samples: int, heard_wire: int) -> tuple[int, int]:
        """`samples` of the wire line from `wire` on were taken out of the queue.

        Returns from where to where they are lost on the program's line; what was heard before a rewind is not lost.
        """
        breaks, reached, _ = self._book
        after = _at(breaks, wire + samples)
        lost_from = max(reached, _at(breaks, wire))
        lost_to = max(lost_from, after)
        lost = lost_to[0] - lost_to[1] - lost_from[0] + lost_from[1]
        kept = [entry for entry in self._since(heard_wire) if entry.wire < wire]
        moved = [
            _Break(entry.wire - samples, entry.taken, entry.lost + lost)
            for entry in breaks
            if entry.wire > wire + samples
        ]
        breaks = (*kept, _Break(wire, after[0], after[1] + lost), *moved)
        self._book = self._book._replace(breaks=breaks)
        self._lost += lost
        self.wire -= samples
        return lost_from[0], lost_to[0]

    # What has become of it

    @property
    def dropped(self) -> int:
        """How many samples of the program were dropped, in all epochs."""
        return self._book.dropped_before + self._lost

    def wire_of(self, taken: int) -> int:
        """Where on the wire line a point of the program's line lies, padding behind it left out."""
        here, *others = self._book.breaks
        for entry in others:
            if taken <= entry.taken:
                return min(here.wire + taken - here.taken, entry.wire)
            here = entry
        return min(here.wire + taken - here.taken, self.wire)

    def heard_to(self, heard_wire: int) -> tuple[int, int]:
        """Up to where the program's line was heard, and how many samples of this epoch before it never were."""
        breaks, reached, _ = self._book
        return max(reached, _at(breaks, heard_wire))

    def heard(self, heard_wire: int) -> int:
        """How many samples of the program were heard, in all epochs."""
        breaks, reached, dropped_before = self._book
        taken, lost = max(reached, _at(breaks, heard_wire))
        return taken - lost - dropped_before

    def heard_of(self, mark: Mark, heard_wire: int) -> int:
        """How many samples of `mark` were heard."""
        to = mark.epoch.heard_to
        return mark.heard(self.heard_to(heard_wire)[0] if to is None else to)

    def is_over(self, mark: Mark, heard_wire: int) -> bool:
        """Whether nothing of `mark` is still to be heard."""
        return mark.epoch.heard_to is not None or self.heard_to(heard_wire)[0] >= mark.end

    def rewind(self, heard_wire: int) -> None:
        """The wire line is about to go back, to before `heard_wire`: what was heard stays heard."""
        self._book = self._book._replace(reached=self.heard_to(heard_wire))

    def end_epoch(self, heard_wire: int) -> tuple[int, int]:
        """An interruption: drop what was not heard. Returns samples heard in this epoch, and dropped now."""
        taken, lost = self.heard_to(heard_wire)
        heard, dropped = taken - self._epoch_start - lost, self.taken - taken - (self._lost - lost)
        self.epoch.heard_to = taken
        self.epoch = Epoch()
        dropped_before = self._book.dropped_before + self.taken - self._epoch_start - heard
        self._book = _Book((_Break(self.wire, self.taken, 0),), (self.taken, 0), dropped_before)
        self._epoch_start = self._cut = self.taken
        self._lost = 0
        return heard, dropped

    # Inside

    def _since(self, wire: int) -> tuple[_Break, ...]:
        """The breaks without those that lie so far back that nobody will ask again."""
        breaks = self._book.breaks
        passed = sum(entry.wire <= wire for entry in breaks)
        return breaks[max(0, passed - 1) :]


def _at(breaks: tuple[_Break, ...], wire: int) -> tuple[int, int]:
    """The point of the program's line that lies at `wire`, and what is lost before it."""
    here = breaks[0]
    for entry in breaks:
        if entry.wire > wire:  # between two breaks the lines run side by side, up to what the next one says
            return min(here.taken + wire - here.wire, entry.taken - (entry.lost - here.lost)), here.lost
        here = entry
    return here.taken + wire - here.wire, here.lost
