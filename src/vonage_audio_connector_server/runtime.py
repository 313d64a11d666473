"""All that differs between asyncio and trio, for a call and its link.

On asyncio user code runs in place: in the callback that brings a message, in the name of a task that waits for such
work (`waiter.py`). Only what waits for something else goes on in that task. trio has no such thing: there a task is
woken for each message.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Protocol, TypeVar

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint, current_token

from .waiter import WOKEN, AsyncioWaiter, current_task

T = TypeVar("T")

TICK_S = 0.001
"""No timer is shorter: event loops round to it, and would come too early again and again."""


def on_trio() -> bool:
    """Whether trio runs here, and not asyncio."""
    return anyio.get_cancelled_exc_class().__module__.startswith("trio")


def call_clock() -> Callable[[], float]:
    """The monotonic clock of the running event loop.

    Where tests have given it a clock of their own, that one. Else on asyncio it is `time.monotonic`:
    `anyio.current_time` costs 2 µs a call, and on uvloop it stands still while the loop doesn't turn.
    """
    virtual = virtual_clock()
    if virtual is not None:
        return virtual.current_time  # type: ignore[no-any-return]
    return loop_time() if on_trio() else time.monotonic


def virtual_clock() -> Any:
    """The `VirtualClock` of the running event loop (see `testing.clock`); None as a rule: then time is real."""
    if on_trio():
        from trio.lowlevel import current_clock

        clock: object = current_clock()
    else:
        clock = getattr(asyncio.get_running_loop(), "virtual_clock", None)
    return clock if hasattr(clock, "now_s") else None


def native_loop() -> Any:
    """The running event loop: asyncio's loop, or trio's token."""
    return current_token().native_token


def poster() -> Callable[..., object]:
    """What runs a plain function in this event loop soon, and may be called from any thread.

    It raises a RuntimeError once the loop is gone.
    """
    loop = native_loop()
    post: Callable[..., object] = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    return post


_background: set[object] = set()  # asyncio holds tasks weakly


def in_background(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run what must not raise, and ends by itself, in a task of this event loop that belongs to no other task."""
    if on_trio():
        from trio.lowlevel import spawn_system_task

        spawn_system_task(function)
        return
    task = asyncio.get_running_loop().create_task(function())
    _background.add(task)
    task.add_done_callback(_background.discard)


def has_loop() -> bool:
    """Whether this thread runs an event loop."""
    try:
        current_token()
    except Exception:  # noqa: BLE001 (a RuntimeError as a rule; that of anyio 4.12 has no public name)
        return False
    return True


def is_being_cancelled() -> bool:
    """Whether somebody cancels the running task; else a `CancelledError` comes from something it waited for.

    On asyncio, waiting for a task that was cancelled raises the same error as being cancelled, and anyio has no word
    for the difference. On trio there is none.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no asyncio loop runs here: trio
        return True
    return task is None or task.cancelling() > 0


async def let_others_run() -> None:
    """Let all that came for others be dealt with, before the running task goes on.

    In the next turn the event loop finds what came; in the second an ASGI server gives it to its tasks; these run in
    the third, and may stand behind the running one.
    """
    for _ in range(3):
        await checkpoint()


def soon(function: Callable[[], object]) -> bool:
    """Have the event loop call something behind all that can run now, out of no task; False: trio's can't."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    loop.call_soon(function, context=Context())
    return True


async def in_thread(function: Callable[[], T]) -> T:
    """Do in a worker thread what may block. Cancelling it waits for the thread.

    Where tests have given the event loop a clock of their own it is done here: virtual time waits for no thread.
    """
    if virtual_clock() is not None:
        await checkpoint()
        return function()
    return await anyio.to_thread.run_sync(function)


@contextmanager
def single_error() -> Iterator[None]:
    """Let what a task group raises pass as it was raised, where it is one error alone."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        raise error from error.__cause__


def running_task() -> tuple[Any, asyncio.Task[Any] | None]:
    """Asyncio's loop and the task that runs, or None where a callback does; on trio (None, None)."""
    if on_trio():
        return None, None
    loop = asyncio.get_running_loop()
    return loop, current_task(loop)


class TrioWaiter:
    """A waiter on trio, where a task can only be woken."""

    __slots__ = ("_current_task", "_reschedule", "_task", "_wait", "is_woken")

    item: object = None  # nothing is ever brought

    def __init__(self) -> None:
        from trio.lowlevel import current_task, reschedule, wait_task_rescheduled

        self._current_task, self._reschedule, self._wait = current_task, reschedule, wait_task_rescheduled
        self._task: Any = None  # that waits
        self.is_woken = False

    def __await__(self) -> Generator[Any, Any, None]:
        """See `AsyncioWaiter`."""
        if not self.is_woken:
            self._task = self._current_task()
            yield from self._wait(self._give_up).__await__()

    def take(self) -> object:
        """See `AsyncioWaiter`."""
        self.is_woken = False
        return WOKEN

    def wake(self, item: object = WOKEN) -> None:
        """See `AsyncioWaiter`."""
        self.is_woken = True
        if self._task is not None:
            task, self._task = self._task, None
            self._reschedule(task)

    def _give_up(self, raise_cancel: object) -> Any:
        """The task that waits is cancelled."""
        from trio.lowlevel import Abort

        self._task = None
        return Abort.SUCCEEDED


def make_waiter() -> Any:
    """What a task of the running event loop can wait on."""
    return TrioWaiter() if on_trio() else AsyncioWaiter()


class Timer(Protocol):
    """One call of a function that is to come, which can be set anew; it gets the time for which it was set."""

    def at(self, due_s: float, now_s: float) -> None:
        """Call at `due_s`, unless it is set for an earlier time."""

    def stop(self) -> None:
        """Don't call any more, never; and let go what would be called."""

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Timers may come from now on; where they need a task, it is one of these."""


class AsyncioTimer:
    """A timer of the event loop."""

    __slots__ = ("_due_s", "_function", "_handle", "_loop")

    def __init__(self, function: Callable[[float], None]) -> None:
        self._due_s = math.inf
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def at(self, due_s: float, now_s: float) -> None:
        """See `Timer`."""
        if self._handle is not None:
            if due_s >= self._due_s:
                return
            self._handle.cancel()
        self._due_s = due_s
        self._handle = self._loop.call_later(max(due_s - now_s, TICK_S), self._fire)

    def stop(self) -> None:
        """See `Timer`."""
        self._function = _nothing
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """See `Timer`."""

    def _fire(self) -> None:
        self._handle = None
        self._function(self._due_s)


class TrioTimer:
    """A timer on trio, where only tasks can wait for a time."""

    __slots__ = ("_at_s", "_due_s", "_function", "_is_stopped", "_scope")

    def __init__(self, function: Callable[[float], None]) -> None:
        self._due_s = self._at_s = math.inf
        self._function = function
        self._scope: anyio.CancelScope | None = None
        self._is_stopped = False

    def at(self, due_s: float, now_s: float) -> None:
        """See `Timer`."""
        if due_s < self._due_s:
            self._due_s, self._at_s = due_s, max(due_s, now_s + TICK_S)
            if self._scope is not None:
                self._scope.deadline = self._at_s

    def stop(self) -> None:
        """See `Timer`."""
        self._is_stopped = True
        self._function = _nothing
        if self._scope is not None:
            self._scope.cancel()

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """See `Timer`."""
        tasks.start_soon(self._run)

    async def _run(self) -> None:
        while not self._is_stopped:
            with anyio.CancelScope(deadline=self._at_s) as self._scope:
                await anyio.sleep_forever()
            self._scope = None
            if not self._is_stopped:
                due_s, self._due_s, self._at_s = self._due_s, math.inf, math.inf
                self._function(due_s)


class VirtualTimer:
    """A timer of a virtual clock, which calls it by itself: no task has to wait, and no callback of the loop is made.

    Attributes:
        due_s: for when it is set; infinity: it isn't.
    """

    __slots__ = ("_clock", "_function", "due_s")

    def __init__(self, function: Callable[[float], None], clock: Any) -> None:
        self._clock = clock
        self._function = function
        self.due_s = math.inf

    def at(self, due_s: float, now_s: float) -> None:
        """See `Timer`."""
        if due_s < self.due_s:
            self.due_s = due_s
            self._clock.add(due_s if due_s > now_s else now_s + TICK_S, due_s, self)

    def stop(self) -> None:
        """See `Timer`."""
        self.due_s = math.inf
        self._function = _nothing

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """See `Timer`."""

    def fire(self) -> None:
        """Its time has come; called by the clock."""
        due_s, self.due_s = self.due_s, math.inf
        self._function(due_s)


def _nothing(due_s: float) -> None:
    """Stands for the function of a timer that was stopped."""


def make_timer(function: Callable[[float], None]) -> Timer:
    """A timer of the running event loop."""
    clock = virtual_clock()
    if clock is not None:
        return VirtualTimer(function, clock)
    return TrioTimer(function) if on_trio() else AsyncioTimer(function)


def loop_time() -> Callable[[], float]:
    """The clock in which `CancelScope.deadline` counts; other than anyio's own, it can be asked in any callback."""
    if not on_trio():
        return asyncio.get_running_loop().time
    from trio import current_time

    return current_time
