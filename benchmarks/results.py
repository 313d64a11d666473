"""What was measured: one entry for each row, peer and round. The runner fills it, report and verdicts read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .judge import Spread, spread


@dataclass(frozen=True, slots=True)
class Entry:
    """One measurement, or why there is none."""

    row: str
    peer: str
    round: int
    figures: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class Results:
    """All entries of a run."""

    def __init__(self, entries: list[Entry] | None = None) -> None:
        self.entries = entries or []

    def add(self, entry: Entry) -> None:
        """Keep one more."""
        self.entries.append(entry)

    def good(self, row: str, peer: str, streams: int | None = None) -> Iterator[Entry]:
        """The entries that have figures."""
        for entry in self.entries:
            if (entry.row, entry.peer, entry.problem) == (row, peer, "") and streams in (
                None,
                entry.figures.get("streams"),
            ):
                yield entry

    def problems(self, row: str, peer: str) -> list[str]:
        """What went wrong, each once."""
        found = (e.problem for e in self.entries if (e.row, e.peer) == (row, peer) and e.problem)
        return list(dict.fromkeys(found))

    def values(self, row: str, peer: str, name: str, streams: int | None = None) -> dict[int, float]:
        """A figure by round."""
        pairs = ((entry.round, entry.figures.get(name)) for entry in self.good(row, peer, streams))
        return {number: value for number, value in pairs if value is not None}

    def spread(self, row: str, peer: str, name: str, streams: int | None = None) -> Spread | None:
        """The median of a figure over the rounds, and its limits."""
        return spread(self.values(row, peer, name, streams).values())

    def worst(self, row: str, peer: str, name: str) -> float | None:
        """The greatest of all rounds."""
        return max(self.values(row, peer, name).values(), default=None)

    def ratio(self, row: str, peer: str, other: str, name: str) -> float | None:
        """The median of the ratios within each round, as the machine may be slower in one than in another."""
        ours, theirs = self.values(row, peer, name), self.values(row, other, name)
        middle = spread(ours[number] / theirs[number] for number in ours.keys() & theirs.keys() if theirs[number])
        return middle.median if middle else None

    @classmethod
    def from_json(cls, entries: list[dict[str, Any]]) -> Results:
        """As it was written."""
        return cls([Entry(**entry) for entry in entries])

    def to_json(self) -> list[dict[str, Any]]:
        """As it is written."""
        return [asdict(entry) for entry in self.entries]
