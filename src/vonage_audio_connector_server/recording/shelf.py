"""The folder in which the recordings of many calls stand, and that they never take more than they may.

A recording is a folder of its own. While its call goes on it has a hidden name, in which the most that it will take
stands, and whoever writes it holds a lock on its ring; it gets its final name when it is complete. Several processes
may use one folder. A hidden folder without a lock was left by a process that died: it gets its final name, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final

from ..errors import AudioConnectorConfigError
from ..sparing import warn
from .folder import RING, read_notes, write_call

try:
    import fcntl
except ImportError:  # Windows, where a folder can't be renamed while a file in it is open: that is the lock there
    fcntl = None  # type: ignore[assignment]

BLOCK_BYTES: Final = 4096
_NAME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z-[\w-]+")
_HIDDEN: Final = re.compile(rf"\.({_NAME.pattern})\.(\d+)")
_LOCK_TRIES, _LOCK_TRY_S = 20, 0.0002  # whoever holds it needs less; one that was stopped must not stop all others


class Place:
    """Where one call is being recorded.

    Attributes:
        folder: its hidden folder.
        fd: its ring, open, and locked.
    """

    def __init__(self, folder: Path, fd: int) -> None:
        self.folder = folder
        self.fd = fd


class Shelf:
    """The folder.

    Args:
        folder: is made, if it isn't there.
        max_bytes: what all recordings in it may take.

    Raises:
        AudioConnectorConfigError: nothing can be written there.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._sizes: dict[str, int] = {}  # of recordings that are complete, which don't change
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as exc:
            raise AudioConnectorConfigError(f"folder must be one that can be written: {exc}") from exc
        self.adopt_left()
        self._sum_up()

    def take(self, name: str, ring_bytes: int, more_bytes: int) -> Place | None:
        """Make room for one recording, and make its folder and its ring, full of zeros.

        Args:
            name: that it will have; see `name_of`.
            ring_bytes: the size of the ring.
            more_bytes: what else it may take.

        Returns:
            None where there is no room even without the older ones.

        Raises:
            OSError: it can't be written.
        """
        size_bytes = _in_blocks(ring_bytes) + _in_blocks(more_bytes) + BLOCK_BYTES  # the folder itself
        with self._lock, self._locked():
            if not self._make_room(size_bytes):
                return None
            folder = self.folder / f".{name}.{size_bytes}"
            folder.mkdir(mode=0o700)
            try:
                return Place(folder, _make_ring(folder / RING, ring_bytes))
            except OSError:
                discard(folder)
                raise

    def adopt_left(self) -> None:
        """Give those that a process left behind that died their final names."""
        for name in self._names():
            hidden = _HIDDEN.fullmatch(name)
            if hidden is not None and _was_left(self.folder / name):
                describe(self.folder / name)
                complete(self.folder / name)

    def _make_room(self, size_bytes: int) -> bool:
        taken_bytes = self._sum_up()
        if taken_bytes + size_bytes > self._max_bytes:
            self.adopt_left()
            taken_bytes = self._sum_up()
        for name in sorted(self._sizes):
            if taken_bytes + size_bytes <= self._max_bytes:
                break
            discard(self.folder / name)
            if not (self.folder / name).exists():
                taken_bytes -= self._sizes.pop(name)
        return taken_bytes + size_bytes <= self._max_bytes

    def _sum_up(self) -> int:
        """What all recordings take; those that are being written, what they will take at most."""
        names = self._names()
        being_written = sum(int(hidden[2]) for hidden in map(_HIDDEN.fullmatch, names) if hidden is not None)
        ended = filter(_NAME.fullmatch, names)
        self._sizes = {name: self._sizes.get(name) or _size_bytes(self.folder / name) for name in ended}
        return being_written + sum(self._sizes.values())

    def _names(self) -> list[str]:
        with os.scandir(self.folder) as entries:
            return [entry.name for entry in entries]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other process make room at the same time, if it can be had."""
        if fcntl is None:
            yield
            return
        fd = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            for _ in range(_LOCK_TRIES):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_LOCK_TRY_S)
            yield
        finally:
            os.close(fd)


def name_of(began: str, call_id: str) -> str:
    """The name of a recording: those of older calls come first in the order of the alphabet.

    Args:
        began: the wall clock, UTC, ISO 8601 with milliseconds.
        call_id: the connection id.
    """
    return f"{began[:23].replace(':', '-')}Z-{re.sub(r'[^A-Za-z0-9_-]', '', call_id)[:64] or 'call'}"


def describe(folder: Path) -> None:
    """Write `call.json` of a recording that nobody writes any more."""
    try:
        write_call(folder, read_notes(folder))
    except FileNotFoundError:  # another process was quicker
        pass
    except (OSError, ValueError) as exc:  # the ring has all
        warn("a recording has no description: %s", exc)


def complete(folder: Path) -> None:
    """Give the folder of a recording its final name. Nobody may have its ring open."""
    hidden = _HIDDEN.fullmatch(folder.name)
    assert hidden is not None
    with contextlib.suppress(OSError):  # another process was quicker; Windows: it is being written
        folder.rename(folder.with_name(hidden[1]))


def discard(folder: Path) -> None:
    """Delete a recording."""
    shutil.rmtree(folder, ignore_errors=True)


def _make_ring(path: Path, size_bytes: int) -> int:
    """Make the file, so that its place on the disk is its own: writing to it through memory must not fail."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size_bytes)
        else:
            for at in range(0, size_bytes, 1 << 20):
                os.write(fd, bytes(min(1 << 20, size_bytes - at)))
    except OSError:
        os.close(fd)
        raise
    return fd


def _was_left(folder: Path) -> bool:
    """Whether nobody writes it any more: nobody holds the lock, and it isn't just being made."""
    if fcntl is None:
        return True  # renaming it tells
    try:
        fd = os.open(folder / RING, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.pread(fd, 1, 0) != b"\0"
    except OSError:
        return False
    finally:
        os.close(fd)


def _size_bytes(folder: Path) -> int:
    total_bytes = BLOCK_BYTES
    with contextlib.suppress(OSError), os.scandir(folder) as files:  # it is gone meanwhile
        for file in files:
            total_bytes += _in_blocks(file.stat(follow_symlinks=False).st_size)
    return total_bytes


def _in_blocks(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
