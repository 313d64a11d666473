"""A recorded call in memory: what it was, and its messages and notes in the order of time.

Directions are named by where a message goes, whoever recorded it. Times are seconds since the accept (seen by the
server) or since the first message was due (seen by the router), on a monotonic clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple


class Kind(IntEnum):
    """What an entry is."""

    AUDIO_TO_SERVER = 1
    """A frame of PCM, whatever the transport."""
    AUDIO_FROM_SERVER = 2
    TEXT_TO_SERVER = 3
    """A text message that carries no audio, in UTF-8."""
    TEXT_FROM_SERVER = 4
    NOTE = 5
    """No message: a JSON object with the key `note`, which says what it is; see `note`."""


Message = tuple[float, Kind, bytes]
"""Seconds since the accept, of which direction, and PCM or a text in UTF-8."""


class Entry(NamedTuple):
    """One thing that happened."""

    at_s: float
    kind: Kind
    payload: bytes

    @property
    def text(self) -> str:
        """The payload of a text."""
        return self.payload.decode("utf-8", "replace")

    @property
    def data(self) -> dict[str, Any]:
        """The payload of a note, or of a text that is a JSON object; empty for everything else."""
        try:
            data = json.loads(self.payload)
        except (ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}


def note(at_s: float, name: str, /, **values: Any) -> Entry:
    """An entry that is no message.

    The names, and what they carry:

    - `said`: the caller spoke. `until_s`, `name` (of the recording, or empty), `interrupts` (bool).
    - `muted`: the caller sends no speech, or speaks again. `active` (bool).
    - `fault`: the network was disturbed on purpose. `fault` (its name), `for_s` (how long; null: to the end).
    - `step`: a step of a script began. `step` (in words).
    - `gap`: the listener had nothing to play in the middle of an utterance, as the server knows it. `cause` (`producer
      late`, `loop blocked`, `socket backed up`), `since_s`, `until_s`.
    - `log`: a line of the server's log. `level`, `text`.
    - `stats`: the counters of the server; the fields of `ConnectionStats`.
    - `error`: a handler raised. `text`.
    - `closed`: the end of the connection. `code`, `reason`, `by`.
    """
    return Entry(at_s, Kind.NOTE, json.dumps({"note": name, **values}, separators=(",", ":")).encode())


@dataclass
class Recording:
    """A recorded call.

    Attributes:
        meta: what it was: `seen_by` (`server` or `router`), `began` (the wall clock, ISO 8601), `rate_hz`, `frame_ms`,
            `transport` (`binary` or `json`), `router` (the rules of the simulated router), `place` (what was asked for,
            without secrets), `connection_id`, `origin_s` (the time 0 of the entries, on `time.monotonic` of the machine
            or the virtual clock of the test: two recordings of one call in one process can be joined by it). Each may
            be missing.
        entries: in the order of time.
    """

    meta: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def add(self, at_s: float, kind: Kind, payload: bytes) -> None:
        """Append what happened."""
        self.entries.append(Entry(at_s, kind, payload))

    def note(self, at_s: float, name: str, /, **values: Any) -> None:
        """Append what is no message; see the function `note`."""
        self.entries.append(note(at_s, name, **values))

    def notes(self, name: str) -> Iterator[tuple[float, dict[str, Any]]]:
        """The notes of this name, with their times."""
        for entry in self.entries:
            if entry.kind is Kind.NOTE and (data := entry.data).get("note") == name:
                yield entry.at_s, data

    @property
    def duration_s(self) -> float:
        """The time of the last entry."""
        return self.entries[-1].at_s if self.entries else 0.0
