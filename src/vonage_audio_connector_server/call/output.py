"""What one call sends: audio and texts, each at its time, and all of writing.

What the program does acts on the session at once. What is due then goes to the sink, and one timer sees to the rest,
and to who waits. Writing never waits: what the sink doesn't take stays in the outbox, where a flush reaches it, until
the sink is writable again.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio.lowlevel import checkpoint

from ..core.ledger import Mark
from ..core.session import Session
from ..link.base import TURN_S, LoopTurn, Sink
from ..results import FlushResult
from ..runtime import TICK_S, let_others_run, make_timer
from ..waits import CHANGED, Waits

LATE_S = 0.02
"""A timer that is later than one frame is counted; the lead makes up for it."""

Blocked = Callable[[float, float], bool]
"""Whether the event loop was blocked at some time between two times."""


class Output:
    """Sends what one session has to send.

    Args:
        session: what is to be sent, and when.
        sink: where to.
        clock: of the call.
        turn: of the event loop.
        was_blocked: tells the causes of gaps apart.

    Attributes:
        waits: who waits for something that may change here.
        timer: calls `pump` when something is due.
        is_queued: it is among those that write at the end of the turn.
        is_blocked: the sink takes nothing.
        holds_back: whoever awaits what a send returns has to wait: for room, or for others to run.
        is_stopped: the connection has ended.
        is_saying: tells whether something is being said, or waits for its turn, that is not all queued yet.
        on_written: called once when nothing is left to be written now.
        last_s: when something was last written.
        late_wakeups: how often the timer came more than `LATE_S` late.
        furthest_behind_s: the latest of them.
    """

    def __init__(
        self, session: Session, sink: Sink, clock: Callable[[], float], turn: LoopTurn, was_blocked: Blocked
    ) -> None:
        self._session, self._out, self._outbox = session, session.out, session.out.outbox
        self._sink = sink
        self._clock = clock
        self._turn = turn
        self._was_blocked = was_blocked
        self.is_stopped = False
        self.timer = make_timer(self._wake)
        self.waits = Waits(clock, self.timer.at)
        self.is_queued = self.is_blocked = self.holds_back = False
        self.is_saying: Callable[[], bool] = _nothing_more
        self.on_written: Callable[[], None] | None = None
        self.last_s: float | None = None
        self.late_wakeups = 0
        self.furthest_behind_s = 0.0

    # What the program does. Nobody asks here whether the connection is still open.

    def send_text(self, text: str) -> None:
        """Send a text ahead of all audio that is not on its way yet."""
        self._session.queue_text(text)
        self.pump_soon()

    def notify(self, payload: object) -> None:
        """Ask the router to say when all audio that is queued now has been played."""
        self._session.notify(payload)
        self.pump_soon()

    def queue_audio(
        self,
        pcm: bytes,
        now_s: float,
        frame_bytes: int | None,
        frame_ms: int,
        end: bool,
        flush: bool,
        has_room: bool = False,
    ) -> Mark:
        """Send audio; see `Session.queue_audio`."""
        if flush:
            self.measure()
        mark = self._session.queue_audio(pcm, now_s, frame_bytes, frame_ms, end=end, flush=flush, has_room=has_room)
        if self._session.is_full or now_s - self._turn.began_s > TURN_S:
            self.holds_back = True
        if flush:
            self.changed()
        self.pump_soon()
        return mark

    def flush(self) -> FlushResult:
        """Drop all audio that was not heard; the clear commands go out ahead of anything that is queued later."""
        self.measure()
        result = self._session.clear(self._clock())
        self._replan()
        return result

    def pause(self) -> None:
        """Fall silent now, and keep what was not heard."""
        self.measure()
        self._session.pause(self._clock())
        self._replan()

    def resume(self, rewind_s: float) -> None:
        """Go on where the pause began, or `rewind_s` before."""
        self._session.resume(rewind_s, self._clock())
        self._replan()

    def set_lead(self, lead_s: float) -> None:
        """Set how far ahead of real time audio is sent."""
        self._session.lead_s = lead_s
        self.pump_soon()

    def finish(self, on_written: Callable[[], None]) -> None:
        """Drop all audio; call `on_written` when the texts that are queued are written."""
        self.measure()
        self._session.drop_audio(self._clock())
        self.on_written = on_written
        self._replan()

    def wrap_sink(self, wrap: Callable[[Sink], Sink]) -> None:
        """From now on, write through what `wrap` makes of the sink."""
        self._sink = wrap(self._sink)

    # What it has to wait for

    def measure(self) -> None:
        """Find out how much of what was written has not reached the peer's machine, and so can't have been heard.

        To be called before what was sent is taken back, too: then all of it is what it will be.
        """
        self._turn.finish_leaving()
        self._session.undelivered(self._sink.unsent_bytes())

    async def wait_room(self) -> None:
        """Let others run, and wait while the queue is too long."""
        self.holds_back = False
        if self.is_blocked:
            await checkpoint()  # on trio the task that sends runs
        else:
            await self.give_way()
        await self.waits.wait(self.ask_room)

    async def give_way(self) -> None:
        """Let others run, where the event loop has not turned for `TURN_S`."""
        if self._clock() - self._turn.began_s > TURN_S:
            await let_others_run()
            self._turn.began_s = self._clock()

    def ask_room(self, now_s: float) -> float | None:
        """Is there room for more audio? See `Question`."""
        too_much_s = self._session.too_much_s
        is_over = not too_much_s or self.is_stopped or self.on_written is not None
        return None if is_over else now_s + max(too_much_s, TICK_S)

    # Writing

    def pump_soon(self) -> None:
        """Write what is due: now or, while sockets are read together, behind that."""
        turn = self._turn
        if not turn.is_reading:
            self.pump()
        elif not self.is_queued:
            self.is_queued = True
            turn.pumps.append(self)

    def pump(self) -> None:
        """Write what is due by now, and see to it that the rest is written in time."""
        self.is_queued = False
        if self._turn.leaving:  # something may stand for sound that is to be written
            self._turn.finish_leaving()
        if self.is_stopped:
            return
        out, outbox = self._out, self._outbox
        if outbox:
            clock = self._clock
            self.last_s = now_s = clock()
            if not self._sink.write(outbox, self._session.sends):
                self._blocked(now_s)
                return
            out.written(now_s)
        if out.has_more or self.waits.open or self.on_written is not None or out.gaps.noted:
            self._pump_due()

    def writable(self) -> None:
        """The sink takes messages again."""
        if self.is_blocked and not self._outbox:  # it had taken all, and has only now written it
            self._out.written(self._clock())
        self.is_blocked = False
        self.pump()

    def changed(self) -> None:
        """Something happened that somebody may wait for."""
        self._ask(self._clock())

    def count_gaps(self) -> None:
        """Count the gaps that the session has noted."""
        gaps = self._out.gaps
        for gap in gaps.pop_all():
            gaps.count(gap, loop_was_blocked=self._was_blocked(gap.since_s, gap.until_s))

    def stop(self) -> None:
        """Nothing is written any more, and the timer doesn't come any more."""
        self.is_stopped = True
        self.on_written = None
        self.timer.stop()

    def _pump_due(self) -> None:
        session, out, outbox = self._session, self._out, self._outbox
        now_s = self._clock()
        due_s = session.due_s(now_s) if out.has_more else None
        if outbox:
            self.last_s = now_s
            if not self._sink.write(outbox, session.sends):
                self._blocked(now_s)
                return
            out.written(now_s)
            due_s = session.due_s(now_s)
        if out.gaps.noted:
            self.count_gaps()
        if self.on_written is not None:
            on_written, self.on_written = self.on_written, None
            on_written()
            return
        if due_s is not None:
            self.timer.at(due_s, now_s)
        if self.waits.open:
            self._ask(now_s)

    def _replan(self) -> None:
        """The queue is another one: who waits for it asks anew, and what is due is written."""
        self.changed()
        self.pump_soon()

    def _blocked(self, now_s: float) -> None:
        self.is_blocked = self.holds_back = True
        self._ask(now_s)

    def _ask(self, now_s: float) -> None:
        if self.waits.open or self.waits.timed:
            again_s = self.waits.ask(now_s)
            if again_s < CHANGED and not self.is_stopped:
                self.timer.at(again_s, now_s)

    def _wake(self, due_s: float) -> None:
        """The timer has come."""
        self._turn.began_s = now_s = self._clock()
        late_s = now_s - due_s
        if late_s > LATE_S:
            self.late_wakeups += 1
            self.furthest_behind_s = max(self.furthest_behind_s, late_s)
        self.pump()
        if self.waits.timed:
            self._ask(now_s)


def _nothing_more() -> bool:
    return False
