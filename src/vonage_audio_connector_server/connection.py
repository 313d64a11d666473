"""One connection, from the accept to its end. With `reader.py` and `writer.py`, the only place with tasks.

The first cause of the end wins. All waits end, user code in progress has `GRACE_S` to finish, then it is cancelled, and
`on_disconnect` runs last.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from threading import get_ident

import anyio
import anyio.abc

from .config import AudioConnectorConfig
from .core.ledger import Mark
from .core.session import Session
from .direct import Direct
from .errors import AudioConnectorClosedError
from .home import Home
from .inbox import Item
from .models import AudioFormat, ConnectionStats
from .outcomes import ClosedBy, CloseReport, FlushResult, PlaybackResult
from .reader import RESTART, Handler, Handlers, Reader
from .watchdog import Watchdog, watch
from .writer import ABNORMAL, ASGIMessage, Writer, backend_clock

logger = logging.getLogger("vonage_audio_connector_server")

GRACE_S = 5.0
"""How long user code in progress may go on after the connection has ended, before it is cancelled."""

CANCELLED_GRACE_S = 10.0
"""How long `on_disconnect` may take where the ASGI server cancelled the connection."""

CLOSE_S = 1.0
"""How long the close may take that is written for a cancelled connection."""

CONFIRM_S = 1.0
"""How much longer than the clock says a playback waits for the router's acknowledgement, which may never come."""

NORMAL = 1000  # RFC 6455 §7.4

_EARLY_S = 0.1  # how often who waits for audio looks whether the format has been assumed
_SOON_S = 0.001  # waits for audio are no shorter, so that rounding can't make them spin


class Connection:
    """One accepted WebSocket, from the accept to the end of `run`.

    Args:
        receive: the ASGI `receive` of the connection.
        send: the ASGI `send` of the connection.
        config: the settings.
        connection_id: stands in every log line about it.
        direct: the shorter ways that the server offers.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[ASGIMessage]],
        send: Callable[[ASGIMessage], Awaitable[None]],
        config: AudioConnectorConfig,
        connection_id: str,
        direct: Direct | None = None,
    ) -> None:
        self.id = connection_id
        self.clock = backend_clock()
        self.started_s = self.clock()
        self._offset_s = time.monotonic() - self.started_s
        self.ended_s: float | None = None
        self.close_code: int | None = None
        self.close_report: CloseReport | None = None
        self.home = Home()
        self.tasks: anyio.abc.TaskGroup | None = None
        self._watchdog: Watchdog | None = watch() if config.watchdog else None
        self.session = Session(
            self.started_s,
            assumed_format=config.audio_format,
            lead_s=config.lead_s,
            clear_commands=config.clear_commands,
            transport=config.transport,
            max_queued_s=config.max_queued_s,
            when_full=config.when_full,
            blocked=partial(_was_blocked, self._watchdog, self._offset_s),
        )
        write = call_later = listen = None
        if direct is not None:
            if direct.send == send:
                write, call_later = direct.write, direct.call_later
            if direct.receive == receive:
                listen = direct.listen
        self.writer = Writer(self.session, send, self.clock, self.end, write, call_later)
        self.writer.start = self.home.start
        self.reader = Reader(self, receive, config.max_message_bytes, listen)
        self._max_duration_s = config.max_duration_s
        self._setting_up = True  # until on_connect returns
        self._finished = False  # on_disconnect has run
        self._news: anyio.Event | None = None  # tells of a message, a format, a flush, or the end

    # For the app

    async def run(self, on_connect: Callable[[], object]) -> None:
        """Serve the accepted connection until it ends; `on_disconnect` has run when this returns.

        Cancelling it ends the connection: user code is cancelled, `on_disconnect` still runs, within
        `CANCELLED_GRACE_S`.
        """
        grace_s = math.inf
        try:
            async with anyio.create_task_group() as self.tasks:
                self.writer.tasks = self.home.tasks = self.tasks
                self.tasks.start_soon(self._set_up, on_connect)
                if self._max_duration_s is not None:
                    self.tasks.start_soon(self._limit, self._max_duration_s)
                await self.reader.read()
        except anyio.get_cancelled_exc_class():
            grace_s = CANCELLED_GRACE_S
            raise
        finally:
            self.tasks = self.writer.tasks = self.home.tasks = None
            await self._finish(grace_s)

    async def retire(self) -> None:
        """Let what is being said end, then close, because the server stops."""
        await self.drain()
        self.close(RESTART, "server stops", by="server")

    # For the client, in the connection's own event loop

    @property
    def turn_s(self) -> float:
        """How long a turn of the event loop lasts now, as far as that is known."""
        return 0.0 if self._watchdog is None else self._watchdog.turn_s

    @property
    def is_open(self) -> bool:
        """Whether anything can still be sent."""
        return self.ended_s is None and self.writer.closing is None

    def now_s(self) -> float:
        """The time on the connection's clock, in any thread: trio's clock can't be read in others."""
        if self.ended_s is None and get_ident() == self.home.thread_id:
            return self.clock()
        return time.monotonic() - self._offset_s

    def check_open(self) -> None:
        """Raise `AudioConnectorClosedError` where nothing can be sent any more."""
        if self.ended_s is not None or self.writer.closing is not None:
            raise AudioConnectorClosedError(self._closed_text())

    async def write_audio(self) -> None:
        """Write what is due now, and wait while the queue is too long."""
        session = self.session
        await self.writer.audio_queued()
        while session.is_full and (too_much_s := session.too_much_s) and self.is_open:
            await self._wait_news_for(too_much_s)

    async def send_text(self, text: str) -> None:
        """Write a text; returns when it is on the wire.

        Raises:
            AudioConnectorClosedError: the connection ended before.
        """
        self.check_open()
        self.session.queue_text(text)
        await self.writer.written()
        if self.session.has_unsent or self.close_code == ABNORMAL:
            self.check_open()

    def notify(self, payload: object) -> None:
        """Ask the router to say when all audio that is queued now has been played."""
        self.check_open()
        self.session.notify(payload)
        self._write()

    def flush(self) -> FlushResult:
        """Drop all audio that was not heard; the clear commands go out ahead of anything that is queued later."""
        self.check_open()
        result = self.session.clear(self.clock())
        self._write_now()
        return result

    def pause(self) -> None:
        """Fall silent now, and keep what was not heard."""
        self.check_open()
        self.session.pause(self.clock())
        self._write_now()

    def resume(self, rewind_s: float) -> None:
        """Go on where the pause began, or `rewind_s` before."""
        self.check_open()
        self.session.resume(rewind_s, self.clock())
        self._write_now()

    def close(self, code: int, reason: str = "", *, by: ClosedBy = "program") -> None:
        """End the connection now: queued audio is dropped, texts that are queued go out, then the close."""
        if self.is_open:
            self.writer.begin_close(code, by, reason)
            self.session.drop_audio(self.clock())
            self.reader.inbox.clear()
            self._write_now()

    def take_handlers(self, handlers: Handlers) -> None:
        """Set the handlers. What waits in the inbox is handed over first."""
        if not self._finished:
            self.reader.take_handlers(handlers)

    def change_handler(self, name: str, handler: Handler | None) -> None:
        """Set one handler, and leave the others."""
        self.take_handlers(replace(self.reader.handlers, **{name: handler}))

    def put_back(self, item: Item | None) -> None:
        """Undo a `next_item` that nobody got."""
        if item is not None:
            self.reader.inbox.put_back(item, self.clock())
            self.tell_news()

    async def next_item(self) -> Item | None:
        """The next message in order; None when the connection has ended and all were taken."""
        inbox, reader = self.reader.inbox, self.reader
        while not inbox:
            if not self.is_open:
                return None
            reader.is_awaited = True
            try:
                await self.wait_news()
            finally:
                reader.is_awaited = False
        if self.ended_s is None:
            await self.writer.let_turn()  # a backlog must not hold up the loop
        return inbox.take() if inbox else await self.next_item()

    async def wait_format(self) -> AudioFormat:
        """Wait until the audio format is known; one second after the accept it is assumed."""
        if self.session.audio_format is None and self.is_open:
            with anyio.move_on_after(self.session.format_due_s - self.clock()):
                while self.session.audio_format is None and self.is_open:
                    await self.wait_news()
        return self.session.assume_format()

    def set_lead(self, lead_s: float) -> None:
        """Set how far ahead of real time audio is sent."""
        self.session.lead_s = lead_s
        if self.ended_s is None:
            self._write()

    async def drain(self) -> None:
        """Wait until all that is queued has been heard, or can't be any more."""
        session = self.session
        while self.is_open and (left_s := session.queued_s + session.out.unheard_s(self.clock())):
            await self._wait_heard(left_s)

    async def wait_played(self, mark: Mark, confirm: bool) -> PlaybackResult:
        """Wait until `mark` has been heard, or won't be any more. `confirm`: ask the router, too."""
        session = self.session
        out, ledger = session.out, session.out.ledger
        if confirm and self.is_open:
            session.confirm(mark)
            self._write()
        while not mark.acknowledged and not ledger.is_over(mark, heard := out.heard_wire(self.now_s())):
            early = session.audio_format is None  # then nobody knows how long it lasts
            left_s = _EARLY_S if early else (ledger.wire_of(mark.end) - heard) / out.pacer.rate_hz
            await self._wait_heard(left_s)
        if confirm and mark.acknowledged is False and mark.epoch is ledger.epoch:
            with anyio.move_on_after(CONFIRM_S):
                while mark.acknowledged is False and mark.epoch is ledger.epoch:
                    await self.wait_news()
            session.forget(mark)
        return self.played(mark)

    def played(self, mark: Mark) -> PlaybackResult:
        """What has been heard of `mark` by now."""
        out = self.session.out
        heard = out.ledger.heard_of(mark, out.heard_wire(self.now_s()))
        if mark.acknowledged:
            heard = mark.samples - mark.lost
        rate_hz = out.pacer.rate_hz
        return PlaybackResult(
            duration_s=mark.samples / rate_hz,
            heard_s=heard / rate_hz,
            interrupted=mark.lost > 0 or (mark.epoch.heard_to is not None and heard < mark.samples),
            evidence="notify" if mark.acknowledged else "clock",
        )

    # For reader and writer

    def end(self, code: int, by: ClosedBy, reason: str) -> None:
        """The connection is over: end all waits, and give user code its grace."""
        if self.ended_s is not None:
            return
        self.ended_s = self.clock()
        self.close_code = code
        self.writer.end()
        self.session.drop_audio(self.ended_s)  # nobody will hear it
        self.close_report = CloseReport(
            connection_id=self.id,
            closed_by=by,
            code=code,
            reason=reason,
            last_in_s=None if self.reader.last_s is None else self.ended_s - self.reader.last_s,
            last_out_s=None if self.writer.last_s is None else self.ended_s - self.writer.last_s,
            stats=self.stats(),
        )
        logger.info("connection %s: %s", self.id, self.close_report)
        self.home.end(self._closed_text())
        self.tell_news()
        if self.tasks is not None:
            self.tasks.cancel_scope.deadline = anyio.current_time() + GRACE_S
            self.stop_if_over()

    def stop_if_over(self) -> None:
        """End the tasks that only wait, once the connection has ended and no user code is in progress."""
        if self.ended_s is not None and not self._setting_up and not self.reader.is_handling and self.tasks is not None:
            self.tasks.cancel_scope.cancel()

    def format_known(self) -> None:
        """The format has become known or another one: what waited for it is due now."""
        self.tell_news()
        if self.session.queued_s:
            self._write()

    def tell_news(self) -> None:
        """Wake all that wait for something to happen."""
        if self._news is not None:
            self._news.set()
            self._news = None

    async def wait_news(self) -> None:
        """Wait until something happens."""
        self._news = self._news or anyio.Event()
        await self._news.wait()

    # Inside

    async def _set_up(self, on_connect: Callable[[], object]) -> None:
        await self.reader.set_up(on_connect)
        self._setting_up = False
        self.stop_if_over()

    async def _limit(self, max_duration_s: float) -> None:
        with anyio.move_on_after(max_duration_s):
            while self.ended_s is None:  # a task that ends by itself leaves no cycle of references behind
                await self.wait_news()
        if self.ended_s is not None:
            return
        logger.warning("connection %s: closed, because it lasted max_duration_s=%g", self.id, max_duration_s)
        self.close(NORMAL, "max_duration_s", by="library")

    def _write_now(self) -> None:
        self.tell_news()
        self._write()

    def _write(self) -> None:
        """Write what is due, at once if that can be."""
        now_s = self.clock()
        if self.writer.write_now(now_s) is None:
            self.writer.play_from(now_s)

    async def _wait_heard(self, at_least_s: float) -> None:
        """Wait until so much more has been heard, if all goes well; while it is paused, until something happens."""
        if self.session.out.paused:
            await self.wait_news()
        else:
            await self._wait_news_for(at_least_s)

    async def _wait_news_for(self, seconds: float) -> None:
        with anyio.move_on_after(max(seconds, _SOON_S)):
            await self.wait_news()

    def _closed_text(self) -> str:
        code = "" if self.close_code is None else f" (close code {self.close_code})"
        return f"connection {self.id} is closed{code}: nothing can be sent on it"

    def stats(self) -> ConnectionStats:
        """The counters, now."""
        now_s = self.now_s()
        session, reader, writer = self.session, self.reader, self.writer
        out = session.out
        return ConnectionStats(
            duration_s=(now_s if self.ended_s is None else self.ended_s) - self.started_s,
            frames_in=session.frames_in,
            bytes_in=session.bytes_in,
            texts_in=session.texts_in,
            frames_out=out.frames_out,
            bytes_out=out.bytes_out,
            texts_out=session.texts_out,
            odd_frames_in=session.odd_frames_in,
            dropped_in=reader.inbox.dropped,
            receive_lag_s=reader.lag_s(now_s),
            queued_s=session.queued_s,
            ahead_s=out.ahead_s(now_s),
            heard_s=session.heard_s(now_s),
            dropped_out_s=out.ledger.dropped / out.pacer.rate_hz,
            gaps={str(cause): count for cause, count in out.gaps.counts.items()},
            gap_s=out.gaps.total_s,
            late_wakeups=writer.late_wakeups,
            furthest_behind_s=writer.furthest_behind_s,
            flushes=session.flushes,
            clears_acknowledged=session.clears_acknowledged,
        )

    async def _finish(self, grace_s: float) -> None:
        try:
            if self.ended_s is None:  # cancelled by the ASGI server, or by an error of ours
                with anyio.move_on_after(CLOSE_S, shield=True):  # it must not eat the time of on_disconnect
                    await self.writer.close(RESTART, "server", "server stops")
                self.end(RESTART, "server", "server stops")
            on_disconnect = self.reader.handlers.on_disconnect
            if on_disconnect is not None:
                with anyio.move_on_after(grace_s, shield=True):
                    error = await self.reader.run(on_disconnect)
                    if error is not None:
                        logger.error("connection %s: on_disconnect failed", self.id, exc_info=error)
        finally:
            self._finished = True
            self.reader.forget()
            if self._watchdog is not None:
                self._watchdog.release()
                self._watchdog = None


def _was_blocked(watchdog: Watchdog | None, offset_s: float, start_s: float, end_s: float) -> bool:
    """Whether the event loop was blocked between two times. It holds no connection, because that would be a cycle."""
    return watchdog is not None and watchdog.blocked_during(start_s + offset_s, end_s + offset_s)
