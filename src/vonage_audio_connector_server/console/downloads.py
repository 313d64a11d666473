"""What is left of the calls of the page: for each its sound, its report and its events, as files."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ..recording import Kind, Recording

MOST_CALLS = 8
MOST_BYTES = 256 * 1024 * 1024
"""So much is kept in memory; the latest call is, whatever its size."""

_REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:"
)
"""The report has its scripts inside, and shows texts of others: it may neither load nor ask for anything."""


class Downloads:
    """Keeps recordings of calls that are over; the oldest goes first."""

    def __init__(self) -> None:
        self._recordings: OrderedDict[str, Recording] = OrderedDict()

    def keep(self, name: str, recording: Recording) -> None:
        """Keep one more."""
        self._recordings[name] = recording
        while len(self._recordings) > MOST_CALLS or (len(self._recordings) > 1 and self._size_bytes() > MOST_BYTES):
            self._recordings.popitem(last=False)

    def find(self, name: str) -> Recording | None:
        """The recording of this name; None: there is none any more."""
        return self._recordings.get(name)

    def _size_bytes(self) -> int:
        return sum(len(entry.payload) for recording in self._recordings.values() for entry in recording.entries)


class File(NamedTuple):
    """What can be made of a recording.

    Attributes:
        make: makes it; raises `MissingExtraError` where that takes an extra.
        media_type: of what it returns.
        headers: of the answer.
    """

    make: Callable[[Recording], bytes | str]
    media_type: str
    headers: dict[str, str]


def _sound(recording: Recording) -> bytes:
    from ..simulator.report import Timeline, stereo_wav

    return stereo_wav(Timeline.of(recording))


def _report(recording: Recording) -> str:
    from ..simulator.report import render_html

    return render_html([recording], title="A call from the console")


def _events(recording: Recording) -> str:
    """All but the audio, one JSON object a line."""
    lines = []
    for entry in recording.entries:
        if entry.kind is Kind.NOTE:
            lines.append({"at_s": round(entry.at_s, 4), **entry.data})
        elif entry.kind in (Kind.TEXT_TO_SERVER, Kind.TEXT_FROM_SERVER):
            who = "session" if entry.kind is Kind.TEXT_TO_SERVER else "program"
            lines.append({"at_s": round(entry.at_s, 4), "from": who, "text": entry.text})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _saved_as(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


FILES = {
    "recording.wav": File(_sound, "audio/wav", _saved_as("recording.wav")),
    "report.html": File(_report, "text/html", {"content-security-policy": _REPORT_POLICY}),
    "events.jsonl": File(_events, "application/x-ndjson", _saved_as("events.jsonl")),
}
"""By the name in the address."""
