"""The folder of one recorded call: `ring` has all that happened (ring.py), `call.json` what it was, for people.

The same form is written by the flight recorder while a call goes on, and by `write_folder` at once, out of memory.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from ..errors import AudioConnectorConfigError
from .recorder import META, recording_of
from .recording import Recording, note
from .ring import Ring, read_regions, region_for, starts_of, write_head
from .storage import MemoryStorage

RING: Final = "ring"
CALL: Final = "call.json"

CALL_BYTES: Final = 8192
"""More than `call.json` takes."""

_NOTES_BYTES: Final = 160 * 1024  # of a ring of the flight recorder: all of it but the messages


def read_folder(path: str | os.PathLike[str]) -> Recording:
    """A recorded call: one that ended, one that a killed process left behind, or one that goes on, up to now.

    Args:
        path: its folder.

    Raises:
        AudioConnectorConfigError: there is no recording.
    """
    try:
        return _read((Path(path) / RING).read_bytes())
    except (OSError, ValueError) as exc:
        raise AudioConnectorConfigError(f"{os.fspath(path)} is not the folder of a recorded call: {exc}") from exc


def write_folder(path: str | os.PathLike[str], recording: Recording) -> None:
    """Write a recording that is in memory, whole: the folder is complete from the moment on at which it is there.

    Args:
        path: of the folder. An empty folder, or another recording, that stands there is replaced.
        recording: what to write.

    Raises:
        AudioConnectorConfigError: something else stands there, or nothing can be written.
    """
    folder = Path(path).resolve()
    try:
        if folder.exists() and not (folder / RING).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise AudioConnectorConfigError(f"{folder} is there, and is no recorded call: name another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            made = Path(scratch) / "new"
            made.mkdir(mode=0o700)
            _write_private(made / RING, _ring_of(recording))
            write_call(made, recording)
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            made.rename(folder)
    except OSError as exc:
        raise AudioConnectorConfigError(f"no recording can be written to {folder}: {exc}") from exc


def read_notes(folder: Path) -> Recording:
    """What the flight recorder has recorded besides messages.

    Raises:
        OSError: it can't be read.
        ValueError: there is no recording.
    """
    with (folder / RING).open("rb") as ring:
        return _read(ring.read(_NOTES_BYTES))


def write_call(folder: Path, recording: Recording) -> None:
    """Write `call.json`: the `meta`, how the call was `closed` (null: nobody knows), and its last `stats`.

    Raises:
        OSError: it can't be written.
    """
    about: dict[str, dict[str, Any] | None] = {"meta": recording.meta}
    for name in ("closed", "stats"):
        notes = [data for _, data in recording.notes(name)]
        about[name] = {key: value for key, value in notes[-1].items() if key != "note"} if notes else None
    _write_private(folder / CALL, json.dumps(about, indent=2).encode() + b"\n")


def _read(data: bytes) -> Recording:
    kept, *others = read_regions(data)
    entries = [entry for region in others for entry in region]
    # The first message is written to what is kept just before it is lost: where a process was killed then, it is twice.
    first = [entry for entry in kept if entry not in entries]
    return recording_of([*first, *entries])


def _ring_of(recording: Recording) -> bytearray:
    """The bytes of a ring that takes all entries."""
    meta = note(0.0, META, **recording.meta)
    kept = region_for(len(meta.payload), 1)
    all_else = region_for(sum(len(entry.payload) for entry in recording.entries), len(recording.entries))
    regions = (kept, all_else)
    starts = starts_of(regions)
    storage = MemoryStorage(starts[-1])
    Ring(storage, starts[0], kept).add(*meta)
    ring = Ring(storage, starts[1], all_else)
    for entry in recording.entries:
        ring.add(*entry)
    ring.flush()
    write_head(storage, regions)
    return storage.data


def _write_private(path: Path, data: bytes | bytearray) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
