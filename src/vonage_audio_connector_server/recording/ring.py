"""The file of one recorded call: rings of records in memory that is the file, so a killed process leaves it whole.

A file begins with a head, which says how its regions are cut. A region is a ring of segments of one size. A segment
begins with its sequence number (0: not in use), and holds records, one behind the other. When a region is full, its
oldest segment is zeroed and used anew. All numbers are little-endian.

A record is written in one go, its last byte last. That is its kind, which is never 0: where it is 0, the record was not
written to its end, or none stands there.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from struct import Struct, error
from typing import Final, NamedTuple

from .recording import Entry, Kind, Message

MAGIC: Final = b"VACTAPE1"
HEAD_BYTES: Final = 4096
"""A page of memory: regions of whole pages begin with one."""

_HEAD: Final = Struct("<8sI")  # the magic, and how many regions follow
_CUT: Final = Struct("<QI")  # of a region: bytes of a segment, and how many segments
_SEQUENCE: Final = Struct("<Q")
_RECORD: Final = Struct("<dI")  # at_s, and how many bytes the payload has; that follows, and the kind
RECORD_BYTES: Final = _RECORD.size + 1
"""What a record takes besides its payload."""

MOST_REGIONS: Final = 8


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

    __slots__ = (
        *("_at", "_buffer", "_on_lost", "_present", "_region"),
        *("_segment", "_segment_start", "_sequence", "_start"),
    )

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
        self._segment: memoryview
        self._at: int
        self._present: int  # so much of the segment
        self._turn()

    def add(self, at_s: float, kind: Kind, payload: bytes, /) -> None:
        """Write a record; what is too long for a segment is cut."""
        self.add_all(((at_s, kind, payload),))

    def add_all(self, messages: Iterable[Message], /) -> None:
        """Write several records."""
        segment, at = self._segment, self._at
        if at > self._present - _AHEAD_BYTES:
            self._make_present()
        packers = _packers
        for at_s, kind, payload in messages:
            size = len(payload)
            try:
                packers[size](segment, at, at_s, size, payload, kind)
            except (error, KeyError):  # the segment is full, or this size is new
                self._at = at
                size = self._add_slowly(at_s, kind, payload)
                segment, at = self._segment, self._at
            at += size + RECORD_BYTES
        self._at = at

    def fits(self, payload: bytes) -> bool:
        """Whether a record fits without that an older one is lost."""
        return self._at + RECORD_BYTES + len(payload) <= self._region.segment_bytes

    @property
    def stop(self) -> int:
        """The end of what was ever written in the region: of what follows nothing is in use."""
        if self._sequence <= self._region.segments:
            return self._segment_start + self._at
        return self._start + self._region.size_bytes

    def close(self) -> None:
        """Let the file go; nothing can be written any more."""
        self._segment.release()
        self._on_lost = None

    def _add_slowly(self, at_s: float, kind: Kind, payload: bytes) -> int:
        payload = bytes(payload[: self._region.segment_bytes - _SEQUENCE.size - RECORD_BYTES])
        if not self.fits(payload):
            self._turn()
        size = len(payload)
        _packer(size)(self._segment, self._at, at_s, size, payload, kind)
        return size

    def _turn(self) -> None:
        """Go on in the next segment."""
        segment_bytes, segments = self._region
        if self._sequence:
            self._segment.release()
        if self._sequence == segments and self._on_lost is not None:
            self._on_lost(_records(self._buffer, self._start + _SEQUENCE.size, self._start + segment_bytes))
        self._segment_start = start = self._start + self._sequence % segments * segment_bytes
        self._segment = segment = memoryview(self._buffer)[start : start + segment_bytes]
        self._present = 0
        if self._sequence >= segments:  # the file was all zeros
            _SEQUENCE.pack_into(segment, 0, 0)
            segment[:] = _zeros(segment_bytes)
        self._sequence += 1
        _SEQUENCE.pack_into(segment, 0, self._sequence)
        self._at = _SEQUENCE.size

    def _make_present(self) -> None:
        """Have the system find memory for the next part of the segment.

        Each page for itself costs ten times as much; all of the segment at once takes so long that others wait.
        """
        start, size_bytes = self._present, min(_PART_BYTES, self._region.segment_bytes - self._present)
        self._present = start + _PART_BYTES
        if size_bytes > 0 and isinstance(self._buffer, mmap.mmap) and sys.platform == "linux":
            with contextlib.suppress(OSError):  # before Linux 5.14
                self._buffer.madvise(_MADV_POPULATE_WRITE, self._segment_start + start, size_bytes)


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


def _packer(size: int) -> Callable[..., None]:
    """What writes a record whose payload has so many bytes."""
    if len(_packers) >= _MOST_PACKERS:
        _packers.clear()
    packer = _packers[size] = Struct(f"<dI{size}sB").pack_into
    return packer


_MOST_PACKERS: Final = 2048  # frames have few sizes, texts any
_packers: Final[dict[int, Callable[..., None]]] = {}


_PART_BYTES: Final = 32 * 1024  # more than 40 frames
_AHEAD_BYTES: Final = 8 * 1024  # more than the frames that come together
_MADV_POPULATE_WRITE: Final = 23


@lru_cache(maxsize=4)
def _zeros(size_bytes: int) -> bytes:
    return bytes(size_bytes)
