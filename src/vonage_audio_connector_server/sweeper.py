"""Reads the sockets of a server together, as a network driver does: at once while little comes, else on a timer.

Hundreds of streams send a frame each 20 ms, and no two in step. If each frame wakes the process by itself, the wake-up,
the question who it was and a turn of the event loop cost more than all that is done with the frame. So all sockets are
in one epoll of their own, and the event loop has only that. While it reports few frames, each is read when it arrives.
While many come, the loop is not told at all: a timer asks every `SWEEP_S`, and reads what has come since. Nothing waits
longer than that, and the event loop is free meanwhile: nobody else's sockets and timers are held up.

Only Linux has epoll; elsewhere, and under TLS, the event loop's own transport reads.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable
from contextvars import Context
from weakref import WeakKeyDictionary

SWEEP_S = 0.002
"""How long a frame may wait to be read with others: a tenth of what it lasts, and far below what anybody hears. Event
loops round a timer up to whole milliseconds, so it may be one more."""

MANY = 3.0
"""From so many readable sockets a sweep on, sweeping is cheaper: a timer costs about as much as a wake-up."""

AT_ONCE = 32
"""After so many reads, what they gave rise to is written: the same code for one socket after the other is cheaper than
reading and writing in turns, and the last of them is not long behind the first."""

MOST = 256
"""So many sockets are read in one turn of the event loop; then others have theirs."""

_WAKEUPS = 32
"""So many wake-ups tell how much comes."""

_INERTIA = 16
"""How many sweeps the running mean goes back."""


_SWEEPERS: WeakKeyDictionary[object, Sweeper] = WeakKeyDictionary()


def sweeper_of(server: object, loop: asyncio.AbstractEventLoop) -> Sweeper | None:
    """The sweeper of a server, which has one event loop; None where the system has no epoll."""
    if not hasattr(select, "epoll"):
        return None
    sweeper = _SWEEPERS.get(server)
    if sweeper is None:
        sweeper = _SWEEPERS[server] = Sweeper(loop)
    return sweeper


class Sweeper:
    """The sockets of one server that wait for something to read. Only in the thread of its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None  # while there are sockets
        self._reads: dict[int, Callable[[], object]] = {}
        self.is_reading = False  # what is sent now may be held back, and is called for in a moment
        self.held: list[Callable[[], object]] = []  # who holds something back, to be called once
        self._is_awaiting = False  # the event loop tells of them: while little comes
        self._timer: asyncio.TimerHandle | None = None  # while much comes
        self._mean = 0.0  # readable sockets a sweep, lately
        self._wakeups = self._readable = 0  # since
        self._since_s = 0.0

    def add(self, fd: int, read: Callable[[], object]) -> None:
        """Call `read` whenever the socket is readable, which includes its end. It must not raise."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._await_readable()
        self._epoll.register(fd, select.EPOLLIN)
        self._reads[fd] = read

    def remove(self, fd: int) -> None:
        """No more calls for this socket, which is still open."""
        assert self._epoll is not None
        del self._reads[fd]
        self._epoll.unregister(fd)
        if not self._reads:
            self._stop_waiting()
            self._epoll.close()
            self._epoll = None

    def _read_all(self) -> int:
        """Read what there is; tells from how many sockets."""
        assert self._epoll is not None
        reads = self._reads
        ready = self._epoll.poll(0, MOST)
        self.is_reading = True
        try:
            for count, (fd, _) in enumerate(ready, 1):
                read = reads.get(fd)
                if read is not None:  # else another one's read has ended this one, too
                    read()
                if not count % AT_ONCE and self.held:
                    self._let_go()
        finally:
            self.is_reading = False
            if self.held:
                self._let_go()
        return len(ready)

    def _let_go(self) -> None:
        held, self.held = self.held, []
        for write in held:
            write()

    # While little comes

    def _await_readable(self) -> None:
        assert self._epoll is not None
        self._wakeups = self._readable = 0
        self._since_s = time.monotonic()
        self._is_awaiting = True
        Context().run(self._loop.add_reader, self._epoll.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        self._readable += self._read_all()
        self._wakeups += 1
        if self._wakeups < _WAKEUPS or self._epoll is None:
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
        next_s = self._loop.time() + SWEEP_S
        self._timer = None
        read = 0
        try:
            read = self._read_all()
        finally:  # a defect in the read of one must not stop all others
            self._mean += (read - self._mean) / _INERTIA
            if self._epoll is not None and not self._is_awaiting:
                if self._mean < MANY / 2:
                    self._await_readable()
                else:
                    self._sweep_at(next_s)

    def _stop_waiting(self) -> None:
        assert self._epoll is not None
        if self._is_awaiting:
            self._stop_awaiting()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_awaiting(self) -> None:
        assert self._epoll is not None
        self._is_awaiting = False
        self._loop.remove_reader(self._epoll.fileno())
