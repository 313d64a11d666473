"""The way out of one connection: the write turn, and the task that plays the queue.

Whoever holds the *write turn* writes, and polls until nothing is due; so what others queue meanwhile goes out in order,
and when the turn ends every text that was queued before it is on the wire. On asyncio a caller whose frame is due takes
the turn and hands the frame straight to the socket, because waking another task for it costs as much as the rest of the
work together. On trio the writer task always writes. It is started when something has to wait for its time, and ends
when nothing is queued.

On our own server most of this is idle: what is due leaves in one call (`Direct.write`), which never waits, and a timer
looks at the queue when the next batch is due. The turn and the task are for a socket that is backed up, for audio in
texts, and for the close.

A write that has begun is never cancelled and never begun again, because servers differ in whether they write before
they wait. Where it has to wait, a task of the connection's own group sees it through, and its caller only looks on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from .core.session import Action, Idle, Send, Session, Wait
from .direct import CallLater, Timer, Write
from .outcomes import ClosedBy
from .stepping import FirstStep

logger = logging.getLogger("vonage_audio_connector_server")

ASGIMessage = MutableMapping[str, Any]

WRITE_S = 10.0
"""A write that can't progress for this long ends the connection: the peer has stopped reading."""

TURN_S = 0.01
"""A call yields when the event loop has not turned for this long, so that no caller can starve the connection."""

LATE_S = 0.02
"""A wake-up that is later than one frame is counted; the lead makes up for it."""

TICK_S = 0.001
"""No timer is shorter: event loops round to it, and would look too early again and again."""

ABNORMAL = 1006  # RFC 6455 §7.4.1: the socket went away without a close

# What servers raise from `send` when the socket is gone: uvicorn an OSError, or a RuntimeError where it closed the
# connection by itself; memory streams (Starlette's TestClient) the anyio errors.
_GONE = (OSError, RuntimeError, anyio.BrokenResourceError, anyio.ClosedResourceError)


_IDLE = Idle()


def backend_clock() -> Callable[[], float]:
    """The monotonic clock of the running event loop.

    On trio it is trio's own, which tests replace. On asyncio it is `time.monotonic`: `anyio.current_time` costs 2 µs
    a call, and on uvloop it stands still while the loop doesn't turn.
    """
    return anyio.current_time if _on_trio() else time.monotonic


class Writer:
    """Writes what a session has to send, when it is due.

    Args:
        session: what to send, and when.
        send: the ASGI `send` of the connection.
        clock: the clock of the session.
        on_end: called once, when the close is on the wire or the socket turned out to be gone: the close code, who
            closed, and why.
        write: see `Direct`; with `call_later`, it makes the writer task superfluous as long as the socket takes all.
        call_later: see `Direct`.
    """

    def __init__(
        self,
        session: Session,
        send: Callable[[ASGIMessage], Awaitable[None]],
        clock: Callable[[], float],
        on_end: Callable[[int, ClosedBy, str], None],
        write: Write | None = None,
        call_later: CallLater | None = None,
    ) -> None:
        self.tasks: anyio.abc.TaskGroup | None = None  # where the writer task may be started
        self.start: Callable[[Callable[[], Coroutine[Any, Any, None]]], object] = _never  # the same, out of a callback
        self.closing: tuple[int, ClosedBy, str] | None = None  # how to close, once what is queued is out
        self.ended = False
        self.last_s: float | None = None  # when something was last written
        self.late_wakeups = 0
        self.furthest_behind_s = 0.0  # the latest of them
        self._session = session
        self._send = send
        self._clock = clock
        self._on_end = on_end
        self._write = write
        self._call_later = call_later
        self._timer: Timer | None = None  # looks at the queue in the stead of the writer task
        self._direct = not _on_trio()  # there a write that was begun in one task can't be ended in another
        self._blocked: anyio.Event | None = None  # a write that was begun waits; is set when it is done
        self._writing = False  # somebody holds the write turn
        self._turn_end: anyio.Event | None = None  # is set when the turn ends
        self._playing = False  # the writer task runs
        self._wake_at_s = -math.inf  # when it wakes by itself
        self._wake: anyio.Event | None = None  # wakes it before
        self.turned_s = clock()  # when the event loop is known to have turned

    # For callers

    def write_now(self, now_s: float) -> Action | None:
        """Write what is due in one call, where the server offers that and nothing is in the way.

        Returns what is to be done next, which the writer task does; None: it could not, and `write_due` is needed.
        """
        write, session = self._write, self._session
        if write is None or self._writing or self._blocked is not None:
            return None
        action: Action = _IDLE
        payloads = session.out.outbox
        if payloads or type(action := session.poll(now_s)) is Send:
            if session.sends is not None or not write(payloads):  # audio in texts is written one by one
                return None
            self.last_s = now_s
            action = session.poll(now_s)
        if type(action) is Wait:
            self._look_at(action.until_s, now_s)
        return action

    def write_frame(self, pcm: bytes, now_s: float) -> bool:
        """Write one frame of binary audio before which nothing waits, if that can be as in `write_now`."""
        if self._write is None or self._writing or self._blocked is not None or not self._write([pcm]):
            return False
        self.last_s = now_s
        return True

    def write_at_once(self, now_s: float) -> bool:
        """Write the audio that was just queued; tells whether that was all, and its caller need not yield."""
        return type(self.write_now(now_s)) is Idle and now_s - self.turned_s <= TURN_S

    async def audio_queued(self) -> None:
        """Write what is due of the audio that was just queued, and see to it that the rest is played.

        Yields where the audio could not go straight to the socket, and where the loop has not turned for `TURN_S`.
        """
        if self._writing:
            await checkpoint()
            self.turned()
        elif not self._direct:
            await self._let_writer_write()
        elif type(self.write_now(self._clock()) or await self.write_due()) is Wait:
            await checkpoint()
            self.turned()
        else:
            await self.let_turn()

    async def written(self) -> None:
        """Wait until every text queued so far, and the close if there is one, is on the wire, or all is over."""
        while not self.ended and (self._writing or self.closing is not None or self._session.has_unsent):
            if self._writing:
                await self._wait_turn_end()
            elif not self._direct:
                await self._let_writer_write()
            elif self.write_now(self._clock()) is None:
                await self.write_due()
        await self.let_turn()

    def play_from(self, due_s: float) -> None:
        """Make sure that the writer task looks at the queue at `due_s`."""
        if self.tasks is None or self.ended:
            return
        if not self._playing:
            self._stop_timer()
            self._playing = True
            self._wake_at_s = -math.inf
            self.tasks.start_soon(self._play)
        elif due_s < self._wake_at_s and self._wake is not None:
            self._wake.set()

    def end(self) -> None:
        """All is over: end all waits. Nothing is written any more."""
        self.ended = True
        self._write = None
        self._on_end = _nothing  # it holds the connection, which holds us
        self._stop_timer()
        for event in (self._wake, self._turn_end, self._blocked):
            if event is not None:
                event.set()

    def begin_close(self, code: int, by: ClosedBy, reason: str) -> None:
        """From now on only what is queued is written, and then the close."""
        self.closing = (code, by, reason)
        self._write = None
        self._stop_timer()

    # The turn of the event loop

    def turned(self) -> float:
        """The event loop has turned just now; returns the time."""
        self.turned_s = self._clock()
        return self.turned_s

    async def let_turn(self) -> float:
        """Yield if the event loop has not turned for `TURN_S`; returns the time."""
        now_s = self._clock()
        if now_s - self.turned_s > TURN_S:
            await checkpoint()
            return self.turned()
        return now_s

    # The write turn

    async def write_due(self) -> Action:
        """Hold the write turn, which must be free, and write until nothing is due.

        Cancelling it loses nothing: the writer task goes on where it stopped.
        """
        self._writing = True
        action: Action = _IDLE
        try:
            while not self.ended:
                if self._blocked is not None:  # a cancelled caller began it: until it is done nothing is written
                    await self._blocked.wait()
                    continue
                action = self._session.poll(now_s := self._clock())
                if type(action) is not Send:
                    break
                self.last_s = now_s
                payloads = action.payloads
                while payloads and not self.ended and self._blocked is None:
                    await self._deliver(self._message(payloads.popleft()))
            if self.closing is not None and not self.ended:
                await self.close(*self.closing)
        except BaseException:  # a cancelled caller
            self.play_from(self._clock())
            raise
        finally:
            self._writing = False
            if self._turn_end is not None:
                self._turn_end.set()
                self._turn_end = None
        if type(action) is Wait:
            self._look_at(action.until_s, self._clock())
        return action

    async def close(self, code: int, by: ClosedBy, reason: str) -> None:
        """Write the close, and end."""
        while self._blocked is not None and not self.ended:
            await self._blocked.wait()
        await self._deliver({"type": "websocket.close", "code": code, "reason": reason})
        self._on_end(code, by, reason)

    def _message(self, payload: bytes | str) -> ASGIMessage:
        if isinstance(payload, str):
            return {"type": "websocket.send", "text": payload}
        transport = self._session.sends
        if transport is None:
            return {"type": "websocket.send", "bytes": payload}
        return {"type": "websocket.send", "text": transport.encode(payload)}

    async def _deliver(self, message: ASGIMessage) -> None:
        """Give one message to the server. Cancelling it doesn't cancel the write."""
        if self._direct and self.tasks is not None:
            try:
                step = FirstStep.of(self._send(message))
            except Exception as exc:  # noqa: BLE001 (whatever it is, the connection is of no use any more; it is logged)
                self._lose(exc)
                return
            if step is not None:
                self._blocked = anyio.Event()
                self.tasks.start_soon(self._unblock, step, self._blocked)
                await self._blocked.wait()
        else:
            await self._see_through(self._send(message))

    async def _unblock(self, write: Awaitable[None], blocked: anyio.Event) -> None:
        try:
            await self._see_through(write)
        finally:
            self._blocked = None
            blocked.set()

    async def _see_through(self, write: Awaitable[None]) -> None:
        try:
            with anyio.move_on_after(WRITE_S) as limit:
                await write
        except Exception as exc:  # noqa: BLE001 (whatever it is, the connection is of no use any more; it is logged)
            self._lose(exc)
        else:
            if limit.cancelled_caught:
                logger.warning("the peer has read nothing for %g s: its connection is given up", WRITE_S)
                self._on_end(ABNORMAL, "network", f"the peer read nothing for {WRITE_S:g} s")

    def _lose(self, error: Exception) -> None:
        level = logging.DEBUG if isinstance(error, _GONE) else logging.ERROR
        logger.log(level, "a write failed: the connection is given up", exc_info=error)
        self._on_end(ABNORMAL, "network", "a write failed")

    async def _wait_turn_end(self) -> None:
        self._turn_end = self._turn_end or anyio.Event()
        await self._turn_end.wait()

    async def _let_writer_write(self) -> None:
        self.play_from(self._clock())
        await self._wait_turn_end()
        self.turned()

    # The timer

    def _look_at(self, due_s: float, now_s: float) -> None:
        """Look at the queue at `due_s`, where the server has timers out of one; else the writer task does."""
        if self._write is None or self._call_later is None:
            self.play_from(due_s)
        elif self._timer is None or due_s < self._wake_at_s:
            self._stop_timer()
            self._wake_at_s = due_s
            self._timer = self._call_later(max(due_s - now_s, TICK_S), self._look)

    def _look(self) -> None:
        """It is time to write what is due by now."""
        self._timer = None
        if self._playing:  # the task goes on with it
            return
        now_s = self.turned()
        self._count_late(now_s - self._wake_at_s)
        if self.write_now(now_s) is None and not self.ended:  # the socket is backed up
            self._playing = True
            self._wake_at_s = -math.inf
            self.start(self._play)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count_late(self, late_s: float) -> None:
        if late_s > LATE_S:
            self.late_wakeups += 1
            self.furthest_behind_s = max(self.furthest_behind_s, late_s)

    # The writer task

    async def _play(self) -> None:
        try:
            while not self.ended:
                if self._writing:
                    await self._wait_turn_end()
                    continue
                action = self.write_now(self._clock()) or await self.write_due()
                if type(action) is not Wait or self._timer is not None:
                    return
                self._wake_at_s = action.until_s
                self._wake = anyio.Event()
                with anyio.move_on_after(action.until_s - self._clock()) as timer:
                    await self._wake.wait()
                self._wake_at_s = -math.inf
                if timer.cancelled_caught:
                    self._count_late(self._clock() - action.until_s)
        finally:
            self._playing = False


def _nothing(code: int, by: ClosedBy, reason: str) -> None:
    """Stands for `on_end` once it was called."""


def _never(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Stands for `start` until there is a connection."""


def _on_trio() -> bool:
    return anyio.get_cancelled_exc_class().__module__.startswith("trio")
