"""What `simulate` leaves behind: sound, events, the recording, the page, and whether the checks hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..recording import Kind, Recording
from ..recording.folder import write_folder
from ..simulator import SimulationReport
from ..simulator.check import Check, CheckResult, check_values
from ..simulator.report import Timeline, write_html, write_stereo_wav

_WHO = {Kind.TEXT_TO_SERVER: "session", Kind.TEXT_FROM_SERVER: "server"}


def numbered(path: Path, number: int, total: int) -> Path:
    """The path of one of several: `heard.wav` becomes `heard-07.wav`."""
    return path if total == 1 else path.with_stem(f"{path.stem}-{number:0{len(str(total))}d}")


def write_sound(path: Path, recordings: Sequence[Recording]) -> list[Path]:
    """Write what was said (left) and heard (right) of each call, on one time line; returns the files."""
    paths = []
    for number, recording in enumerate(recordings, 1):
        paths.append(numbered(path, number, len(recordings)))
        write_stereo_wav(paths[-1], Timeline.of(recording))
    return paths


def write_events(path: Path, recordings: Sequence[Recording]) -> None:
    """Write the texts and notes of all calls as JSON lines, call by call, each in the order of time."""
    with path.open("w", encoding="utf-8") as file:
        for number, recording in enumerate(recordings, 1):
            for event in _events(recording):
                file.write(json.dumps({"call": number} | event, ensure_ascii=False) + "\n")


def write_recordings(folder: Path, recordings: Sequence[Recording]) -> None:
    """Write all that happened, in the form of the flight recorder; of several calls each into a folder in it."""
    for number, recording in enumerate(recordings, 1):
        write_folder(folder if len(recordings) == 1 else folder / f"{number:0{len(str(len(recordings)))}d}", recording)


def write_page(path: Path, recordings: Sequence[Recording], reports: Sequence[SimulationReport], title: str) -> None:
    """Write the report as one HTML file."""
    write_html(path, recordings, title=title, reports=reports)


def run_checks(checks: Sequence[Check], reports: Sequence[SimulationReport]) -> list[CheckResult]:
    """Whether the checks hold for all calls."""
    values = check_values(*reports)
    return [check.run(values) for check in checks]


def _events(recording: Recording) -> Iterator[dict[str, Any]]:
    for entry in recording.entries:
        at_s = round(entry.at_s, 4)
        if entry.kind in _WHO:
            data = entry.data
            yield {"at_s": at_s, "from": _WHO[entry.kind], **({"json": data} if data else {"text": entry.text})}
        elif entry.kind is Kind.NOTE:
            yield {"at_s": at_s, **entry.data}
