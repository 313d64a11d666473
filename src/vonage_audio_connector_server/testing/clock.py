"""A clock that jumps: nobody waits for time, and a call of ten minutes takes as long as what is done in it.

Time stands still while anything can go on, and jumps to the next moment at which something is due when nothing can.
While a worker thread is busy (of `anyio.to_thread`, `asyncio.to_thread`, an executor of asyncio, or trio's) it doesn't
jump: what a thread does takes no virtual time. Sockets and other processes belong to the real world: where a test waits
for them alone, the clock waits, too; where a timer runs beside that, the clock jumps to it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, Protocol

import anyio.to_thread

BEGIN_S = 1_000.0
"""What the clock says at first: not 0, so that a time that was forgotten shows."""

_POLL_S = 0.05  # how often a busy thread is looked after, which tells by itself that it is done
_IDLE_S = 0.25  # nothing is due: how often that is looked at, and
_IDLES = 8  # how often nothing has come then; a thread that nobody knows of may still bring something
_FOR_EVER_S = 86_400.0
_LOOK = 16


class Due(Protocol):
    """What a clock calls when its time has come."""

    due_s: float
    """For when it is set."""

    def fire(self) -> None:
        """Its time has come."""


class VirtualClock:
    """The time of one event loop.

    As a clock of trio: `trio.run(…, clock=VirtualClock())`; for asyncio see `VirtualClockLoop`.

    Attributes:
        now_s: what it says.
        in_executor: how many functions an executor of asyncio runs.
    """

    def __init__(self) -> None:
        self.now_s = BEGIN_S
        self.in_executor = 0
        self._timers: list[tuple[float, int, float, Due]] = []
        self._numbers = itertools.count()
        self._limiter: Any = None  # of the threads that anyio, or trio, starts
        self._limit_s = math.inf
        self._on_stuck: Callable[[str], object] | None = None
        self._idles = 0
        self._idle_s = math.inf  # since when nothing is due, in real time

    def add(self, at_s: float, due_s: float, timer: Due) -> None:
        """Call a timer at a time, once nothing else can go on, unless it is not set for `due_s` any more."""
        heapq.heappush(self._timers, (at_s, next(self._numbers), due_s, timer))

    def watch(self, on_stuck: Callable[[str], object] | None, limit_s: float = math.inf) -> None:
        """Call `on_stuck` with the reason, once, where nothing is ever going to happen, or after `limit_s` seconds."""
        self._on_stuck, self._limit_s = on_stuck, self.now_s + limit_s
        self._idles = 0

    def step(self, until_s: float) -> float:
        """Nothing can go on before `until_s`: jump there, or to a timer before it, which is called.

        Returns:
            How long to wait for the real world instead, in seconds; 0 where it has jumped.
        """
        timers = self._timers
        while timers and timers[0][3].due_s != timers[0][2]:  # it was set anew, or stopped
            heapq.heappop(timers)
        is_timer = bool(timers) and timers[0][0] <= until_s
        at_s = timers[0][0] if is_timer else until_s
        if at_s > self.now_s:
            if at_s == math.inf:
                return self._idle()
            if self.is_busy():
                return _POLL_S
            if at_s > self._limit_s:
                self._stuck(f"the test has gone on for {self._limit_s - BEGIN_S:g} s of virtual time")
                return 0.0
            self.now_s = at_s
        if is_timer:
            heapq.heappop(timers)[3].fire()
        return 0.0

    def is_busy(self) -> bool:
        """Whether a thread works for this event loop, of an executor or of anyio (on trio: or of trio itself)."""
        if self._limiter is None:
            try:
                self._limiter = anyio.to_thread.current_default_thread_limiter()
            except Exception:  # noqa: BLE001 (anyio can't tell as long as no task of it has run)
                return self.in_executor > 0
        return self.in_executor > 0 or self._limiter.borrowed_tokens > 0

    def waits_for_io(self) -> bool:
        """Whether anybody waits for a socket, or another file."""
        from trio.lowlevel import current_statistics

        io = current_statistics().io_statistics  # what it has depends on the system
        names = ("tasks_waiting", "tasks_waiting_read", "tasks_waiting_write")
        return sum(getattr(io, name, 0) for name in names) > 1  # one of trio's own wakes the loop

    # What trio asks of a clock

    def start_clock(self) -> None:
        """Trio begins."""

    def current_time(self) -> float:
        """Seconds."""
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """See `step`."""
        return self.step(deadline)

    # Inside

    def _idle(self) -> float:
        if self._on_stuck is None or self.is_busy() or self.waits_for_io():
            return _FOR_EVER_S
        real_s = time.monotonic()
        self._idles = self._idles + 1 if real_s - self._idle_s >= _IDLE_S else 0
        self._idle_s = real_s
        if self._idles < _IDLES:
            return _IDLE_S
        self._stuck("the test waits, and nothing is ever going to happen")
        return 0.0

    def _stuck(self, reason: str) -> None:
        on_stuck, self._on_stuck, self._limit_s = self._on_stuck, None, math.inf
        if on_stuck is not None:
            on_stuck(reason)


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio on a virtual clock: `anyio.run(…, backend_options={"loop_factory": VirtualClockLoop})`.

    Attributes:
        virtual_clock: its clock.
        soonest_s: no callback is due before.
        has_work: one is to be called now.
    """

    def __init__(self) -> None:
        self.virtual_clock: VirtualClock = _LoopClock(self)
        self.soonest_s = math.inf
        self.has_work = False
        self.selector = _JumpingSelector(self)
        super().__init__(self.selector)

    def time(self) -> float:
        """The virtual time."""
        return self.virtual_clock.now_s

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """As asyncio's."""
        self.has_work = True
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """As asyncio's."""
        self.has_work = True
        return super().call_soon_threadsafe(callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
        """As asyncio's."""
        self.soonest_s = min(self.soonest_s, when)
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """As asyncio's; the clock stands still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self.virtual_clock.in_executor += 1
        future.add_done_callback(self._executed)
        return future

    async def shutdown_default_executor(self, *timeout_s: float | None) -> None:
        """As asyncio's, in real time."""
        self.virtual_clock.in_executor += 1
        try:
            await super().shutdown_default_executor(*timeout_s)
        finally:
            self.virtual_clock.in_executor -= 1

    def _executed(self, future: asyncio.Future[Any]) -> None:
        self.virtual_clock.in_executor -= 1


class _LoopClock(VirtualClock):
    """The clock of an event loop of asyncio."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def waits_for_io(self) -> bool:
        return len(self._loop.selector.get_map()) > 1  # one wakes the loop itself


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a time it jumps there.

    Sockets and threads are looked after in every `_LOOK` turns alone: asking the system takes longer than a turn.
    """

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop, clock = self._loop, self._loop.virtual_clock
        loop.has_work = timeout == 0
        loop.soonest_s = math.inf if timeout is None else clock.now_s + timeout
        while True:
            self._turns += 1
            if self._turns % _LOOK == 0 and (ready := super().select(0)):
                return ready
            if loop.has_work:
                return []
            wait_s = clock.step(loop.soonest_s)
            if wait_s and (ready := super().select(wait_s)):
                return ready
            if clock.now_s >= loop.soonest_s:
                return []
