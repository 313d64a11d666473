"""A clock that jumps: nobody waits for time, and a call of ten minutes takes as long as what is done in it.

Time stands still while anything can go on, and jumps to the next moment at which something is due when nothing can.
While a worker thread is busy it doesn't jump: what a thread does takes no virtual time. Sockets and other processes
belong to the real world: where a test waits for them alone, the clock waits, too; where a timer runs beside that, the
clock jumps to it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import anyio.to_thread

BEGIN_S = 1_000.0
"""What the clock says at first: not 0, so that a time that was forgotten shows."""

_POLL_S = 0.001  # how often a busy thread is looked after
_LOOK = 16
_FOR_EVER_S = 86_400.0


class VirtualTimerHandle:
    """A call that is to come."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        """Don't call it."""
        self.function = None


class VirtualClock:
    """The time of one event loop.

    As a clock of trio (`trio.run(…, clock=VirtualClock())`) it also calls plain functions when they are due; for
    asyncio see `VirtualClockLoop`.

    Attributes:
        now_s: what it says.
    """

    def __init__(self) -> None:
        self.now_s = BEGIN_S
        self._calls: list[tuple[float, int, VirtualTimerHandle]] = []
        self._numbers = itertools.count()

    def call_at(self, due_s: float, function: Callable[[], None]) -> VirtualTimerHandle:
        """Call a plain function at a time, once nothing else can go on; on trio alone."""
        handle = VirtualTimerHandle(function)
        heapq.heappush(self._calls, (due_s, next(self._numbers), handle))
        return handle

    # What trio asks of a clock

    def start_clock(self) -> None:
        """Trio begins."""

    def current_time(self) -> float:
        """Seconds."""
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Nothing can go on before `deadline`: jump there, or to what is to be called before; real seconds to wait."""
        calls = self._calls
        while calls and calls[0][2].function is None:
            heapq.heappop(calls)
        due_s = min(deadline, calls[0][0] if calls else math.inf)
        if due_s == math.inf:
            return _FOR_EVER_S
        if due_s > self.now_s:
            if _busy_threads():
                return _POLL_S
            self.now_s = due_s
        if calls and calls[0][0] <= due_s:
            function = heapq.heappop(calls)[2].function
            assert function is not None
            function()
        return 0.0


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio on a virtual clock: `anyio.run(…, backend_options={"loop_factory": VirtualClockLoop})`.

    Attributes:
        virtual_clock: its clock.
    """

    def __init__(self) -> None:
        self.virtual_clock = VirtualClock()
        self._in_executor = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """The virtual time."""
        return self.virtual_clock.now_s

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """As asyncio's; the clock stands still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._in_executor += 1
        future.add_done_callback(self._executed)
        return future

    def is_busy(self) -> bool:
        """Whether a worker thread is."""
        return self._in_executor > 0 or _busy_threads()

    def _executed(self, future: asyncio.Future[Any]) -> None:
        self._in_executor -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a time it jumps there.

    Sockets and threads are looked after in every `_LOOK` turns of the loop: asking the system takes longer than a turn.
    """

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turns += 1
        if timeout is None:
            return super().select(timeout)
        if self._turns % _LOOK == 0 and (ready := super().select(0)):
            return ready
        while timeout > 0:
            if not self._loop.is_busy():
                self._loop.virtual_clock.now_s += timeout
                break
            if ready := super().select(_POLL_S):
                return ready
        return []


def _busy_threads() -> bool:
    """Whether a thread works for the running event loop, started by anyio (on trio: or by trio itself)."""
    try:
        return anyio.to_thread.current_default_thread_limiter().borrowed_tokens > 0
    except Exception:  # noqa: BLE001 (no task runs while the loop looks at the time: then anyio can't tell)
        return False
