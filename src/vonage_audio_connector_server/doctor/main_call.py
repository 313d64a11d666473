"""The main call of an examination: speaks, listens, interrupts, falls silent for long, and hangs up."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.to_thread
from websockets.frames import Opcode

from ..runtime import call_clock
from ..simulator.call import SimulatedCall
from ..simulator.carrier import CLOSE_S
from ..simulator.report.make import report_of
from ..simulator.socket_carrier import SocketCarrier
from ..simulator.speech import interjection, recording
from .handshake import Attempt, Requests
from .observed import Observed

PING_S = 0.1
"""A ping so often, while frames flow."""

FIRST_S = 2.0
"""How long the ping behind the first message may take."""

SPEECH_S = 3.0
"""How long doctor speaks."""

ANSWER_S = 2.0
"""How long it waits for an answer to that."""

INTERRUPTED_S = 1.0
"""How long it waits for what an interruption brings about."""

BACK_S = 1.0
"""How long frames flow again behind the silence."""


class MainCall:
    """One call.

    Args:
        connect_s: how long TCP took to connect.
        rate_hz: the rate of the call.
        idle_s: how long nothing is sent; None: there is no such time.
    """

    def __init__(self, connect_s: float, rate_hz: int, idle_s: float | None) -> None:
        self.seen = Observed(connect_s)
        self._rate_hz = rate_hz
        self._idle_s = idle_s
        self._clock = call_clock()
        self._origin_s = self._clock()
        self._sent = 0
        self._speech = self._interjection = b""

    async def make(self, requests: Requests, attempt: Attempt) -> None:
        """Make it.

        Raises:
            DialError: there is no connection.
        """
        seen = self.seen
        # Before the call: at another rate than the recordings' it takes longer than a frame.
        await anyio.to_thread.run_sync(self._load)
        async with requests.open(attempt, on_control=self._control_came) as (call, carrier):
            await self._conduct(call, carrier)
            seen.lost = call.ended
            if call.ended is None:
                call.hang_up()
                seen.lost = await call.wait_ended(CLOSE_S)
        seen.lost = seen.lost or call.ended
        seen.close_code = carrier.close_received
        seen.recording = seen.recording or call.recording
        seen.report = await anyio.to_thread.run_sync(partial(report_of, seen.recording))

    def _load(self) -> None:
        self._speech = recording("librivox-2", self._rate_hz)[: round(SPEECH_S * self._rate_hz) * 2]
        self._interjection = interjection(self._rate_hz)

    async def _conduct(self, call: SimulatedCall, carrier: SocketCarrier) -> None:
        seen = self.seen
        if not await self._begin(call, carrier):
            seen.ended_while = "first message" if call.ended is not None else None
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ping_on, carrier)
            await self._speak(call)
            tasks.cancel_scope.cancel()
        seen.recording = call.recording  # the silence that follows is no hole
        if call.ended is not None:
            seen.ended_while = "audio"
        elif self._idle_s is not None:
            await self._be_quiet(call, carrier, self._idle_s)

    async def _begin(self, call: SimulatedCall, carrier: SocketCarrier) -> bool:
        """Whether the first message is taken."""
        await call.until(lambda now_s: None if call.twin.frames_sent else now_s + 0.01)
        number = self._ping(carrier)
        end_s = self._clock() + FIRST_S
        await call.until(lambda now_s: None if self._took_s(number) is not None or now_s > end_s else now_s + 0.01)
        self.seen.first_pong_s = self._took_s(number)
        return self.seen.first_pong_s is not None

    async def _speak(self, call: SimulatedCall) -> None:
        await call.say(self._speech, name="doctor")
        until_s = self._clock() + ANSWER_S
        await call.until(lambda now_s: None if _is_loud(call) or now_s >= until_s else now_s + 0.02)
        if call.ended is None and _is_loud(call):
            call.interrupt(self._interjection)
            await call.wait(INTERRUPTED_S)

    async def _be_quiet(self, call: SimulatedCall, carrier: SocketCarrier, idle_s: float) -> None:
        seen = self.seen
        call.mute()
        since_s = self._clock() - self._origin_s
        await call.wait(idle_s)
        if call.ended is None:
            call.unmute()
            number = self._ping(carrier)
            await call.wait(BACK_S)
            if call.ended is None and self._took_s(number) is None:
                await call.wait(FIRST_S)
        if call.ended is not None:
            seen.ended_while = "quiet"
        seen.quiet = since_s, min(since_s + idle_s, self._clock() - self._origin_s)

    async def _ping_on(self, carrier: SocketCarrier) -> None:
        while True:
            self._ping(carrier)
            await anyio.sleep(PING_S)

    def _ping(self, carrier: SocketCarrier) -> int:
        self._sent += 1
        self.seen.pings[self._sent] = self._clock() - self._origin_s, None
        carrier.ping(self._sent.to_bytes(4))
        return self._sent

    def _took_s(self, number: int) -> float | None:
        return self.seen.pings[number][1]

    def _control_came(self, opcode: Opcode, payload: bytes) -> None:
        at_s = self._clock() - self._origin_s
        if opcode is Opcode.PING:
            self.seen.pings_of_server.append(at_s)
            return
        number = int.from_bytes(payload)
        sent_s, took_s = self.seen.pings.get(number, (0.0, 0.0))
        if took_s is None:
            self.seen.pings[number] = sent_s, at_s - sent_s


def _is_loud(call: SimulatedCall) -> bool:
    """Whether the program is heard to speak now."""
    twin, tick = call.twin, call.twin.router.tick
    return bool(twin.loud) and twin.loud[-1][1] >= tick
