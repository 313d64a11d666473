"""What lets user code go on in place, on asyncio: in the name of a task, out of a callback, in no turn of the loop.

asyncio documents what this needs for those who write tasks of their own ("Extending": `_enter_task`, `_leave_task`),
and lets a task wait for any object that is like a future (`asyncio.isfuture`).
"""

from __future__ import annotations

import asyncio
from asyncio import _enter_task, _leave_task
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
    """What one task awaits again and again, and what can let it go on in place.

    Awaiting it waits until `resume` or `wake` brings something, which `take` returns. What was brought and not taken,
    because the task was cancelled, is there for the next wait.

    Attributes:
        item: what was brought and is not taken yet.
        wakeup: of the task that waits; None: none does.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_context",
        "_error",
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
        self._error: BaseException | None = None
        self._stepper: Stepper | None = None  # goes on with the coroutine that waits, while its task sleeps
        self._task: Any = None  # that sleeps
        self._is_cancelled = False  # it was, while the coroutine did a step
        self.item: Any = None
        self.wakeup: Callable[[object], None] | None = None

    def __await__(self) -> Generator[AsyncioWaiter, None, None]:
        """Wait, unless something is there. This stands for a generator that yields `self`, and is quicker."""
        return iter((self,) if self.item is None else ())  # type: ignore[return-value]

    def take(self) -> Any:
        """What was brought."""
        item, self.item = self.item, None
        return item

    def resume(self, item: Any) -> None:
        """Let the task, which must wait, go on here and now, with `item`. Only where no task runs.

        Where the task has said so (`let_step`), it sleeps on, and only the coroutine in it goes on, as long as that
        comes back to wait here: then none of what a task asks of a future is asked.
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
                    return
                stepper.go_on_with(pending)
            self._context.run(wakeup, self)
        except RuntimeError:
            if self.item is not item:  # it has gone on, and this is the task's affair
                raise
            self.wakeup = wakeup  # a task runs here after all
            self.wake(item)

    def let_step(self, stepper: Stepper | None) -> None:
        """The task that runs waits here next: as long as it comes back to wait here, let this go on in its stead."""
        self._stepper = stepper
        self._task = None if stepper is None else current_task(self._loop)
        self._is_cancelled = False

    def wake(self, item: Any = None) -> None:
        """Let the task go on with `item`: soon, or when it comes to wait."""
        if item is not None:
            self.item = item
        elif self.item is None:
            self.item = WOKEN
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is not None:
            self._loop.call_soon(wakeup, self, context=self._context)

    def fail(self, error: BaseException) -> None:
        """Let a task that waits go on with an error."""
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is not None:
            self._error = error
            self._loop.call_soon(wakeup, self, context=self._context)

    # What a task asks of a future

    def add_done_callback(self, wakeup: Callable[[object], None], *, context: Context | None = None) -> None:
        """The task waits: this lets it go on."""
        self._asyncio_future_blocking = True  # which the task has taken as seen
        self.wakeup, self._context = wakeup, context

    def result(self) -> None:
        """The task goes on, with what this raises."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled while it waits."""
        was_waiting = self.wakeup is not None
        self._is_cancelled = not was_waiting
        self.fail(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return was_waiting

    def done(self) -> bool:
        """Whether nobody waits for it."""
        return self.wakeup is None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which it can be waited for."""
        return self._loop
