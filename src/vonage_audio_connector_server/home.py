"""The thread and the event loop to which one connection belongs, and calls to it from elsewhere.

A connection is plain code of one event loop, without locks. Whoever is in another thread, with an event loop of its own
or without, has the connection's functions run over there: `Home.call` posts one, and the `Away` that it returns waits
for what becomes of it. All order is that of the owner's loop. Nothing but `Away.result` blocks, and every wait ends
when the connection does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import get_ident
from typing import Any, Generic, TypeVar, TypeVarTuple, overload

import anyio
import anyio.abc
from anyio.lowlevel import current_token

from .errors import AudioConnectorClosedError
from .stepping import Acted, FirstStep, is_being_cancelled

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Home:
    """Where a connection lives: made in its event loop, called from anywhere.

    Attributes:
        thread_id: `threading.get_ident()` of the owner's thread. Another thread may get the same number when this one
            has ended, but then the connection has, too.
        context: of the task that made it.
        tasks: where the calls run, in a task that is started with the first one. The connection sets it before anybody
            may call.
    """

    def __init__(self) -> None:
        self.thread_id = get_ident()
        self.tasks: anyio.abc.TaskGroup | None = None
        self._loop: Any = current_token().native_token
        self._soon = _poster()
        self.context = copy_context()
        self._working = False  # a task that does the jobs was started
        self._jobs: list[tuple[_Answer[Any], Callable[..., Any], tuple[Any, ...]]] = []  # of the owner's thread
        self._news: anyio.Event | None = None  # tells of a job
        self._answers: set[_Answer[Any]] = set()  # those that are due, of any thread: each operation on it is atomic
        self._ended: str | None = None

    # From elsewhere

    @overload
    def call(
        self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts, on_lost: Callable[[T], object] | None = None
    ) -> Away[T]: ...

    @overload
    def call(
        self, function: Callable[[*Ts], T], *args: *Ts, on_lost: Callable[[T], object] | None = None
    ) -> Away[T]: ...

    def call(
        self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts, on_lost: Callable[[T], object] | None = None
    ) -> Away[T]:
        """Have a function run in a task of the owner's loop. It is posted before this returns, which never blocks.

        Calls of one thread begin in the order in which they are made: a plain function has returned, and a coroutine
        function has come to its first wait, before the next one begins.

        Args:
            function: a plain function or a coroutine function.
            args: what it is called with.
            on_lost: called with a result that nobody gets, because the wait for it was cancelled: in the owner's loop,
                in no task, ahead of later calls of the thread that waited; or in that thread, where the loop is gone.
                It must not raise.

        Raises:
            AudioConnectorClosedError: the connection has ended, or its event loop is gone.
        """
        answer: _Answer[T] = _Answer(on_lost)
        answer.add_done_callback(self._answers.discard)
        self._answers.add(answer)  # before the look at `_ended`: either `end` sees the answer, or we see the end
        if self._ended is None:
            if self._post(self._take, answer, function, args):
                return Away(self, answer)
            self.end("the event loop of this connection is gone: nothing can be sent on it")
        self._answers.discard(answer)
        raise AudioConnectorClosedError(self._ended)

    def _post(self, function: Callable[..., object], *args: object) -> bool:
        """Run a plain function in the owner's loop soon; tells whether that loop is still there.

        It runs in no task, and on asyncio in the context of who posts it: anyio may find no loop there, or the name of
        another, so it can't start a task there. It must not raise.
        """
        try:
            self._soon(function, *args)
        except RuntimeError:  # asyncio: the loop is closed; trio: RunFinishedError
            return False
        return True

    # In the owner's thread

    def start(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task of the connection, out of a callback."""
        tasks = self.tasks
        if tasks is None:
            return
        create_task = getattr(self._loop, "create_task", None)
        if create_task is None:  # trio
            tasks.start_soon(function)
        else:  # anyio has to be in a task; this one lives for a turn of the loop
            create_task(self._start_in_task(tasks, function), context=self.context)

    async def _start_in_task(
        self, tasks: anyio.abc.TaskGroup, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        if self._ended is None:
            tasks.start_soon(function)

    async def _work(self, tasks: anyio.abc.TaskGroup) -> None:
        """Do what is called for, in order, until cancelled.

        A call that waits keeps the task in which it began, and another task goes on with the rest.
        """
        relieved = False
        while not relieved:
            while not self._jobs:
                if self._ended is not None:
                    return  # rather than by a cancellation, which leaves a cycle of references behind
                self._news = anyio.Event()
                await self._news.wait()
            relieved = await self._do(*self._jobs.pop(0), tasks)

    def end(self, message: str) -> None:
        """The connection has ended: every wait gets an `AudioConnectorClosedError`, and so does every later call.

        Calls that have not begun are not run any more. To end it again does nothing.

        Args:
            message: of these errors.
        """
        if self._ended is None:
            self._ended = message
            self.tasks = None
            self._jobs.clear()
            if self._news is not None and get_ident() == self.thread_id:
                self._news.set()
            for answer in list(self._answers):
                answer.fail(AudioConnectorClosedError(message))  # one each: a raised error has a traceback of its own

    def _take(self, answer: _Answer[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if self._ended is None:
            self._jobs.append((answer, function, args))
            if self._news is not None:
                self._news.set()
            elif not self._working and self.tasks is not None:
                self._working = True  # the task is there for who needs it: not before the first job
                self.start(partial(self._work, self.tasks))

    async def _do(
        self, answer: _Answer[Any], function: Callable[..., Any], args: tuple[Any, ...], tasks: anyio.abc.TaskGroup
    ) -> bool:
        """Call a function, and answer; tells whether another task goes on with the jobs."""

        def stop(answer: Future[Any]) -> None:
            if answer.cancelled():
                self._post(scope.cancel)

        relieved = False
        try:
            result = function(*args)
            if hasattr(result, "__await__"):
                with anyio.CancelScope() as scope:
                    step = FirstStep(result)
                    if not step.finished:
                        relieved = True
                        tasks.start_soon(self._work, tasks)
                        answer.add_done_callback(stop)  # at once, where the wait was cancelled already
                    answer.succeed(await step)
            else:
                answer.succeed(result)
        except Exception as exc:  # noqa: BLE001 (whatever it is, it is the caller's)
            answer.fail(exc)
        except BaseException as exc:
            if is_being_cancelled() or not isinstance(exc, anyio.get_cancelled_exc_class()):
                raise  # `end` comes next, and answers
            answer.cancel()  # it waited for a task that was cancelled; raised, that would cancel the whole group
        finally:
            del answer  # the traceback of its error holds this frame
        return relieved


class Away(Acted[T]):
    """What a call from elsewhere returns: it is on its way already, and this waits for its result.

    Await it in any event loop, of asyncio or trio; `asyncio.create_task` takes it, because it is a coroutine object. A
    thread without event loop asks for `result`. Left alone it warns of nothing.

    Cancelling the wait cancels the function where that waits. It is begun in any case, and what it has done by then
    stays done.

    Raises:
        AudioConnectorClosedError: the connection ended before there was a result.
        concurrent.futures.CancelledError: the call was cancelled: by another wait for it, or by what it waited for.
    """

    __slots__ = ("__weakref__", "_answer", "_home")

    def __init__(self, home: Home, answer: _Answer[T]) -> None:
        super().__init__()
        self._home = home
        self._answer = answer

    def result(self, timeout_s: float | None = None) -> T:
        """Block this thread until there is a result: for threads without event loop.

        Args:
            timeout_s: seconds to wait at most; None: until there is a result or the connection has ended.

        Raises:
            TimeoutError: there is no result yet. The call goes on; ask again.
            RuntimeError: this thread runs an event loop, which would be blocked: use `await`.
            AudioConnectorClosedError: the connection ended before there was a result.
        """
        try:
            # A plain callback of the owner's loop is in no task, and anyio may find no loop there.
            if _has_loop() or (get_ident() == self._home.thread_id and not self._answer.done()):
                raise RuntimeError("result() would block the event loop that this thread runs: use 'await' instead")
            return self._answer.result(timeout_s)
        finally:
            del self  # the traceback of an error holds this frame, and the answer holds the error

    def throw(self, *exc_info: Any) -> Any:
        """Part of the coroutine interface, for event loops."""
        if self._coroutine is None:  # a task that is cancelled before it has begun
            self._withdraw()
        return super().throw(*exc_info)

    async def _wait(self) -> T:
        answer = self._answer
        try:
            if not answer.done():
                done = anyio.Event()
                soon, home = _poster(), self._home

                def tell(answer: Future[T]) -> None:
                    try:
                        soon(done.set)
                    except RuntimeError:  # the loop of who waits is gone
                        on_lost = answer.on_lost if isinstance(answer, _Answer) else None
                        if on_lost is not None and not answer.cancelled() and answer.exception() is None:
                            home._post(on_lost, answer.result())

                answer.add_done_callback(tell)
                try:
                    await done.wait()
                except BaseException:  # cancelled, or closed because its loop is gone
                    self._withdraw()
                    raise
            return answer.result()
        finally:
            del self, answer  # as in `result`

    def _withdraw(self) -> None:
        """Nobody waits any more: cancel the call or, where it is done, hand its result to `on_lost`."""
        answer = self._answer
        if answer.cancel() or answer.on_lost is None or answer.exception() is not None:
            return
        if not self._home._post(answer.on_lost, answer.result()):
            answer.on_lost(answer.result())


class _Answer(Future[T], Generic[T]):
    """The result of one call, or its error. Its lock decides what comes first: that, the end, or a cancelled wait."""

    def __init__(self, on_lost: Callable[[T], object] | None) -> None:
        super().__init__()
        self.on_lost = on_lost

    def succeed(self, result: T) -> None:
        try:
            self.set_result(result)
        except InvalidStateError:  # the wait was cancelled, or the connection has ended
            if self.on_lost is not None:
                self.on_lost(result)

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):
            self.set_exception(error)


def _poster() -> Callable[..., object]:
    """What runs a function in the event loop of this thread soon, and may be called in any thread."""
    token: Any = current_token().native_token
    post: Callable[..., object] = getattr(token, "call_soon_threadsafe", None) or token.run_sync_soon
    return post


def _has_loop() -> bool:
    """Whether this thread runs an event loop."""
    try:
        current_token()
    except Exception:  # noqa: BLE001 (a RuntimeError as a rule; that of anyio 4.12 has no public name)
        return False
    return True
