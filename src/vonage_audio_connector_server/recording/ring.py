"""The file of one recorded call: rings of records in memory that is the file, so a killed process leaves it whole.

A file begins with a head, which says how its regions are cut. A region is a ring of segments of one size. A segment
begins with its sequence number (0: not in use), and holds records, one behind the other. When a region is full, its
oldest segment is zeroed and used anew. All numbers are little-endian.

A record is written in one go, its last byte last. That is its kind, which is never 0: where it is 0, the record was not
written to its end, or none stands there.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from struct import Struct, error
from typing import Final, NamedTuple

from .recording import Entry, Kind

MAGIC: Final = b"VACTAPE1"
HEAD_BYTES: Final = 64
_HEAD: Final = Struct("<8sI")  # the magic, and how many regions follow
_CUT: Final = Struct("<QI")  # of a region: bytes of a segment, and how many segments
_SEQUENCE: Final = Struct("<Q")
_RECORD: Final = Struct("<dI")  # at_s, and how many bytes the payload has; that follows, and the kind
RECORD_BYTES: Final = _RECORD.size + 1
"""What a record takes besides its payload."""

MOST_REGIONS: Final = (HEAD_BYTES - _HEAD.size) // _CUT.size


class Region(NamedTuple):
    """How a region is cut."""

    segment_bytes: int
    segments: int

    @property
    def size_bytes(self) -> int:
        """Of the region."""
        return self.segment_bytes * self.segments


def region_for(payload_bytes: int, records: int) -> Region:
    """A region of one segment that takes exactly so much."""
    return Region(_SEQUENCE.size + payload_bytes + records * RECORD_BYTES, 1)


def write_head(buffer: mmap.mmap | bytearray, regions: Sequence[Region]) -> None:
    """Write how a file is cut; its first bytes last, because they say that all else is there."""
    for number, region in enumerate(regions):
        _CUT.pack_into(buffer, _HEAD.size + number * _CUT.size, *region)
    _HEAD.pack_into(buffer, 0, b"", len(regions))
    buffer[: len(MAGIC)] = MAGIC


def starts_of(regions: Sequence[Region]) -> list[int]:
    """Where each region begins, and where the file ends."""
    starts = [HEAD_BYTES]
    for region in regions:
        starts.append(starts[-1] + region.size_bytes)
    return starts


class Ring:
    """Writes into one region.

    Args:
        buffer: the whole file.
        start: where the region begins.
        region: how it is cut.
        on_lost: called with the records of the first segment when that is about to be used anew.
    """

    __slots__ = ("_at", "_buffer", "_end", "_on_lost", "_region", "_sequence", "_start")

    def __init__(
        self,
        buffer: mmap.mmap | bytearray,
        start: int,
        region: Region,
        on_lost: Callable[[Iterator[Entry]], None] | None = None,
    ) -> None:
        self._buffer = buffer
        self._start = start
        self._region = region
        self._on_lost = on_lost
        self._sequence = 0
        self._at = self._end = start
        self._turn()

    def add(self, at_s: float, kind: Kind, payload: bytes, /) -> None:
        """Write a record; what is too long for a segment is cut."""
        at, size = self._at, len(payload)
        stop = at + RECORD_BYTES + size
        if stop > self._end:
            size = min(size, self._region.segment_bytes - _SEQUENCE.size - RECORD_BYTES)
            at = self._turn()
            stop = at + RECORD_BYTES + size
        _packer(size)(self._buffer, at, at_s, size, payload, kind)
        self._at = stop

    def fits(self, payload: bytes) -> bool:
        """Whether a record fits without that an older one is lost."""
        return self._at + RECORD_BYTES + len(payload) <= self._end

    @property
    def stop(self) -> int:
        """The end of what was ever written in the region: of what follows nothing is in use."""
        return self._at if self._sequence <= self._region.segments else self._start + self._region.size_bytes

    def _turn(self) -> int:
        """Go on in the next segment; returns where."""
        segment_bytes, segments = self._region
        if self._sequence == segments and self._on_lost is not None:
            self._on_lost(_records(self._buffer, self._start + _SEQUENCE.size, self._start + segment_bytes))
        start = self._start + self._sequence % segments * segment_bytes
        self._end = start + segment_bytes
        if self._sequence >= segments:  # the file was all zeros
            _SEQUENCE.pack_into(self._buffer, start, 0)
            self._buffer[start : self._end] = _zeros(segment_bytes)
        self._sequence += 1
        _SEQUENCE.pack_into(self._buffer, start, self._sequence)
        self._at = start + _SEQUENCE.size
        return self._at


def read_regions(data: bytes) -> list[list[Entry]]:
    """The records of each region, the oldest first.

    The end of the file may be missing, and the file may be written while it is read: what is not whole is left out.

    Raises:
        ValueError: it is no such file.
    """
    try:
        magic, count = _HEAD.unpack_from(data)
        if magic != MAGIC or not 0 < count <= MOST_REGIONS:
            raise ValueError("it does not begin as a recording does")
        regions = [Region(*_CUT.unpack_from(data, _HEAD.size + number * _CUT.size)) for number in range(count)]
        if any(region.segment_bytes < _SEQUENCE.size for region in regions):
            raise ValueError("its regions are too small for one of a recording")
    except error as exc:
        raise ValueError("it is too short for a recording") from exc
    return [list(_read_region(data, *both)) for both in zip(starts_of(regions), regions, strict=False)]


def _read_region(data: bytes, start: int, region: Region) -> Iterator[Entry]:
    found = []
    for number in range(region.segments):
        segment_start = start + number * region.segment_bytes
        if segment_start + _SEQUENCE.size > len(data):
            break
        sequence = _SEQUENCE.unpack_from(data, segment_start)[0]
        if sequence:
            found.append((sequence, segment_start))
    for _, segment_start in sorted(found):
        yield from _records(data, segment_start + _SEQUENCE.size, segment_start + region.segment_bytes)


def _records(data: bytes | bytearray | mmap.mmap, at: int, end: int) -> Iterator[Entry]:
    end = min(end, len(data))
    while at + RECORD_BYTES <= end:
        at_s, size = _RECORD.unpack_from(data, at)
        stop = at + _RECORD.size + size
        if stop >= end or not data[stop]:
            return
        if data[stop] in _KINDS:
            yield Entry(at_s, Kind(data[stop]), bytes(data[at + _RECORD.size : stop]))
        at = stop + 1


_KINDS: Final = frozenset(Kind)


@lru_cache(maxsize=4096)
def _packer(size: int) -> Callable[..., None]:
    """Writes a record whose payload has so many bytes."""
    return Struct(f"<dI{size}sB").pack_into


@lru_cache(maxsize=4)
def _zeros(size_bytes: int) -> bytes:
    return bytes(size_bytes)
