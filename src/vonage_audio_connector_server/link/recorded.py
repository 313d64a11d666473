"""What a call writes, on its way to a tape: recorded when the link has taken it, because before it may be flushed."""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsIndex

from ..core.json_audio import JSONTransport
from ..recording.recorder import Tape
from ..recording.recording import Kind
from ..runtime import on_trio
from ..sparing import warn
from .base import Outbox, Sink

_AUDIO_OUT, _TEXT_OUT = Kind.AUDIO_FROM_SERVER, Kind.TEXT_FROM_SERVER


def warn_unrecorded() -> None:
    """Tell the error that a tape has just raised: that may be anything, of the program's own, and the call goes on."""
    warn("messages of a call are not recorded: its recorder failed", exc_info=True)


class RecordingSink:
    """Writes, and records what was taken.

    Args:
        sink: writes.
        tape: where it is recorded.
        clock: of the call.
        origin_s: the time of the accept on it.
    """

    __slots__ = ("_add", "_clock", "_origin_s", "_sink", "_write")

    def __init__(self, sink: Sink, tape: Tape, clock: Callable[[], float], origin_s: float) -> None:
        self._sink = sink
        self._write = sink.write
        self._add = tape.add
        self._clock, self._origin_s = clock, origin_s

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """See `Sink`."""
        write, add, clock = self._write, self._add, self._clock  # as local names they are called faster
        first = outbox[0]
        if len(outbox) == 1 and type(first) is bytes:  # the usual frame
            is_done = write(outbox, json_audio)
            if not outbox:
                try:
                    add(clock() - self._origin_s, _AUDIO_OUT, first)
                except Exception:  # noqa: BLE001 (whatever a recorder of the program's own raises)
                    warn_unrecorded()
            return is_done
        before = outbox.copy()
        is_done = write(outbox, json_audio)
        for payload in before[: len(before) - len(outbox)]:
            self._add_one(payload)
        return is_done

    def unsent_bytes(self) -> int:
        """See `Sink`."""
        return self._sink.unsent_bytes()

    def _add_one(self, payload: bytes | str) -> None:
        at_s = self._clock() - self._origin_s
        try:
            if isinstance(payload, str):
                self._add(at_s, _TEXT_OUT, payload.encode("utf-8", "replace"))
            else:
                self._add(at_s, _AUDIO_OUT, bytes(payload))
        except Exception:  # noqa: BLE001 (whatever a recorder of the program's own raises)
            warn_unrecorded()


class TakingSink(RecordingSink):
    """The same on trio, where a task takes what is to be written after `write` has returned."""

    __slots__ = ()

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """See `Sink`."""
        return self._write(_Taken(outbox, self._add_one), json_audio)


class _Taken(Outbox):
    """Stands for an outbox, and tells what is taken from its left."""

    def __init__(self, outbox: Outbox, took: Callable[[bytes | str], object]) -> None:
        super().__init__()
        self._outbox = outbox
        self._took = took

    def __len__(self) -> int:
        return len(self._outbox)

    def pop(self, index: SupportsIndex = -1) -> bytes | str:
        """See `list`."""
        payload = self._outbox.pop(index)
        self._took(payload)
        return payload


def recording_sink(sink: Sink, tape: Tape, clock: Callable[[], float], origin_s: float) -> Sink:
    """A sink that tells a tape what is written; in the event loop of its call. See `RecordingSink`."""
    return (TakingSink if on_trio() else RecordingSink)(sink, tape, clock, origin_s)
