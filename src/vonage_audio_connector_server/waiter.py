"""What lets user code go on in place, on asyncio: in the name of a task, out of a callback, in no turn of the loop.

asyncio documents what this needs for those who write tasks of their own ("Extending": `_enter_task`, `_leave_task`),
and lets a task wait for any object that is like a future (`asyncio.isfuture`).
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, _enter_task, _leave_task
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Final, Protocol

enter_task: Callable[[Any, Any], None] = _enter_task
"""From here on code runs in the name of a task of asyncio; no other may be running."""

leave_task: Callable[[Any, Any], None] = _leave_task
"""It doesn't any more."""

current_task: Callable[[Any], Any] = asyncio.current_task
"""The task of asyncio that runs in a loop; None where a callback does."""


class Stepper(Protocol):
    """Goes on with a coroutine that waits inside a task; see `Steps`."""

    run: Callable[..., object]
    send: Callable[[Any], object]

    def failed(self, error: BaseException, item: object) -> object:
        """What stands for the result where `run(send, item)` has raised."""

    def go_on_with(self, pending: object) -> None:
        """The task, which is woken next, has to see to this: the coroutine waits for it, or has ended with it."""


WOKEN: Final = object()
"""What is there after a wait where nothing was brought."""


class AsyncioWaiter:
    """What tasks await again and again, one at a time, and what can let the one that waits go on in place.

    Attributes:
        item: what was brought and is not taken yet.
        wakeup: of the task that waits; None: none does.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_context",
        "_is_cancelled",
        "_loop",
        "_stepper",
        "_task",
        "item",
        "wakeup",
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asyncio_future_blocking = True  # it may be waited for, always
        self._context: Any = None  # of the task that waits
        self._stepper: Stepper | None = None  # goes on with the coroutine that waits, while its task sleeps
        self._task: Any = None  # that sleeps; without a wakeup: its coroutine does a step just now, or it is woken
        self._is_cancelled = False  # the task was, meanwhile
        self.item: Any = None
        self.wakeup: Callable[[object], None] | None = None

    def __await__(self) -> Generator[AsyncioWaiter, None, None]:
        """Wait, unless something is there. This stands for a generator that yields `self`, and is quicker."""
        return iter((self,) if self.item is None else ())  # type: ignore[return-value]  # see above

    def take(self) -> Any:
        """What was brought."""
        item, self.item = self.item, None
        return item

    def resume(self, item: Any) -> bool:
        """Let the task that waits, which there must be, go on here and now with `item`. False: it is cancelled instead.

        Only where no task runs. Where the task has said so (`let_step`), it sleeps on, and only the coroutine in it
        goes on, as long as that comes back to wait here: then none of what a task asks of a future is asked.
        """
        wakeup, stepper = self.wakeup, self._stepper
        self.wakeup, self.item = None, item
        try:
            if stepper is not None:
                loop, task = self._loop, self._task
                enter_task(loop, task)
                try:
                    run = stepper.run
                    pending = run(stepper.send, None)
                except BaseException as exc:  # noqa: BLE001 (raised again by the task)
                    pending = stepper.failed(exc, None)
                leave_task(loop, task)
                if pending is self and not self._is_cancelled:
                    self.wakeup = wakeup
                    return True
                stepper.go_on_with(pending)
                pending = None  # it may be an error, whose traceback holds this frame
            self._context.run(wakeup, self)
        except RuntimeError:
            if self.item is not item:  # it has gone on, and this is the task's affair
                raise
            self.wakeup = wakeup  # a task runs here after all
            self.wake(item)
            return True
        return self.item is None

    def let_step(self, stepper: Stepper | None) -> None:
        """The task that runs waits here next: as long as it comes back to wait here, let this go on in its stead."""
        self._stepper = stepper
        self._task = None if stepper is None else current_task(self._loop)
        self.wakeup = None if stepper is None else _nothing  # until the task has given its own
        self._is_cancelled = False

    def wake(self, item: Any = WOKEN) -> None:
        """Let the task go on with `item`: soon, or when it comes to wait."""
        if self.item is None or item is not WOKEN:
            self.item = item
        self.nudge()

    def nudge(self) -> None:
        """Let a task that waits go on, soon, with nothing."""
        self._wake_with(self)

    def fail(self, error: BaseException) -> None:
        """Let a task that waits go on, soon, with an error."""
        if self.wakeup is not None:
            self._wake_with(_Failed(error))

    # What a task asks of a future

    def add_done_callback(self, wakeup: Callable[[object], None], *, context: Context | None = None) -> None:
        """The task waits: this lets it go on."""
        self._asyncio_future_blocking = True  # which the task has taken as seen
        if self._is_taken:  # by another task, whose coroutine has begun this one
            self._loop.call_soon(wakeup, self, context=context)
        else:
            self.wakeup, self._context = wakeup, context

    def result(self) -> None:
        """The task goes on."""

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled while it waits; false where its coroutine goes on: it is to be told when that waits."""
        if self._is_taken:
            self._is_cancelled = True
            return False
        was_waiting = self.wakeup is not None
        self.fail(CancelledError() if msg is None else CancelledError(msg))
        return was_waiting

    def done(self) -> bool:
        """Whether nobody waits for it."""
        return self.wakeup is None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which it can be waited for."""
        return self._loop

    # Inside

    @property
    def _is_taken(self) -> bool:
        return self._task is not None and self.wakeup is None

    def _wake_with(self, outcome: object) -> None:
        """Wake the task that waits. What it is told belongs to it: until it runs, another one may come to wait."""
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is not None:
            self._loop.call_soon(wakeup, outcome, context=self._context)


class _Failed:
    """What a task finds that is woken with an error."""

    __slots__ = ("_error",)

    def __init__(self, error: BaseException) -> None:
        self._error: BaseException | None = error

    def result(self) -> None:
        """The task goes on with the error."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame


def _nothing(waiter: object) -> None:
    """Stands for the wakeup of a task that comes to wait."""


def cancel_again(error: BaseException) -> None:
    """The running task was cancelled, but something else goes on in its name: whatever that waits for is cancelled.

    So it is on asyncio, where a task that cancels itself is told when it comes to wait.
    """
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    task.cancel(*error.args)
