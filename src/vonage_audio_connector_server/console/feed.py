"""What the page is told of its call: where it stands, what has happened, who spoke when. No I/O: it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..audio.levels import is_loud, level_dbfs
from ..recording import Entry, Kind
from ..recording.recorder import MemoryTape
from ..simulator.twin import Twin
from .turns import Turns

_OF_ROUTER = ("muted", "closed", "fragmented", "wrong transport")
_OF_SERVER = ("gap", "log", "error")


class Feed:
    """Reads on in what the router and the server have recorded of one call.

    Args:
        twin: the router's end of it.
        tapes: of the server, by connection; empty until it has accepted.
    """

    def __init__(self, twin: Twin, tapes: Mapping[str, MemoryTape]) -> None:
        self._twin = twin
        self._tapes = tapes
        self._turns = Turns(twin)
        self._read_of_router = self._read_of_server = 0  # entries
        self._gaps = 0

    def new(self, now_s: float) -> list[dict[str, Any]]:
        """What there is to tell since it was asked last: one `status`, then `event` and `turn`.

        Args:
            now_s: since the accept.
        """
        told: list[dict[str, Any]] = []
        levels_dbfs = []
        entries = self._twin.recording.entries
        fresh, self._read_of_router = entries[self._read_of_router :], len(entries)
        for entry in fresh:
            if entry.kind is Kind.AUDIO_TO_SERVER:
                self._turns.said(entry.at_s, is_loud(entry.payload))
                levels_dbfs.append(round(level_dbfs(entry.payload)))
        told += _events(fresh, _OF_ROUTER)
        for tape in self._tapes.values():
            entries = tape.recording.entries
            fresh, self._read_of_server = entries[self._read_of_server :], len(entries)
            noted = list(_events((entry for entry in fresh if entry.kind is Kind.NOTE), _OF_SERVER))
            self._gaps += sum(one["event"]["note"] == "gap" for one in noted)
            told += noted
        told += ({"turn": turn} for turn in self._turns.new())
        router = self._twin.router
        status = {
            "at_s": round(now_s, 2),
            "buffer_ms": round(router.buffered_s * 1000),
            "said_dbfs": levels_dbfs,
            "frames_sent": self._twin.frames_sent,
            "frames_received": router.frames_received,
            "gaps": self._gaps,
        }
        return [{"status": status}, *told]


def _events(entries: Iterable[Entry], notes: tuple[str, ...]) -> Iterable[dict[str, Any]]:
    """What the page shows of entries: all texts, and the notes of these names."""
    for entry in entries:
        at_s = round(entry.at_s, 2)
        if entry.kind is Kind.TEXT_TO_SERVER:
            yield {"event": {"at_s": at_s, "from": "session", "text": entry.text.strip()}}
        elif entry.kind is Kind.TEXT_FROM_SERVER:
            yield {"event": {"at_s": at_s, "from": "program", "text": entry.text}}
        elif entry.kind is Kind.NOTE and (data := entry.data).get("note") in notes:
            yield {"event": {"at_s": at_s, "from": "note", **data}}
