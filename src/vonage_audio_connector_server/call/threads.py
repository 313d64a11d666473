"""The way into a call from other threads.

A call is plain code of one event loop, without locks. Whoever is in another thread, with an event loop of its own or
without, has functions run over there: `Threads.post` sends one on its way before it returns, so those of one thread run
in the order in which they were posted. Every wait ends when the call does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import get_ident
from typing import Any, TypeVar

from ..errors import AudioConnectorClosedError
from ..runtime import poster
from ..waits import Question, Waits

T = TypeVar("T")

Start = Callable[[], tuple[Question | None, Callable[[], T]]]
"""Does something in the call's event loop, in no task; returns what is to be waited for behind it (None: nothing), and
what makes the result then."""


class Threads:
    """Made in the thread of the call's event loop, and used from all others.

    Attributes:
        thread_id: `threading.get_ident()` of that thread. Another one may get the same number when it has ended, but
            then the call has, too.
    """

    def __init__(self, waits: Waits) -> None:
        self.thread_id = get_ident()
        self._waits = waits
        self._soon = poster()
        self._answers: set[Future[Any]] = set()  # those that are due, of any thread: each operation on it is atomic
        self._ended: str | None = None

    def post(self, start: Start[T], on_lost: Callable[[T], object] | None = None) -> Future[T]:
        """Have something done in the call's event loop, whether or not anybody waits for what becomes of it.

        The lock of the future decides what comes first: its result, the end of the call, or a cancelled wait.

        Args:
            start: what is done.
            on_lost: called in the call's loop with a result that comes when nobody waits for it any more. It must not
                raise.

        Raises:
            AudioConnectorClosedError: the call has ended, or its event loop is gone.
        """
        answer: Future[T] = Future()
        answer.add_done_callback(self._answers.discard)
        self._answers.add(answer)  # before the look at `_ended`: either `end` sees the answer, or we see the end
        if self._ended is None:
            if self.run_soon(self._run, answer, start, on_lost):
                return answer
            self.end("the event loop of this connection is gone: nothing can be sent on it")
        self._answers.discard(answer)
        raise AudioConnectorClosedError(self._ended)

    def run_soon(self, function: Callable[..., object], *args: object) -> bool:
        """Run a function that must not raise in the call's loop; false where that loop is gone."""
        try:
            self._soon(function, *args)
        except RuntimeError:  # asyncio: the loop is closed; trio: RunFinishedError
            return False
        return True

    def end(self, message: str) -> None:
        """The call has ended: every wait gets an `AudioConnectorClosedError`, and so does every later call.

        What was posted and has not begun is not run any more. To end it again does nothing.

        Args:
            message: of these errors.
        """
        if self._ended is None:
            self._ended = message
            for answer in list(self._answers):
                with suppress(InvalidStateError):
                    answer.set_exception(AudioConnectorClosedError(message))  # one each: a raised one has a traceback

    def _run(self, answer: Future[T], start: Start[T], on_lost: Callable[[T], object] | None) -> None:
        def finish() -> None:
            if answer.done():
                return
            try:
                result = made()
            except Exception as exc:  # noqa: BLE001 (whatever it is, it is the caller's)
                with suppress(InvalidStateError):
                    answer.set_exception(exc)
                return
            try:
                answer.set_result(result)
            except InvalidStateError:
                if on_lost is not None:
                    on_lost(result)

        if self._ended is not None:
            return
        try:
            question, made = start()
        except Exception as exc:  # noqa: BLE001 (as above)
            with suppress(InvalidStateError):
                answer.set_exception(exc)
            return
        if question is None:
            finish()
        else:
            asked = question
            self._waits.add(lambda now_s: None if answer.done() else asked(now_s), finish)
