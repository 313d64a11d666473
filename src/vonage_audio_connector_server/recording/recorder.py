"""Who keeps recordings, and where one call goes: what a server's setting `recorder` has to be.

`MemoryRecorder` keeps them in memory; `FlightRecorder`, in flight.py, on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from .recording import Entry, Kind, Recording

META = "meta"
"""The name of a note that is no entry: its values belong to `Recording.meta`, and were not known at the beginning."""


@runtime_checkable
class Tape(Protocol):
    """Where one recorded call goes."""

    def add(self, at_s: float, kind: Kind, payload: bytes, /) -> None:
        """Keep a message, in the thread of the call. See `Message`."""

    def note(self, at_s: float, name: str, /, **values: Any) -> None:
        """Keep what is no message, in any thread; see `recording.note`. `meta` adds to what was told at the begin."""

    def end(self, is_bad: bool) -> None:
        """The call is over; called once, last.

        Args:
            is_bad: it was closed for a reason that is none of a call that went well, a handler failed, or the listener
                heard gaps.
        """


@runtime_checkable
class Recorder(Protocol):
    """Keeps recordings of calls."""

    def begin(self, meta: Mapping[str, Any]) -> Tape | None:
        """A call was accepted: where it goes. None: it isn't recorded. Called in the event loop, so it must be quick.

        Args:
            meta: as in `Recording.meta`, as far as it is known.
        """


class MemoryTape:
    """One recorded call in memory.

    Attributes:
        recording: what was recorded until now.
        is_bad: how the call ended; None: it goes on.
    """

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.recording = Recording(dict(meta))
        self.is_bad: bool | None = None

    def add(self, at_s: float, kind: Kind, payload: bytes, /) -> None:
        """See `Tape`."""
        self.recording.add(at_s, kind, payload)

    def note(self, at_s: float, name: str, /, **values: Any) -> None:
        """See `Tape`."""
        if name == META:
            self.recording.meta.update(values)
        else:
            self.recording.note(at_s, name, **values)

    def end(self, is_bad: bool) -> None:
        """See `Tape`."""
        self.is_bad = is_bad


class MemoryRecorder:
    """Keeps recordings in memory, whole: 0.1 MB a second of a call at 24 kHz. For tests, and for a look at a few calls.

    Args:
        most: how many; the oldest goes when one more begins. None: all.

    Attributes:
        tapes: by connection id (that of `client.info()`), the oldest first.
    """

    def __init__(self, most: int | None = None) -> None:
        self.tapes: dict[str, MemoryTape] = {}
        self._most = most

    @property
    def recordings(self) -> list[Recording]:
        """All recordings, the oldest first; those of calls that go on among them."""
        return [tape.recording for tape in self.tapes.values()]

    def begin(self, meta: Mapping[str, Any]) -> MemoryTape:
        """See `Recorder`."""
        tape = self.tapes[str(meta.get("connection_id", len(self.tapes)))] = MemoryTape(meta)
        if self._most is not None and len(self.tapes) > self._most:
            del self.tapes[next(iter(self.tapes))]
        return tape


class SoleRecorder(MemoryRecorder):
    """Records instead of the recorder in the settings: a call that is none of a customer's is not kept with theirs.

    Attributes:
        audio_field: of the latest call, the key of the audio in JSON texts to the server; None: it takes none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.audio_field: str | None = None


def recording_of(entries: Iterable[Entry]) -> Recording:
    """A recording of what was added to a tape and noted on it, in whatever order; the meta was noted, too."""
    meta: dict[str, Any] = {}
    others = []
    for entry in sorted(entries, key=lambda one: one.at_s):
        data = entry.data if entry.kind is Kind.NOTE else {}
        if data.pop("note", None) == META:
            meta |= data
        else:
            others.append(entry)
    return Recording(meta, others)
