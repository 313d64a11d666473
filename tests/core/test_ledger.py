"""The book of what was heard, against a naive one that has an entry for every sample."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.ledger import Ledger, Mark

SILENCE = -1


@dataclass
class Book:
    """A ledger, and the same with a list entry for every sample: on the wire line, its number or `SILENCE`.

    `sent` and `heard` are places on the wire line. What lies between them is in flight.
    """

    ledger: Ledger = field(default_factory=Ledger)
    wire: list[int] = field(default_factory=list)
    early: list[int] = field(default_factory=list)  # accepted, and not on the wire line yet
    sent: int = 0
    heard: int = 0
    epoch: int = 0  # where the epoch begins on the wire line, and no rewind goes beyond
    accepted: int = 0
    were_heard: set[int] = field(default_factory=set)
    were_dropped: set[int] = field(default_factory=set)  # by an interruption
    marks: list[Mark] = field(default_factory=list)
    heard_of: list[int] = field(default_factory=list)  # per mark, when it was last looked at

    # What a session does with its ledger

    def accept(self, samples: int) -> None:
        self.marks.append(self.ledger.accept(samples))
        self.heard_of.append(0)
        self.early += range(self.accepted, self.accepted + samples)
        self.accepted += samples

    def push(self, samples: int) -> None:
        samples = min(samples, len(self.early))
        self.wire += self.early[:samples]
        del self.early[:samples]
        self.ledger.pushed(samples)

    def pad(self, samples: int) -> None:
        self.wire += [SILENCE] * samples
        self.ledger.padded(samples, self.heard)

    def send(self, samples: int) -> None:
        self.sent = min(len(self.wire), self.sent + samples)

    def hear(self, samples: int) -> None:
        to = min(self.sent, self.heard + samples)
        self.were_heard.update(self.wire[self.heard : to])
        self.were_heard.discard(SILENCE)
        self.heard = to

    def rewind(self, samples: int) -> None:
        to = max(self.epoch, self.heard - samples)
        self.ledger.rewind(self.heard)
        self.heard = self.sent = to

    def interrupt(self) -> None:
        heard_before = self.ledger.heard(self.heard)
        waiting = {*self.wire, *self.early} - self.were_heard - {SILENCE} - self.were_dropped
        heard, dropped = self.ledger.end_epoch(self.heard)
        assert dropped == len(waiting)
        assert 0 <= heard <= heard_before
        self.were_dropped |= waiting
        self.early.clear()
        self.heard = self.sent = self.epoch = len(self.wire)
        assert self.ledger.heard(self.heard) == heard_before

    # What must hold at any time

    def check(self) -> None:
        ledger, heard_wire = self.ledger, self.heard
        assert ledger.accepted == self.accepted
        assert ledger.wire == len(self.wire)
        assert ledger.heard(heard_wire) == len(self.were_heard)
        assert ledger.dropped == len(self.were_dropped)
        waiting = {*self.wire[heard_wire:], *self.early} - self.were_heard - {SILENCE}
        assert ledger.heard(heard_wire) + ledger.dropped + len(waiting) == ledger.accepted
        for number, mark in enumerate(self.marks):
            own = set(range(mark.start, mark.end))
            heard_of = ledger.heard_of(mark, heard_wire)
            assert heard_of == len(own & self.were_heard)
            assert heard_of >= self.heard_of[number]
            self.heard_of[number] = heard_of
            if ledger.is_over(mark, heard_wire):
                assert not own & waiting
        assert sum(self.heard_of) == len(self.were_heard)

    def place_of(self, accepted: int) -> int:
        """Behind the last sample before the point `accepted` that is on the wire line."""
        places = [place for place, number in enumerate(self.wire) if number != SILENCE and number < accepted]
        return max(places) + 1 if places else 0


steps = st.tuples(
    st.sampled_from(["accept", "push", "pad", "send", "hear", "rewind", "interrupt"]),
    st.sampled_from([0, 1, 2, 3, 5, 10, 30]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=60))
def test_it_agrees_with_a_book_that_has_every_sample(steps: list[tuple[str, int]]) -> None:
    book = Book()
    for name, samples in steps:
        if name == "interrupt":
            book.interrupt()
        else:
            getattr(book, name)(samples)
        book.check()


calls = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 9)), max_size=12)


@settings(max_examples=100, deadline=None)
@given(calls)
def test_wire_of_is_the_place_of_a_sample(calls: list[tuple[int, int, int]]) -> None:
    book = Book()
    for samples, padding, hear in calls:
        book.accept(samples)
        book.push(samples)
        if padding:
            book.pad(padding)
        book.send(hear)
        book.hear(hear)
        heard_to = book.ledger.heard_to(book.heard)
        for accepted in range(heard_to + 1, book.accepted + 1):
            assert book.ledger.wire_of(accepted) == book.place_of(accepted)
        for mark in book.marks:  # what was heard is no longer waited for
            if mark.end <= heard_to:
                assert book.ledger.wire_of(mark.end) <= book.heard


def test_wire_of_what_is_not_on_the_line_yet_is_its_end() -> None:
    ledger = Ledger()
    early = ledger.accept(100)
    assert ledger.wire_of(early.end) == 0
    ledger.pushed(60)
    assert ledger.wire_of(early.end) == 60
    ledger.pushed(40)
    assert ledger.wire_of(early.end) == 100
    ledger.padded(60, 0)
    assert ledger.wire_of(early.end) == 100
    assert ledger.wire_of(early.end + 1) == 160


def test_utterances_that_were_heard_leave_nothing_in_the_book() -> None:
    ledger = Ledger()
    for number in range(1_000):
        ledger.accept(100)
        ledger.pushed(100)
        ledger.padded(60, 160 * max(0, number - 3))  # 160 a turn, of which three wait
    assert len(ledger._book.breaks) <= 5
    assert ledger.heard(160_000) == 100_000


def test_a_mark_of_no_samples_is_over_when_its_place_was_heard() -> None:
    ledger = Ledger()
    ledger.accept(100)
    ledger.pushed(100)
    empty = ledger.accept(0)
    assert not ledger.is_over(empty, 99)
    assert ledger.is_over(empty, 100)
    assert ledger.heard_of(empty, 100) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(0, 300))
def test_marks_share_what_was_heard(calls: list[int], heard_to: int) -> None:
    ledger = Ledger()
    marks = [ledger.accept(samples) for samples in calls]
    ledger.pushed(sum(calls))
    assert sum(mark.heard(heard_to) for mark in marks) == min(heard_to, sum(calls))
    assert all(0 <= mark.heard(heard_to) <= mark.samples for mark in marks)


def test_a_mark_is_a_value() -> None:
    ledger = Ledger()
    first, second = ledger.accept(100), ledger.accept(100)
    assert first == Mark(ledger.epoch, 0, 100)
    assert len({first, second, Mark(*first)}) == 2
    ledger.end_epoch(0)
    assert first.epoch.heard_to == 0  # of an epoch that is over, which another is not
    assert first != Mark(ledger.epoch, 0, 100)
