"""Who keeps recordings, and where one call goes: what a server's setting `recorder` has to be.

`MemoryRecorder` keeps them in memory; `FlightRecorder`, in flight.py, on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ..core.json_audio import JSONTransport
from ..core.wire import load_object
from .recording import Entry, Kind, Message, Recording

META = "meta"
"""The name of a note that is no entry: its values belong to `Recording.meta`, and were not known at the beginning."""

AUDIO_FIELD = "audio_field"
"""In the meta of `Recorder.begin`: the key of the audio in JSON texts to the server. It is no part of a recording."""


class Tape(Protocol):
    """Where one recorded call goes."""

    @property
    def most_pending(self) -> int:
        """So many frames of audio may be given to `add` together, later than they came; 1: none waits for another."""

    def add(self, messages: Sequence[Message], /) -> None:
        """Keep messages, in the thread of the call and in their order.

        A text to the server may be a frame of audio (the JSON audio transport): it is left to whoever reads the
        recording to tell, because that takes longer than all else.
        """

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
            meta: as in `Recording.meta`, as far as it is known; and `audio_field`, the key of the audio in JSON texts
                to the server, or None.
        """


class MemoryTape:
    """One recorded call in memory.

    Attributes:
        recording: what was recorded until now.
        is_bad: how the call ended; None: it goes on.
    """

    most_pending = 1

    def __init__(self, meta: Mapping[str, Any]) -> None:
        known = dict(meta)
        field = known.pop(AUDIO_FIELD, None)
        self.recording = Recording(known)
        self.is_bad: bool | None = None
        self._json_audio = JSONTransport(receive_field=field) if field else None

    def add(self, messages: Sequence[Message], /) -> None:
        """See `Tape`. A text that is a frame of audio becomes one."""
        for message in messages:
            self._add_one(*message)

    def _add_one(self, at_s: float, kind: Kind, payload: bytes) -> None:
        if kind is Kind.AUDIO_TO_SERVER and self._json_audio is not None:
            self._json_audio = None  # as in `core.session`: the first frame tells the transport
            self.recording.meta["transport"] = "binary"
        elif kind is Kind.TEXT_TO_SERVER and self._json_audio is not None:
            pcm = _pcm_in(payload, self._json_audio)
            if pcm is not None:
                self.recording.meta["transport"] = "json"
                kind, payload = Kind.AUDIO_TO_SERVER, pcm
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
        audio_field: of the latest call, as in the meta of `Recorder.begin`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.audio_field: str | None = None

    def begin(self, meta: Mapping[str, Any]) -> MemoryTape:
        """See `Recorder`."""
        self.audio_field = meta.get(AUDIO_FIELD)
        return super().begin(meta)


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
    tape = MemoryTape(meta)
    tape.add(others)
    return tape.recording


def _pcm_in(text: bytes, json_audio: JSONTransport) -> bytes | None:
    """The PCM in a text, where it is a frame of audio."""
    if json_audio.receive_field.encode() not in text:
        return None
    data = load_object(text.decode("utf-8", "replace"))
    return json_audio.decode(data) if data is not None and json_audio.carries_audio(data) else None
