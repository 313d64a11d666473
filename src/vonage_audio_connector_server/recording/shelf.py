"""The folder in which the recordings of many calls stand, and that they never take more than they may.

A recording is a folder of its own. While its call goes on it has a hidden name, in which the most that it will take
stands, and whoever writes it holds a lock on its ring; it gets its final name when it is complete. Several processes
may use one folder. A hidden folder without a lock was left by a process that died: it gets its final name, too.
"""

from __future__ import annotations

import contextlib
import math
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
from .folder import CALL, RING, read_notes, write_call
from .ring import MAGIC

try:
    import fcntl
except ImportError:  # Windows, where a folder can't be renamed while a file in it is open: that is the lock there
    fcntl = None  # type: ignore[assignment]

BLOCK_BYTES: Final = 4096
_NAME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z-[\w-]+")
_HIDDEN: Final = re.compile(rf"\.({_NAME.pattern})\.(\d+)")
_ADOPT_S: Final = 10.0  # so seldom it looks for those that were left, where there is no room
_MAKING_S: Final = 60.0  # no recorder takes so long from the folder to the head of the ring
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

    Attributes:
        is_nearly_full: `make_room_ahead` is of use.

    Raises:
        AudioConnectorConfigError: nothing can be written there.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._sizes: dict[str, int] = {}  # by name: none changes; what is no recording has 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as exc:
            raise AudioConnectorConfigError(f"folder must be one that can be written: {exc}") from exc
        self._adopted_s = -math.inf
        self.is_nearly_full = False
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
        size_bytes = _size_of(ring_bytes, more_bytes)
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

    def make_room_ahead(self, ring_bytes: int, more_bytes: int) -> None:
        """Delete the oldest, so that the next `take` has nothing to delete. It takes its time."""
        with self._lock, self._locked(), contextlib.suppress(OSError):  # which `take` tells
            self._prune(_size_of(ring_bytes, more_bytes))

    def adopt_left(self) -> None:
        """Give those that a process left behind that died their final names."""
        self._adopted_s = time.monotonic()
        for name in filter(_HIDDEN.fullmatch, self._names()):
            folder = self.folder / name
            if _is_written(folder):
                continue
            if _has_begun(folder):
                describe(folder)
                complete(folder)
            elif _age_s(folder) > _MAKING_S:  # the process died while it made it
                discard(folder)

    def _make_room(self, size_bytes: int) -> bool:
        """Delete the oldest until there is room; look for those that were left only where nothing else helps."""
        if self._prune(size_bytes):
            return True
        if time.monotonic() - self._adopted_s < _ADOPT_S:
            return False
        self.adopt_left()
        return self._prune(size_bytes)

    def _prune(self, size_bytes: int) -> bool:
        free_bytes = self._max_bytes - self._sum_up()
        self.is_nearly_full = free_bytes < 2 * size_bytes
        if free_bytes < size_bytes:
            for name in sorted(filter(_NAME.fullmatch, self._sizes)):
                if discard(self.folder / name):
                    free_bytes += self._sizes.pop(name)
                if free_bytes >= size_bytes:
                    break
        return free_bytes >= size_bytes

    def _sum_up(self) -> int:
        """What all recordings take; those that are being written, what they will take at most."""
        known = self._sizes
        self._sizes = {name: known[name] if name in known else self._measure(name) for name in self._names()}
        return sum(self._sizes.values())

    def _measure(self, name: str) -> int:
        hidden = _HIDDEN.fullmatch(name)
        if hidden is not None:
            return int(hidden[2])
        return _size_bytes(self.folder / name) if _NAME.fullmatch(name) else 0

    def _names(self) -> list[str]:
        return os.listdir(self.folder)  # noqa: PTH208 (names are all that is wanted, and quickly)

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


def discard(folder: Path) -> bool:
    """Delete a recording; returns whether it is gone."""
    try:
        for name in (RING, CALL):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # somebody has put something into it, or may not delete it
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()
    return True


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


def _is_written(folder: Path) -> bool:
    """Whether somebody holds the lock of a recording. On Windows nobody knows: renaming it tells."""
    if fcntl is None:
        return False
    try:
        fd = os.open(folder / RING, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _has_begun(folder: Path) -> bool:
    """Whether its ring is one, and not just being made."""
    try:
        with (folder / RING).open("rb") as ring:
            return ring.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:  # it is gone meanwhile
        return 0.0


def _size_of(ring_bytes: int, more_bytes: int) -> int:
    return _in_blocks(ring_bytes) + _in_blocks(more_bytes) + BLOCK_BYTES  # the folder itself


def _size_bytes(folder: Path) -> int:
    total_bytes = BLOCK_BYTES
    with contextlib.suppress(OSError), os.scandir(folder) as files:  # it is gone meanwhile
        for file in files:
            total_bytes += _in_blocks(file.stat(follow_symlinks=False).st_size)
    return total_bytes


def _in_blocks(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
