"""The link of a call that is recorded: it stands between the call and the link that carries its messages.

What comes is recorded before the call gets it, so that the message is there whose handler kills the process; what goes
out is recorded when the link has taken it, because before it may still be flushed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsIndex

from anyio.abc import TaskGroup

from ..core.json_audio import JSONTransport
from ..recording.recorder import Tape
from ..recording.recording import Kind
from ..results import ClosedBy
from ..runtime import on_trio
from .base import Link, Outbox, Receiver, Sink

STATS_S = 10.0
"""So often the counters are recorded, while messages come."""

_AUDIO_IN, _TEXT_IN = Kind.AUDIO_TO_SERVER, Kind.TEXT_TO_SERVER
_AUDIO_OUT, _TEXT_OUT = Kind.AUDIO_FROM_SERVER, Kind.TEXT_FROM_SERVER


class RecordedLink:
    """The link of one recorded call.

    Args:
        link: carries the messages.
        tape: where they are recorded.
        clock: of the call.
        origin_s: the time of the accept on it.
        note_stats: called every `STATS_S` with the time since the accept: it records the counters.
    """

    def __init__(
        self,
        link: Link,
        tape: Tape,
        clock: Callable[[], float],
        origin_s: float,
        note_stats: Callable[[float], object],
    ) -> None:
        self._link = link
        self._tape = tape
        self._clock = clock
        self._origin_s = origin_s
        self._note_stats = note_stats
        make = TakingSink if on_trio() else RecordingSink
        self.sink: Sink = make(link.sink, tape, clock, origin_s)

    def start(self, receiver: Receiver, max_message_bytes: int, tasks: TaskGroup) -> None:
        """See `Link`."""
        recording = RecordingReceiver(receiver, self._tape, self._clock, self._origin_s, self._note_stats)
        self._link.start(recording, max_message_bytes, tasks)

    def forget(self) -> None:
        """The call is over: let go of it."""
        self._note_stats = float

    def close(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._link.close(code, reason)

    async def abandon(self, code: int, reason: str) -> None:
        """See `Link`."""
        await self._link.abandon(code, reason)


class RecordingReceiver:
    """Records what comes, and gives it to the call."""

    __slots__ = ("_add", "_clock", "_due_s", "_note_stats", "_origin_s", "_receive", "_receiver")

    def __init__(
        self,
        receiver: Receiver,
        tape: Tape,
        clock: Callable[[], float],
        origin_s: float,
        note_stats: Callable[[float], object],
    ) -> None:
        self._receiver = receiver
        self._receive = receiver.audio_received
        self._add = tape.add
        self._clock = clock
        self._origin_s = origin_s
        self._note_stats = note_stats
        self._due_s = STATS_S  # when the counters are recorded next

    def audio_received(self, data: bytes) -> None:
        """See `Receiver`."""
        clock, add, receive = self._clock, self._add, self._receive  # as local names they are called faster
        at_s = clock() - self._origin_s
        add(at_s, _AUDIO_IN, data)
        if at_s >= self._due_s:
            self._due_s = at_s + STATS_S
            self._note_stats(at_s)
        receive(data)

    def text_received(self, text: str) -> None:
        """See `Receiver`."""
        at_s = self._clock() - self._origin_s
        self._add(at_s, _TEXT_IN, text.encode("utf-8", "replace"))
        if at_s >= self._due_s:  # audio may be texts
            self._due_s = at_s + STATS_S
            self._note_stats(at_s)
        self._receiver.text_received(text)

    def writable(self) -> None:
        """See `Receiver`."""
        self._receiver.writable()

    def lost(self, code: int, reason: str, by: ClosedBy) -> None:
        """See `Receiver`."""
        self._receiver.lost(code, reason, by)


class RecordingSink:
    """Writes, and records what was taken."""

    __slots__ = ("_add", "_clock", "_origin_s", "_sink", "_write")

    def __init__(self, sink: Sink, tape: Tape, clock: Callable[[], float], origin_s: float) -> None:
        self._sink = sink
        self._write = sink.write
        self._add = tape.add
        self._clock = clock
        self._origin_s = origin_s

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """See `Sink`."""
        write, add, clock = self._write, self._add, self._clock  # as local names they are called faster
        first = outbox[0]
        if len(outbox) == 1 and type(first) is bytes:  # the usual frame
            is_done = write(outbox, json_audio)
            if not outbox:
                add(clock() - self._origin_s, _AUDIO_OUT, first)
            return is_done
        before = outbox.copy()
        is_done = write(outbox, json_audio)
        at_s = clock() - self._origin_s
        for payload in before[: len(before) - len(outbox)]:
            self._add_one(at_s, payload)
        return is_done

    def unsent_bytes(self) -> int:
        """See `Sink`."""
        return self._sink.unsent_bytes()

    def _add_one(self, at_s: float, payload: bytes | str) -> None:
        if isinstance(payload, str):
            self._add(at_s, _TEXT_OUT, payload.encode("utf-8", "replace"))
        else:
            self._add(at_s, _AUDIO_OUT, bytes(payload))


class TakingSink(RecordingSink):
    """The same on trio, where a task takes what is to be written after `write` has returned."""

    __slots__ = ()

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """See `Sink`."""
        return self._write(_Taken(outbox, self._took), json_audio)

    def _took(self, payload: bytes | str) -> None:
        self._add_one(self._clock() - self._origin_s, payload)


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
