"""What a call and its link owe each other, and the turn of the event loop in which they meet.

All of it runs in the thread of one event loop. Nothing here waits, and nothing here knows asyncio or trio.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakKeyDictionary

from anyio.abc import TaskGroup

from ..core.json_audio import JSONTransport
from ..results import ClosedBy
from ..runtime import soon

Outbox = list[bytes | str]
"""What is to be written, from the left: `bytes` is a frame of audio, `str` a text."""


class Receiver(Protocol):
    """Who gets what comes: a call, or the ASGI application behind our own protocol class.

    A link calls these out of the event loop, or out of its own reading task; never while user code runs, but for
    `lost`, which a write that fails or a close that is written at once may bring about.
    """

    def audio_received(self, data: bytes) -> None:
        """A binary message came."""

    def text_received(self, text: str) -> None:
        """A text message came."""

    def writable(self) -> None:
        """The link takes messages again, after a `Sink.write` that returned False."""

    def lost(self, code: int, reason: str, by: ClosedBy) -> None:
        """The connection has ended; called once, last. The codes are those of `close_codes`."""


class Sink(Protocol):
    """Where a call writes to."""

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """Write from the left what the connection takes now, and take that out of the outbox.

        Args:
            outbox: what stays in it has not been written, and may be taken out again.
            json_audio: how to write a frame of audio as a text; None: as a binary message.

        Returns:
            True where the outbox is empty. False: the rest waits for `Receiver.writable`.
        """

    def unsent_bytes(self) -> int:
        """How many bytes were written and are known not to have reached the peer's machine; 0 where nobody knows."""


class Link(Protocol):
    """A connection that a call owns, from the accept on."""

    @property
    def sink(self) -> Sink:
        """Where to write to."""

    def start(self, receiver: Receiver, max_message_bytes: int, tasks: TaskGroup) -> None:
        """Give what comes to `receiver` from now on; a longer message ends the connection with 1009.

        Tasks of the link, if it needs any, run in `tasks`, and end with the connection.
        """

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, behind what is written. `Receiver.lost` follows, at once or later."""

    async def abandon(self, code: int, reason: str) -> None:
        """Close for good: `tasks` is gone, and nobody receives any more."""


TURN_S = 0.01
"""Where the event loop has not turned for this long, others run first."""


class LoopTurn:
    """One turn of an event loop after the other, as far as calls need to know of it. There is one for each loop.

    Attributes:
        began_s: when the loop is known to have turned last, on `time.monotonic` or trio's clock.
        is_reading: sockets are read together just now: what calls have to write leaves at the end of that.
        pumps: who has something to write then.
        arriving: what is put off until then of what came, because for several calls at once it is cheaper; by what it
            is. It hands messages over.
        leaving: the same of what is to be written. It runs no user code.
    """

    __slots__ = ("__weakref__", "_is_gathering", "arriving", "began_s", "is_reading", "leaving", "pumps")

    def __init__(self, now_s: float) -> None:
        self.began_s = now_s
        self.is_reading = False
        self.pumps: list[Pumping] = []
        self.arriving: dict[object, Together] = {}
        self.leaving: dict[object, Together] = {}
        self._is_gathering = False

    def finish(self) -> None:
        """Do now what was put off; never while user code runs."""
        while self.arriving:
            self.arriving.popitem()[1].run()
        self.finish_leaving()

    def gathers(self) -> bool:
        """Whether what leaves is put off until all have run that can run now, outside of reading: see `soon`."""
        if not self._is_gathering:
            self._is_gathering = soon(self._gathered)
        return self._is_gathering

    def _gathered(self) -> None:
        self._is_gathering = False
        self.finish_leaving()

    def finish_leaving(self) -> None:
        """Do now what was put off of what is to be written."""
        while self.leaving:
            self.leaving.popitem()[1].run()


class Together(Protocol):
    """Something that is done for several calls at once."""

    def run(self) -> None:
        """Do it. It must not raise."""


class Pumping(Protocol):
    """What writes for a call."""

    def pump(self) -> None:
        """Write what is due."""


_TURNS: WeakKeyDictionary[object, LoopTurn] = WeakKeyDictionary()


def turn_of(loop: object, now_s: float) -> LoopTurn:
    """The `LoopTurn` of an event loop: asyncio's loop, or trio's token."""
    turn = _TURNS.get(loop)
    if turn is None:
        turn = _TURNS[loop] = LoopTurn(now_s)
    return turn
