"""The file of one recorded call: rings of records. What was written to it is there, even if the process is killed.

A file begins with a head, which says how its regions are cut. A region is a ring of segments of one size. A segment
begins with its sequence number (0: not in use), and holds records, one behind the other. When a region is full, its
oldest segment is zeroed and used anew. All numbers are little-endian.

Records are written from the left, the last byte of each last. That is its kind, which is never 0: where it is 0, the
record was not written to its end, or none stands there.

Frames of audio are written a few at a time, by `write`. Through memory that is the file it is no cheaper: each new page
costs more than the frames on it. And there a disk that fails is a signal, which ends the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from struct import Struct, error
from typing import Final, NamedTuple

from .recording import Entry, Kind
from .storage import ClosedStorage, Storage

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

MOST_PENDING: Final = 8
"""Frames of audio that are written together: a process that is killed loses fewer."""


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


def write_head(storage: Storage, regions: Sequence[Region]) -> None:
    """Write how a file is cut; its first bytes last, because they say that all else is there."""
    cuts = b"".join(_CUT.pack(*region) for region in regions)
    storage.write(_HEAD.pack(b"", len(regions)) + cuts, 0)
    storage.write(MAGIC, 0)


def starts_of(regions: Sequence[Region]) -> list[int]:
    """Where each region begins, and where the file ends."""
    starts = [HEAD_BYTES]
    for region in regions:
        starts.append(starts[-1] + region.size_bytes)
    return starts


class Ring:
    """Writes into one region, which is full of zeros.

    Args:
        storage: the whole file.
        start: where the region begins.
        region: how it is cut.
        on_lost: called with the records of the first segment when that is about to be used anew.
    """

    __slots__ = (
        *("_at", "_frame_bytes", "_most_bytes", "_on_lost", "_pack", "_pending", "_pending_bytes"),
        *("_region", "_segment_start", "_sequence", "_start", "_storage"),
    )

    def __init__(
        self,
        storage: Storage,
        start: int,
        region: Region,
        on_lost: Callable[[Iterator[Entry]], None] | None = None,
    ) -> None:
        self._storage = storage
        self._start = start
        self._region = region
        self._on_lost = on_lost
        self._sequence = 0
        self._segment_start: int
        self._at: int  # in the segment: what stands before it is written
        self._pending = bytearray()
        self._pending_bytes = 0
        self._frame_bytes = self._most_bytes = -1  # of the frames that wait, and so much may wait of them
        self._pack = _RECORD.pack_into
        self._turn()

    def add(self, at_s: float, kind: Kind, payload: bytes, /) -> None:
        """Write a record; what is too long for a segment is cut.

        A frame of audio waits until there are `MOST_PENDING`, or something else comes.

        Raises:
            OSError: it can't be written, nor what has waited for it.
        """
        size = len(payload)
        at = self._pending_bytes
        stop = at + size + RECORD_BYTES
        if size == self._frame_bytes and stop <= self._most_bytes and (kind is _AUDIO_IN or kind is _AUDIO_OUT):
            self._pack(self._pending, at, at_s, size, payload, kind)
            self._pending_bytes = stop
            if stop == self._most_bytes:
                self.flush()
        else:
            self._add_slowly(at_s, kind, payload)

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OSError: it can't be written, and is lost.
        """
        size, self._pending_bytes = self._pending_bytes, 0
        if size:
            self._write(memoryview(self._pending)[:size])
            self._make_room()

    def close(self) -> None:
        """Write what waits; nothing can be written any more.

        Raises:
            OSError: as `flush`.
        """
        try:
            self.flush()
        finally:
            self._storage, self._frame_bytes = ClosedStorage(), -1

    def fits(self, payload: bytes) -> bool:
        """Whether a record fits without that an older one is lost."""
        return self._at + self._pending_bytes + RECORD_BYTES + len(payload) <= self._region.segment_bytes

    @property
    def stop(self) -> int:
        """The end of what was ever written in the region: of what follows nothing is in use."""
        if self._sequence <= self._region.segments:
            return self._segment_start + self._at
        return self._start + self._region.size_bytes

    def _add_slowly(self, at_s: float, kind: Kind, payload: bytes) -> None:
        self.flush()
        payload = bytes(payload[: self._region.segment_bytes - _SEQUENCE.size - RECORD_BYTES])
        if not self.fits(payload):
            self._turn()
        self._write(_RECORD.pack(at_s, len(payload)) + payload + bytes((kind,)))
        if kind in (_AUDIO_IN, _AUDIO_OUT):  # others of this size are likely to follow
            self._frame_bytes = size = len(payload)
            self._pack = _packer(size)
            self._pending = bytearray(MOST_PENDING * (size + RECORD_BYTES))
        self._make_room()

    def _write(self, records: bytes | memoryview) -> None:
        self._storage.write(records, self._segment_start + self._at)
        self._at += len(records)

    def _make_room(self) -> None:
        """Let as many frames wait as the segment takes."""
        record_bytes = self._frame_bytes + RECORD_BYTES
        room = self._region.segment_bytes - self._at
        self._most_bytes = min(MOST_PENDING, room // record_bytes) * record_bytes

    def _turn(self) -> None:
        """Go on in the next segment."""
        segment_bytes, segments = self._region
        if self._sequence == segments and self._on_lost is not None:
            first = self._storage.read(segment_bytes, self._start)
            self._on_lost(_records(first, _SEQUENCE.size, segment_bytes))
        self._segment_start = start = self._start + self._sequence % segments * segment_bytes
        if self._sequence >= segments:  # the file was all zeros
            self._storage.write(_zeros(segment_bytes), start)
        self._sequence += 1
        self._storage.write(_SEQUENCE.pack(self._sequence), start)
        self._at = _SEQUENCE.size


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


def _records(data: bytes, at: int, end: int) -> Iterator[Entry]:
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


@lru_cache(maxsize=4)
def _zeros(size_bytes: int) -> bytes:
    return bytes(size_bytes)


_AUDIO_IN: Final = Kind.AUDIO_TO_SERVER
_AUDIO_OUT: Final = Kind.AUDIO_FROM_SERVER
