"""The link of a call that is recorded: it stands between the call and the link that carries its messages.

What comes is recorded before the call gets it, so that the text is there whose handler kills the process; what goes out
is recorded when the link has taken it, because before it may still be flushed. Frames of audio wait for a few others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsIndex

from anyio.abc import TaskGroup

from ..core.json_audio import JSONTransport
from ..recording.recorder import Tape
from ..recording.recording import Kind, Message
from ..results import ClosedBy
from ..runtime import on_trio
from ..sparing import warn
from .base import Link, Outbox, Receiver, Sink

STATS_S = 10.0
"""So often the counters are recorded, while messages come."""

_AUDIO_IN, _TEXT_IN = Kind.AUDIO_TO_SERVER, Kind.TEXT_TO_SERVER
_AUDIO_OUT, _TEXT_OUT = Kind.AUDIO_FROM_SERVER, Kind.TEXT_FROM_SERVER


class Pending:
    """Messages on their way to a tape, in the order in which they came and went.

    A text takes along all that came before it.

    Args:
        tape: where they are recorded.
        clock: of the call.
        origin_s: the time of the accept on it.

    Attributes:
        note_stats: called every `STATS_S`, while messages come, with the time since the accept; records the counters.
        messages: those that the tape has not been given yet. Whoever adds frames gives them to it when there are
            `most`: to do that here would cost a call for each.
        most: see `Tape.most_pending`.
    """

    __slots__ = ("_due_s", "clock", "messages", "most", "note_stats", "origin_s", "tape")

    def __init__(self, tape: Tape, clock: Callable[[], float], origin_s: float) -> None:
        self.messages: list[Message] = []
        self.most = tape.most_pending
        self.clock = clock
        self.origin_s = origin_s
        self.tape = tape
        self.note_stats: Callable[[float], object] = float
        self._due_s = STATS_S  # when the counters are recorded next

    def at_s(self) -> float:
        """The time since the accept, in the thread of the call."""
        return self.clock() - self.origin_s

    def pass_on(self) -> None:
        """Give them to the tape."""
        messages = self.messages
        if messages:
            passed = messages[:]
            messages.clear()
            try:
                self.tape.add(passed)
            except Exception:  # noqa: BLE001 (a recorder of the program's own may raise anything; the call goes on)
                warn("messages of a call are not recorded: its recorder failed", exc_info=True)
            at_s = passed[-1][0]
            if at_s >= self._due_s:
                self._due_s = at_s + STATS_S
                self.note_stats(at_s)

    def add_text(self, kind: Kind, text: str) -> None:
        """Keep a text, at once."""
        self.messages.append((self.at_s(), kind, text.encode("utf-8", "replace")))
        self.pass_on()

    def forget(self) -> None:
        """The call is over: let go of it."""
        self.note_stats = float
        self.pass_on()


class RecordedLink:
    """The link of one recorded call.

    Args:
        link: carries the messages.
        pending: takes them to the tape.
    """

    def __init__(self, link: Link, pending: Pending) -> None:
        self._link = link
        self._pending = pending
        self.sink: Sink = recording_sink(link.sink, pending)

    def start(self, receiver: Receiver, max_message_bytes: int, tasks: TaskGroup) -> None:
        """See `Link`."""
        self._link.start(RecordingReceiver(receiver, self._pending), max_message_bytes, tasks)

    def close(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._link.close(code, reason)

    async def abandon(self, code: int, reason: str) -> None:
        """See `Link`."""
        await self._link.abandon(code, reason)


class RecordingReceiver:
    """Records what comes, and gives it to the call."""

    __slots__ = ("_clock", "_messages", "_most", "_origin_s", "_pending", "_receive", "_receiver")

    def __init__(self, receiver: Receiver, pending: Pending) -> None:
        self._receiver = receiver
        self._receive = receiver.audio_received
        self._pending = pending
        self._messages, self._most = pending.messages, pending.most
        self._clock, self._origin_s = pending.clock, pending.origin_s

    def audio_received(self, data: bytes) -> None:
        """See `Receiver`."""
        clock, messages, receive = self._clock, self._messages, self._receive  # as local names they are called faster
        messages.append((clock() - self._origin_s, _AUDIO_IN, data))
        if len(messages) >= self._most:
            self._pending.pass_on()
        receive(data)

    def text_received(self, text: str) -> None:
        """See `Receiver`."""
        self._pending.add_text(_TEXT_IN, text)
        self._receiver.text_received(text)

    def writable(self) -> None:
        """See `Receiver`."""
        self._receiver.writable()

    def lost(self, code: int, reason: str, by: ClosedBy) -> None:
        """See `Receiver`."""
        self._receiver.lost(code, reason, by)


class RecordingSink:
    """Writes, and records what was taken."""

    __slots__ = ("_clock", "_messages", "_most", "_origin_s", "_pending", "_sink", "_write")

    def __init__(self, sink: Sink, pending: Pending) -> None:
        self._sink = sink
        self._write = sink.write
        self._pending = pending
        self._messages, self._most = pending.messages, pending.most
        self._clock, self._origin_s = pending.clock, pending.origin_s

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """See `Sink`."""
        write, clock, messages = self._write, self._clock, self._messages  # as local names they are called faster
        first = outbox[0]
        if len(outbox) == 1 and type(first) is bytes:  # the usual frame
            is_done = write(outbox, json_audio)
            if not outbox:
                messages.append((clock() - self._origin_s, _AUDIO_OUT, first))
                if len(messages) >= self._most:
                    self._pending.pass_on()
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
        if isinstance(payload, str):
            self._pending.add_text(_TEXT_OUT, payload)
        else:
            self._messages.append((self._pending.at_s(), _AUDIO_OUT, bytes(payload)))
            if len(self._messages) >= self._most:
                self._pending.pass_on()


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


def recording_sink(sink: Sink, pending: Pending) -> Sink:
    """A sink that tells a tape what is written; in the event loop of its call."""
    return (TakingSink if on_trio() else RecordingSink)(sink, pending)
