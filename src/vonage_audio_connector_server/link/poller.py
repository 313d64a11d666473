"""Reads the sockets of an event loop together, as a network driver does: at once while little comes, else on a timer.

Hundreds of streams send a frame each 20 ms, and no two in step. If each frame wakes the process by itself, the wake-up,
the question who it was and a turn of the event loop cost more than all that is done with the frame. So all sockets are
in one epoll of their own, and the event loop has only that. While it reports few frames, each is read when it arrives.
While many come, the loop is not told at all: a timer asks every `SWEEP_S`, and reads what has come since. Nothing waits
longer than that, and the event loop is free meanwhile: nobody else's sockets and timers are held up.

What calls have to write while sockets are read leaves behind that (`LoopTurn.pumps`). Only Linux has epoll; elsewhere
the event loop's own transport reads.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from contextvars import Context
from typing import Protocol
from weakref import WeakKeyDictionary

from .base import TURN_S, turn_of

SWEEP_S = 0.002
"""How long a frame may wait to be read with others: a tenth of what it lasts, and far below what anybody hears. Event
loops round a timer up to whole milliseconds, so it may be one more."""

MANY = 3.0
"""From so many readable sockets a sweep on, sweeping is cheaper: a timer costs about as much as a wake-up."""

AT_ONCE = 32
"""After so many reads, what they gave rise to is written: the same code for one socket after the other is cheaper than
reading and writing in turns, and the last of them is not long behind the first."""

MOST_S = TURN_S / 2
"""Where reading has taken so long, no more sockets are asked for in this turn of the event loop. Behind `TURN_S`
messages are handed over by their calls' tasks, which is dearer: a server at its limit must not get slower by that."""

READ_BYTES = 64 * 1024
"""The most that is read from one socket at once: two seconds of audio."""

_WAKEUPS = 32
"""So many wake-ups tell how much comes."""

_INERTIA = 16
"""How many sweeps the running mean goes back."""

_HAS_EPOLL = hasattr(select, "epoll")


class Polled(Protocol):
    """Whose socket is read."""

    def receive(self, data: bytes) -> None:
        """Take what came. It must not raise."""

    def leave_poller(self) -> None:
        """The socket has come to its end, or is broken: the transport meets that again, and knows how to end."""


_POLLERS: WeakKeyDictionary[asyncio.AbstractEventLoop, Poller] = WeakKeyDictionary()


def poller_of(loop: asyncio.AbstractEventLoop) -> Poller | None:
    """The poller of an event loop; None where the system has no epoll."""
    if not _HAS_EPOLL:
        return None
    poller = _POLLERS.get(loop)
    if poller is None:
        poller = _POLLERS[loop] = Poller(loop)
    return poller


class Poller:
    """The sockets of one event loop that are read together. Only in its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn = turn_of(loop, time.monotonic())
        self._epoll: select.epoll | None = None  # while there are sockets
        self._polled: dict[int, Polled] = {}
        self._is_awaiting = False  # the event loop tells of them: while little comes
        self._timer: asyncio.TimerHandle | None = None  # while much comes
        self._mean = 0.0  # readable sockets a sweep, lately
        self._wakeups = self._readable = 0  # since
        self._since_s = 0.0

    def add(self, fd: int, polled: Polled) -> None:
        """Read a socket from now on."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._await_readable()
        self._epoll.register(fd, select.EPOLLIN)
        self._polled[fd] = polled

    def remove(self, fd: int) -> None:
        """Read a socket, which is still open, no more."""
        assert self._epoll is not None
        del self._polled[fd]
        self._epoll.unregister(fd)
        if not self._polled:
            if self._is_awaiting:
                self._stop_awaiting()
            elif self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._epoll.close()
            self._epoll = None

    def _read_all(self) -> int:
        """Read what there is; returns how often."""
        assert self._epoll is not None
        polled, read, turn, poll = self._polled, os.read, self._turn, self._epoll.poll
        turn.began_s = began_s = time.monotonic()
        turn.is_reading = True
        count = 0
        try:
            while True:
                ready = poll(0, AT_ONCE)
                count += len(ready)
                for fd, _ in ready:
                    one = polled.get(fd)
                    if one is None:  # another one's message has ended this one, too
                        continue
                    try:
                        data = read(fd, READ_BYTES)
                    except BlockingIOError:
                        continue
                    except OSError:
                        data = b""
                    if data:
                        one.receive(data)
                    else:
                        one.leave_poller()
                if len(ready) < AT_ONCE or not polled or time.monotonic() - began_s > MOST_S:
                    return count
                self._pump_all()
        finally:
            try:
                if turn.arriving or turn.leaving:
                    turn.finish()
            finally:
                turn.is_reading = False
                self._pump_all()

    def _pump_all(self) -> None:
        """Let all write that asked for it."""
        turn = self._turn
        if turn.arriving or turn.leaving:
            turn.finish()
        pumps, turn.pumps = turn.pumps, []
        for one in pumps:
            one.pump()

    # While little comes

    def _await_readable(self) -> None:
        self._wakeups = self._readable = 0
        self._since_s = time.monotonic()
        self._is_awaiting = True
        self._add_reader()

    def _add_reader(self) -> None:
        assert self._epoll is not None
        Context().run(self._loop.add_reader, self._epoll.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        self._add_reader()  # anew: a handler may run the event loop inside this call (notebooks, nest_asyncio)
        self._readable += self._read_all()
        self._wakeups += 1
        if self._wakeups < _WAKEUPS or self._epoll is None or not self._is_awaiting:
            return
        now_s = time.monotonic()
        self._mean = self._readable * SWEEP_S / max(now_s - self._since_s, SWEEP_S)
        self._wakeups, self._readable, self._since_s = 0, 0, now_s
        if self._mean >= MANY:
            self._stop_awaiting()
            self._sweep_at(self._loop.time() + SWEEP_S)

    # While much comes

    def _sweep_at(self, at_s: float) -> None:
        self._timer = self._loop.call_at(at_s, self._sweep, context=Context())

    def _sweep(self) -> None:
        self._sweep_at(self._loop.time() + SWEEP_S)  # first: a handler may run the event loop inside this one
        read = 0
        try:
            read = self._read_all()
        finally:  # a defect in one must not stop all others
            self._mean += (read - self._mean) / _INERTIA
            if self._mean < MANY / 2 and self._timer is not None:
                self._timer.cancel()
                self._timer = None
                self._await_readable()

    def _stop_awaiting(self) -> None:
        assert self._epoll is not None
        self._is_awaiting = False
        self._loop.remove_reader(self._epoll.fileno())
