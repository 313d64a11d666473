"""Where the bytes of a recorded call go: a file on disk, or one that is made in memory."""

from __future__ import annotations

import os
from threading import Lock
from typing import Final, Protocol


class Storage(Protocol):
    """The bytes of a file."""

    def write(self, data: bytes | bytearray | memoryview, at: int) -> None:
        """Write them.

        Raises:
            OSError: it can't be written.
        """

    def read(self, size_bytes: int, at: int) -> bytes:
        """Read them."""


class FileStorage:
    """Those of a file on disk; several threads may use it.

    Args:
        fd: of the file.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes | bytearray | memoryview, at: int) -> None:
        """See `Storage`."""
        if _pwrite(self._fd, data, at) != len(data):
            raise OSError("not all of it could be written")

    def read(self, size_bytes: int, at: int) -> bytes:
        """See `Storage`."""
        return _pread(self._fd, size_bytes, at)


class MemoryStorage:
    """Those of a file that is made in memory.

    Attributes:
        data: all of them.
    """

    def __init__(self, size_bytes: int) -> None:
        self.data = bytearray(size_bytes)

    def write(self, data: bytes | bytearray | memoryview, at: int) -> None:
        """See `Storage`."""
        self.data[at : at + len(data)] = data

    def read(self, size_bytes: int, at: int) -> bytes:
        """See `Storage`."""
        return bytes(self.data[at : at + size_bytes])


class ClosedStorage:
    """Those of a file that may be closed: its number may be another file's by now."""

    def write(self, data: bytes | bytearray | memoryview, at: int) -> None:
        """See `Storage`.

        Raises:
            ValueError: always.
        """
        raise ValueError("the recording is over")

    def read(self, size_bytes: int, at: int) -> bytes:
        """See `Storage`.

        Raises:
            ValueError: always.
        """
        raise ValueError("the recording is over")


_lock = Lock()


def _seek_and_write(fd: int, data: bytes | bytearray | memoryview, at: int, /) -> int:
    with _lock:
        os.lseek(fd, at, os.SEEK_SET)
        return os.write(fd, data)


def _seek_and_read(fd: int, size_bytes: int, at: int, /) -> bytes:
    with _lock:
        os.lseek(fd, at, os.SEEK_SET)
        return os.read(fd, size_bytes)


_pwrite: Final = getattr(os, "pwrite", _seek_and_write)  # Windows has none
_pread: Final = getattr(os, "pread", _seek_and_read)
