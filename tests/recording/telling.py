"""A flight recorder that tells when calls have ended, and what is left of them."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

from vonage_audio_connector_server import FlightRecorder
from vonage_audio_connector_server.recording import Kind, Recording
from vonage_audio_connector_server.recording.flight import FlightTape
from vonage_audio_connector_server.recording.folder import read_folder


class TellingRecorder(FlightRecorder):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ended: queue.Queue[bool] = queue.Queue()

    def _end(self, tape: FlightTape, is_bad: bool) -> None:
        super()._end(tape, is_bad)
        self._ended.put(is_bad)

    def wait_for_end(self) -> bool:
        """Wait for the end of one call; returns whether it was a bad one."""
        is_bad = self._ended.get(timeout=10)
        self.wait()
        return is_bad

    def kept(self) -> list[Path]:
        """The folders of all calls, also of those that go on."""
        return sorted(path for path in self.folder.iterdir() if path.name != ".lock")

    def the_one(self) -> Recording:
        """What was recorded of the only call that there is."""
        (path,) = self.kept()
        assert not path.name.startswith(".")
        return read_folder(path)


def payloads(recording: Recording, kind: Kind) -> list[bytes]:
    return [entry.payload for entry in recording.entries if entry.kind is kind]


def notes(recording: Recording, name: str) -> list[dict[str, Any]]:
    return [data for _, data in recording.notes(name)]
