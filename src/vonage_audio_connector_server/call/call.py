"""One call, from the accept to its end: the `Receiver` of its link, with its session, its dispatcher and its pump.

Plain code in the thread of one event loop. The first cause of the end wins; then all waits end, user code in progress
has `GRACE_S` to finish before it is cancelled, and `on_disconnect` runs last.
"""

from __future__ import annotations

import logging
import math
import time
from contextvars import copy_context
from functools import partial
from threading import get_ident

import anyio
import anyio.abc

from ..close_codes import ABNORMAL, INTERNAL_ERROR, NORMAL, SERVICE_RESTART
from ..config import AudioConnectorConfig
from ..core.events import Audio
from ..core.session import Session
from ..errors import AudioConnectorClosedError
from ..formats import AudioFormat
from ..link.base import TURN_S, Link, turn_of
from ..results import ClosedBy, CloseReport, ConnectionStats
from ..runtime import call_clock, loop_time, native_loop, virtual_clock
from ..steps import Handler
from ..watchdog import Watchdog, was_blocked, watch
from .dispatcher import Deliver, Dispatcher
from .handlers import is_only_closed
from .output import Output
from .statistics import make_stats
from .threads import Threads

logger = logging.getLogger("vonage_audio_connector_server")

GRACE_S = 5.0
"""How long user code in progress may go on after the connection has ended, before it is cancelled."""

CANCELLED_GRACE_S = 10.0
"""How long `on_disconnect` may take where the ASGI server cancelled the connection."""

CLOSE_S = 1.0
"""How long the close may take that is written for a cancelled connection."""


class Call:
    """One accepted connection.

    Args:
        link: its messages.
        config: the settings.
        call_id: stands in every log line about it.
        place: what was asked for, without secrets, and by whom, for the log.

    Attributes:
        session: the protocol, and what is to be sent when; `out` is the audio of it.
        link: its messages.
        turn: of the event loop; see `LoopTurn`.
        deliver: takes what comes, and when it came: the dispatcher, or what stands before it.
        closing: how to close, once what is queued is out: code, who, why.
        ended_s: when the connection ended.
    """

    def __init__(self, link: Link, config: AudioConnectorConfig, call_id: str, place: str) -> None:
        self.id = call_id
        self.clock = call_clock()
        self.started_s = self.clock()
        self._offset_s = time.monotonic() - self.started_s
        self.last_in_s: float | None = None
        self.ended_s: float | None = None
        self.closing: tuple[int, ClosedBy, str] | None = None
        self.close_report: CloseReport | None = None
        self.session = Session(
            self.started_s,
            assumed_format=config.audio_format,
            lead_s=config.lead_s,
            clear_commands=config.clear_commands,
            transport=config.transport,
            max_queued_s=config.max_queued_s,
            when_full=config.when_full,
        )
        self.out = self.session.out
        self.turn = turn_of(native_loop(), self.started_s)
        watches = config.watchdog and virtual_clock() is None
        self._watchdog: Watchdog | None = watch() if watches else None
        blocked = partial(was_blocked, self._watchdog, self._offset_s)
        self.output = Output(self.session, link.sink, self.clock, self.turn, blocked)
        self.waits = self.output.waits
        self.dispatcher = Dispatcher(self, copy_context(), self.turn)
        self.deliver: Deliver = self.dispatcher.dispatch
        self.threads = Threads(self.waits)
        self.thread_id = self.threads.thread_id
        self.link = link
        self.place = place
        self._is_known = False  # the log has told of it
        self._failed_s = -math.inf  # when the turn of the event loop began in which something failed last
        self._config = config
        self._loop_time = loop_time()
        self._tasks: anyio.abc.TaskGroup | None = None

    # Life

    async def run(self, on_connect: Handler, *args: object) -> None:
        """Serve the accepted connection until it ends; `on_disconnect` has run when this returns.

        Cancelling it ends the connection: user code is cancelled, `on_disconnect` still runs, within
        `CANCELLED_GRACE_S`.
        """
        grace_s = math.inf
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._set_up, on_connect, args)
                self.output.timer.start(self._tasks)
                self.link.start(self, self._config.max_message_bytes, self._tasks)
                if self._config.max_duration_s is not None:
                    self._limit(self._config.max_duration_s)
                await self.dispatcher.run()
        except anyio.get_cancelled_exc_class():
            grace_s = CANCELLED_GRACE_S
            raise
        finally:
            self._tasks = None
            await self._finish(grace_s)

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self.ended_s is not None

    @property
    def is_open(self) -> bool:
        """Whether anything can still be sent."""
        return self.ended_s is None and self.closing is None

    # The link's side

    def audio_received(self, data: bytes) -> None:
        """A binary message came."""
        clock = self.clock  # called as a local name: CPython looks such an attribute up anew each time
        self.last_in_s = now_s = clock()
        session = self.session
        if len(data) == session.frame_bytes:  # the usual frame
            session.frames_in += 1
            session.bytes_in += len(data)
        elif session.audio_received(data):
            self._format_known()
        self.deliver(data, now_s)

    def text_received(self, text: str) -> None:
        """A text message came."""
        self.last_in_s = now_s = self.clock()
        known = self.session.audio_format
        event = self.session.text_received(text)
        if self.session.audio_format is not known:
            self._format_known()
        self.output.changed()
        self.deliver(event.pcm if isinstance(event, Audio) else event, now_s)

    def writable(self) -> None:
        """The link takes messages again."""
        self.output.writable()

    def lost(self, code: int, reason: str, by: ClosedBy) -> None:
        """The connection is over: end all waits, and give user code its grace."""
        if self.ended_s is not None:
            return
        if self.closing is not None and by != "network":  # ours came first
            code, by, reason = self.closing
        self.output.measure()
        self.output.count_gaps()
        self.ended_s = now_s = self.clock()
        self.session.drop_audio(now_s)  # nobody will hear it
        last_out_s = self.output.last_s
        self.close_report = CloseReport(
            connection_id=self.id,
            closed_by=by,
            code=code,
            reason=reason,
            last_in_s=None if self.last_in_s is None else now_s - self.last_in_s,
            last_out_s=None if last_out_s is None else now_s - last_out_s,
            stats=self.stats(),
        )
        # One that ended before anything told its rate has no other line.
        logger.info("connection %s: %s%s", self.id, self.close_report, "" if self._is_known else f"; {self.place}")
        self.output.stop()
        if self._tasks is not None:
            self._tasks.cancel_scope.deadline = self._loop_time() + GRACE_S
        self.output.changed()
        self.threads.end(self._closed_text())
        self.dispatcher.wake()

    # For the client, in the call's own event loop

    def check_open(self) -> None:
        """Raise `AudioConnectorClosedError` where nothing can be sent any more."""
        if self.ended_s is not None or self.closing is not None:
            raise AudioConnectorClosedError(self._closed_text())

    def start_soon(self, function: Handler, args: tuple[object, ...]) -> None:
        """Run user code beside the call, until that is over; an error of it is told as that of a handler."""
        self.check_open()
        assert self._tasks is not None
        self.dispatcher.in_own_task(partial(self._tasks.start_soon, self._run, function, args))

    def close(self, code: int, reason: str = "", *, by: ClosedBy = "program") -> None:
        """End the connection now: queued audio is dropped, texts that are queued go out, then the close."""
        if self.is_open:
            self.closing = (code, by, reason)
            self.dispatcher.inbox.clear()
            self.output.finish(partial(self.link.close, code, reason))

    def check_sent(self, text: str) -> None:
        """Raise `AudioConnectorClosedError` where the connection ended before a text was written."""
        report = self.close_report
        if report is not None and (report.code == ABNORMAL or text in self.out.outbox):
            self.check_open()

    def assume_format(self) -> AudioFormat:
        """The audio format that holds; where none is known, from now on the configured one."""
        audio_format = self.session.assume_format()
        self._format_known()
        return audio_format

    def fails_on(self) -> bool:
        """Something has failed: whether it isn't the first time since the event loop should have turned."""
        failed_s, self._failed_s = self._failed_s, self.turn.began_s
        return failed_s == self._failed_s and self.clock() - failed_s > TURN_S

    # For the dispatcher

    async def give_way(self) -> None:
        """See `Output.give_way`."""
        await self.output.give_way()

    def changed(self) -> None:
        """A message waits in the inbox."""
        self.output.changed()

    async def report(self, error: Exception) -> None:
        """Tell an error of user code: to `on_error`, and the call goes on; else to the log, and the call ends."""
        if not self.is_open and is_only_closed(error):
            return  # the code was sending when the call ended: the usual end, not an error
        on_error, failed = self.dispatcher.handlers.on_error, None
        try:
            if on_error is not None:
                failed = await self.dispatcher.run_handler(on_error, error)
                if failed is None:
                    return
                failed.__context__ = failed.__context__ or error
            error = failed or error
            logger.error("connection %s: a handler failed, closed with %d", self.id, INTERNAL_ERROR, exc_info=error)
            self.close(INTERNAL_ERROR, "internal error", by="library")
        finally:
            del error, failed  # their tracebacks lead to this frame

    # What is known

    def now_s(self) -> float:
        """The time on the clock of the call, in any thread: trio's clock can't be read in others."""
        if self.ended_s is None and get_ident() == self.thread_id:
            return self.clock()
        return time.monotonic() - self._offset_s

    def heard_s(self) -> float:
        """Seconds of audio that were heard by now; from any thread."""
        if self.ended_s is None and get_ident() == self.thread_id:
            self.output.measure()
        return self.session.heard_s(self.now_s())

    def stats(self) -> ConnectionStats:
        """The counters, now; from any thread."""
        now_s = self.now_s()
        if self.ended_s is None and get_ident() == self.thread_id:
            self.output.measure()
            self.output.count_gaps()
        return make_stats(
            self.session,
            self.dispatcher.inbox,
            now_s,
            duration_s=(now_s if self.ended_s is None else self.ended_s) - self.started_s,
            late_wakeups=self.output.late_wakeups,
            furthest_behind_s=self.output.furthest_behind_s,
        )

    # Inside

    def _format_known(self) -> None:
        """The format has become known or another one: what waited for it is due now."""
        if not self._is_known:
            self._is_known = True
            audio_format = self.session.audio_format
            rate_hz = 0 if audio_format is None else audio_format.rate_hz
            logger.info("connection %s: begun, %s, %d Hz", self.id, self.place, rate_hz)
        self.output.changed()
        if self.out.has_more:
            self.output.pump_soon()

    async def _set_up(self, on_connect: Handler, args: tuple[object, ...]) -> None:
        """Run `on_connect`."""
        await self._run(on_connect, args)
        self.dispatcher.set_up(self.clock())

    async def _run(self, function: Handler, args: tuple[object, ...]) -> None:
        """Run user code in a task of its own."""
        error = await self.dispatcher.run_handler(function, *args)
        if error is not None:
            await self.report(error)
        del error  # its traceback leads to this frame

    def _limit(self, max_duration_s: float) -> None:
        """See to it that the call ends in time."""
        end_s = self.started_s + max_duration_s

        def too_long() -> None:
            if self.is_open:
                logger.warning("connection %s: closed, because it lasted max_duration_s=%g", self.id, max_duration_s)
                self.close(NORMAL, "max_duration_s", by="library")

        self.waits.add(lambda now_s: None if now_s >= end_s or not self.is_open else end_s, too_long)

    def _closed_text(self) -> str:
        code = "" if self.close_report is None else f" (close code {self.close_report.code})"
        return f"connection {self.id} is closed{code}: nothing can be sent on it"

    async def _finish(self, grace_s: float) -> None:
        """End the connection, if it hasn't; run `on_disconnect`; let go what holds others."""
        try:
            if self.ended_s is None:  # cancelled by the ASGI server, or by an error of ours
                self.closing = self.closing or (SERVICE_RESTART, "server", "server stops")
                with anyio.move_on_after(CLOSE_S, shield=True):  # it must not eat the time of on_disconnect
                    await self.link.abandon(SERVICE_RESTART, "server stops")
                self.lost(SERVICE_RESTART, "server stops", "server")
            on_disconnect = self.dispatcher.handlers.on_disconnect
            if on_disconnect is not None:
                with anyio.move_on_after(grace_s, shield=True):
                    error = await self.dispatcher.run_handler(on_disconnect)
                    if error is not None:
                        logger.error("connection %s: on_disconnect failed", self.id, exc_info=error)
                    del error  # as above
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Break every circle of references: a call that is over needs no collector, nor what its handlers hold."""
        self.dispatcher.forget()
        if self._watchdog is not None:
            self._watchdog.release()
            self._watchdog = None
