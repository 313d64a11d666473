"""The flight recorder: the last seconds of each call in a file, which is kept when the call ends badly.

While a call goes on, its messages are written into a file whose place is taken (ring.py): into the system's memory, so
nothing waits for a disk. What takes longer, the end of a call, is done by one thread for all.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, Final, Literal, TypeVar, get_args

from ..errors import AudioConnectorConfigError
from ..sparing import warn
from .folder import CALL_BYTES
from .recorder import META
from .recording import Entry, Kind, note
from .ring import MOST_PENDING, RECORD_BYTES, Region, Ring, starts_of, write_head
from .shelf import BLOCK_BYTES, Place, Shelf, complete, describe, discard, name_of
from .storage import FileStorage

T = TypeVar("T")

Keep = Literal["bad", "always"]

MIN_LAST_S, MAX_LAST_S = 1.0, 3600.0

_BYTES_A_SECOND: Final = 50 * 2 * (960 + RECORD_BYTES)  # 24 kHz both ways
_SEGMENTS: Final = 32  # as one of them is always partly empty, so many waste little
_MIN_SEGMENT_BYTES: Final = 72 * 1024  # a text of 64 KiB, which is the default limit, fits
_KEPT: Final = Region(16 * 1024, 1)
_NOTES: Final = Region(32 * 1024, 4)

_KEPT_NOTES: Final = (META, "closed")


class FlightRecorder:
    """Records the last seconds of each call, for the case that it ends badly.

    A call ends badly where it is closed with another code than 1000, 1001 or 1005, or not by the session or the
    program (but a server that stops ends calls well), where a handler or `on_connect` raised, and where the listener
    heard gaps. Its recording stays in a folder of its own in `folder`. That of a call that ended well is deleted.

    A recording holds what was said: read docs/flight-recorder.md before you switch it on.

    Args:
        folder: in which the recordings stand. It is made, if it isn't there, for this user alone.
        last_s: how many seconds of a call are there at least, 1 to 3600; 30 by default, which take 3 MB.
        keep: `bad`: calls that ended badly; `always`: all.
        max_bytes: what all recordings in the folder may take, those of calls that go on among them, whichever process
            writes them. The oldest that are complete are deleted for new ones. Where that isn't enough, a call isn't
            recorded, and a warning says so.

    Raises:
        AudioConnectorConfigError: a value is wrong, or nothing can be written in the folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        last_s: float = 30.0,
        keep: Keep = "bad",
        max_bytes: int = 1_000_000_000,
    ) -> None:
        if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
            raise AudioConnectorConfigError(f"folder must be the path of a folder, not {folder!r}")
        is_number = isinstance(last_s, (int, float)) and not isinstance(last_s, bool)
        if not is_number or not MIN_LAST_S <= last_s <= MAX_LAST_S:
            raise AudioConnectorConfigError(f"last_s must be {MIN_LAST_S:g} to {MAX_LAST_S:g} seconds, not {last_s!r}")
        if keep not in get_args(Keep):
            raise AudioConnectorConfigError(f"keep must be 'bad' or 'always', not {keep!r}")
        messages = _region_of(last_s)
        self._regions = (_KEPT, _NOTES, messages)
        self._ring_bytes = starts_of(self._regions)[-1]
        least_bytes = 2 * self._ring_bytes
        if type(max_bytes) is not int or max_bytes < least_bytes:
            raise AudioConnectorConfigError(
                f"max_bytes must be a whole number from {least_bytes} on with last_s={last_s:g}, not {max_bytes!r}"
            )
        self._keep = keep
        self._worker: ThreadPoolExecutor | None = None
        self._shelf = Shelf(Path(folder), max_bytes)

    @property
    def folder(self) -> Path:
        """In which the recordings stand."""
        return self._shelf.folder

    def begin(self, meta: Mapping[str, Any]) -> FlightTape | None:
        """See `Recorder`."""
        began = str(meta.get("began") or datetime.now(UTC).isoformat(timespec="milliseconds"))
        try:
            name = name_of(began, str(meta.get("connection_id", "")))
            place = self._shelf.take(name, self._ring_bytes, CALL_BYTES)
            if place is None:
                warn("a call is not recorded: what is being recorded takes all of max_bytes in %s", self.folder)
                return None
            try:
                tape = FlightTape(place, self._regions, {**meta, "began": began}, self._end)
            except BaseException:
                os.close(place.fd)
                discard(place.folder)
                raise
            if self._shelf.is_nearly_full:  # last: the thread takes its turn at the interpreter
                self._do(partial(self._shelf.make_room_ahead, self._ring_bytes, CALL_BYTES))
            return tape
        except OSError as exc:
            warn("a call is not recorded: %s", exc)
            return None

    def wait(self) -> None:
        """Wait until what has ended by now is complete on the disk, or deleted. It blocks: for tests and scripts."""
        self._do(int).result()

    def _end(self, tape: FlightTape, is_bad: bool) -> None:
        self._do(tape.keep if is_bad or self._keep == "always" else tape.discard)

    def _do(self, function: Callable[[], T]) -> Future[T]:
        """Have the one thread do something. It is made when it is needed: in the process that serves, after a fork."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "flight recorder")
        try:
            return self._worker.submit(function)
        except RuntimeError:  # the interpreter ends, and no thread begins anything
            future: Future[T] = Future()
            future.set_result(function())
            return future


class FlightTape:
    """The file of one call.

    Args:
        place: its folder and its ring.
        regions: how the ring is cut.
        meta: what is known of the call.
        on_end: called with this when the call is over, and whether it ended badly.
    """

    def __init__(
        self,
        place: Place,
        regions: Sequence[Region],
        meta: Mapping[str, Any],
        on_end: Callable[[FlightTape, bool], object],
    ) -> None:
        starts = starts_of(regions)
        self._place = place
        storage = FileStorage(place.fd)
        self._on_end = on_end
        self._lock = RLock()  # of the notes: a handler of signals may log while one is written
        self._is_over = False
        self._kept = Ring(storage, starts[0], regions[0])
        self._notes = Ring(storage, starts[1], regions[1])
        self._messages = Ring(storage, starts[2], regions[2], self._keep_first)
        self.add = self._messages.add
        self.note(0.0, META, **meta)
        write_head(storage, regions)

    def note(self, at_s: float, name: str, /, **values: Any) -> None:
        """See `Tape`."""
        payload = note(at_s, name, **values).payload
        with self._lock:
            if self._is_over:
                return
            try:
                is_kept = name in _KEPT_NOTES and self._kept.fits(payload)
                (self._kept if is_kept else self._notes).add(at_s, Kind.NOTE, payload)
            except OSError as exc:
                self._is_over = True  # first: what is logged is noted, too
                warn("a recording takes no more notes, because they can't be written: %s", exc)

    def end(self, is_bad: bool) -> None:
        """See `Tape`."""
        with self._lock:
            self._is_over = True
        try:
            self._messages.close()
        except OSError as exc:
            warn("the end of a recording can't be written: %s", exc)
        self._on_end(self, is_bad)

    def keep(self) -> None:
        """Complete the recording. It takes its time."""
        try:
            os.ftruncate(self._place.fd, self._messages.stop)
        except OSError as exc:
            warn("a recording takes more than it needs: %s", exc)
        describe(self._place.folder)
        os.close(self._place.fd)
        complete(self._place.folder)

    def discard(self) -> None:
        """Delete the recording. It takes its time."""
        os.close(self._place.fd)
        discard(self._place.folder)

    def _keep_first(self, records: Iterator[Entry]) -> None:
        """Keep the first text to the server, which tells the rate and the custom keys: it is about to be lost."""
        first = next((entry for entry in records if entry.kind is Kind.TEXT_TO_SERVER), None)
        with self._lock:
            if first is not None and self._kept.fits(first.payload):
                self._kept.add(*first)


def _region_of(last_s: float) -> Region:
    """The region of the messages: so many seconds fit even while one segment is empty, and frames wait."""
    total_bytes = math.ceil((last_s + MOST_PENDING / 50) * _BYTES_A_SECOND)
    segment_bytes = max(_MIN_SEGMENT_BYTES, _in_pages(total_bytes / (_SEGMENTS - 1)))
    return Region(segment_bytes, math.ceil(total_bytes / segment_bytes) + 1)


def _in_pages(size_bytes: float) -> int:
    return math.ceil(size_bytes / BLOCK_BYTES) * BLOCK_BYTES
