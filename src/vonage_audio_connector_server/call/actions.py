"""What the methods of a client return: a method has acted when it returns, and awaiting that waits for the consequence.

An action is a coroutine object, so `await`, `asyncio.create_task`, `gather`, `wait_for` and `run_coroutine_threadsafe`
take it; left alone it warns of nothing, because nothing of it was started. In a thread without event loop: `result`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from threading import get_ident
from typing import Any, TypeVar

import anyio

from ..errors import AudioConnectorClosedError, AudioConnectorError
from ..runtime import has_loop, poster
from ..waits import Question
from .call import Call
from .threads import Start

T = TypeVar("T")


class Action(Coroutine[Any, Any, T]):
    """Something that was done, and whose consequence can be awaited: any number of times, in any event loop.

    Cancelling the wait takes nothing back that was done.
    """

    __slots__ = ("__weakref__", "_answer", "_call", "_finish", "_on_lost", "_question", "_waiting")

    _call: Call
    _answer: Future[T] | None  # of what another thread has posted; None: it was done in the call's event loop
    _question: Question | None  # what is waited for there; None: nothing
    _finish: Callable[[], T] | None  # makes the result, then or when the call has ended; None: the end is an error
    _on_lost: Callable[[T], object] | None
    _waiting: Coroutine[Any, Any, T]

    def __init__(
        self,
        call: Call,
        question: Question | None,
        finish: Callable[[], T] | None,
        answer: Future[T] | None = None,
        on_lost: Callable[[T], object] | None = None,
    ) -> None:
        self._call, self._question, self._finish = call, question, finish
        self._answer, self._on_lost = answer, on_lost

    def result(self, timeout_s: float | None = None) -> T:
        """Block this thread until the consequence has come about: for threads without event loop.

        Args:
            timeout_s: seconds to wait at most; None: until then, or until the connection has ended.

        Raises:
            TimeoutError: it has not yet. Ask again.
            RuntimeError: this thread runs an event loop, which would be blocked: use `await`.
            AudioConnectorError: what awaiting it raises.
        """
        answer = self._answer
        try:
            if answer is None:
                is_due = self._question is not None and not self._call.waits.is_over(self._question)
            else:
                is_due = has_loop() or (get_ident() == self._call.thread_id and not answer.done())
            if is_due:
                raise RuntimeError("result() would block the event loop that this thread runs: use 'await' instead")
            if answer is not None:
                return self._result_of(answer, timeout_s)
            assert self._finish is not None
            return self._finish()
        finally:
            del self, answer  # the traceback of an error holds this frame, and the answer holds the error

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for the consequence."""
        return self._wait().__await__()

    async def _wait(self) -> T:
        call, answer = self._call, self._answer
        if answer is None:
            if not call.is_over:
                await call.output.give_way()
                if self._question is not None:
                    await call.waits.wait(self._question)
            assert self._finish is not None
            return self._finish()
        try:
            if not answer.done():
                await self._done(answer)
            return self._result_of(answer, 0)
        finally:
            del self, answer  # as in `result`

    def _result_of(self, answer: Future[T], timeout_s: float | None) -> T:
        try:
            return answer.result(timeout_s)
        except AudioConnectorClosedError:
            if self._finish is None:
                raise
            return self._finish()

    async def _done(self, answer: Future[T]) -> None:
        """Wait in this event loop for the answer that another one gives."""
        done, soon = anyio.Event(), poster()

        def tell(answer: Future[T]) -> None:
            try:
                soon(done.set)
            except RuntimeError:  # the loop of who waits is gone
                self._withdraw()

        answer.add_done_callback(tell)
        try:
            await done.wait()
        except BaseException:  # cancelled, or closed because its loop is gone
            self._withdraw()
            raise

    def _withdraw(self) -> None:
        """Nobody waits any more. A result that is there already is lost."""
        answer, on_lost = self._answer, self._on_lost
        if answer is None or answer.cancel() or on_lost is None or answer.cancelled() or answer.exception() is not None:
            return
        if not self._call.threads.run_soon(on_lost, answer.result()):
            on_lost(answer.result())

    # The coroutine interface, for event loops

    def send(self, value: Any, /) -> Any:
        """See `collections.abc.Coroutine`."""
        return self._coroutine().send(value)

    def throw(self, *exc_info: Any) -> Any:
        """See `collections.abc.Coroutine`."""
        if not hasattr(self, "_waiting"):  # a task that is cancelled before it has begun
            self._withdraw()
        return self._coroutine().throw(*exc_info)

    def close(self) -> None:
        """See `collections.abc.Coroutine`."""
        if hasattr(self, "_waiting"):
            self._waiting.close()

    def _coroutine(self) -> Coroutine[Any, Any, T]:
        if not hasattr(self, "_waiting"):
            self._waiting = self._wait()
        return self._waiting


def act(
    call: Call, start: Start[T], *, ends_well: bool = False, on_lost: Callable[[T], object] | None = None
) -> Action[T]:
    """Do something in the event loop of a call: now, or as soon as it can be from another thread.

    Args:
        call: whose event loop it is.
        start: what is done; see `Start`.
        ends_well: it only waits, and where the call ends, the result is what can be told then.
        on_lost: see `Threads.post`.

    Raises:
        AudioConnectorClosedError: from another thread, where the call has ended.
        AudioConnectorError: what `start` raises, in the thread of the call. Awaiting raises it instead where errors
            come one after the other and the event loop doesn't turn: a loop that tries for ever must not hold up all
            calls.
    """
    if get_ident() == call.thread_id or (ends_well and call.is_over):
        try:
            question, finish = start()
        except AudioConnectorError as exc:
            if call.fails_on():
                return refused(Action, call, exc)
            raise
        return Action(call, None if call.is_over else question, finish)
    at_end = (lambda: start()[1]()) if ends_well else None
    try:
        return Action(call, None, at_end, call.threads.post(start, on_lost), on_lost)
    except AudioConnectorClosedError:  # it has just ended
        if at_end is None:
            raise
        return Action(call, None, at_end)


def do(call: Call, function: Callable[[], object], *, ends_well: bool = False) -> Action[None]:
    """Do something in the event loop of a call that has no consequence to wait for; see `act`."""

    def start() -> tuple[None, Callable[[], None]]:
        function()
        return None, nothing

    return act(call, start, ends_well=ends_well)


def nothing() -> None:
    """The result of what has none."""


A = TypeVar("A", bound=Action[Any])


def refused(kind: type[A], call: Call, error: AudioConnectorError) -> A:
    """What was not done: awaiting it raises why, after others ran."""

    def fail() -> Any:
        raise error

    return kind(call, None, fail)
