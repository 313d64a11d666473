"""The streams of the load: what they keep of what comes, and the ticker that sends on absolute deadlines."""

from __future__ import annotations

import asyncio
import json
import random
import time
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from ..frames import FIRST_MESSAGE, FRAME_BYTES, FRAME_S, GENERATIONS, HEAD, INTERRUPTS
from .timer import Timer

_MAX_SLOTS_AT_ONCE = 50  # a load that is late must still receive


class Stream(WSListener):
    """One session. Keeps when each frame arrived, and when its echo had been sent."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.transport: WSTransport | None = None
        self.lost = False
        self.closing = False
        self.sequence = 0
        self.arrivals_s = array("d")
        self.sent_s = array("d")

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        transport.send(WSMsgType.TEXT, FIRST_MESSAGE.encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.BINARY:
            self.take(frame.get_payload_as_memoryview(), time.monotonic())
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.lost = not self.closing

    def take(self, payload: memoryview, now_s: float) -> None:
        """A frame came."""
        self.arrivals_s.append(now_s)
        self.sent_s.append(HEAD.unpack_from(payload)[2])

    def send(self) -> None:
        """Send the next frame."""
        if self.transport is not None and not self.lost:
            payload = bytearray(FRAME_BYTES)  # picows masks it
            HEAD.pack_into(payload, 0, self.number, self.sequence, time.monotonic())
            self.sequence += 1
            self.transport.send(WSMsgType.BINARY, payload)

    def close(self) -> None:
        """Close in order, without waiting for the answer."""
        self.closing = True
        if self.transport is not None and not self.lost:
            self.transport.send_close(WSCloseCode.OK)
            self.transport.disconnect()


class JSONStream(Stream):
    """A session whose audio is base64 in JSON texts, both ways."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            now_s = time.monotonic()
            self.take(memoryview(b64decode(json.loads(frame.get_payload_as_utf8_text())["audio"])), now_s)
        else:
            super().on_ws_frame(transport, frame)

    def send(self) -> None:
        if self.transport is not None and not self.lost:
            payload = bytearray(FRAME_BYTES)
            HEAD.pack_into(payload, 0, self.number, self.sequence, time.monotonic())
            self.sequence += 1
            text = b'{"audio":"%s"}' % b64encode(payload)
            self.transport.send(WSMsgType.TEXT, bytearray(text))


class Interrupting(Stream):
    """A session that interrupts each answer 0.5 to 1 s after it began.

    Attributes:
        first_new_s: from each call to the first frame of the new answer.
        last_old_s: from each call to the last frame of the old answer; 0 where none came after the call.
        old_left_s: how much of the old answer the session still had at the call, or got after it.
        old_after_new: frames of an old answer that came behind the new one's first.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number | INTERRUPTS)
        self.first_new_s: list[float] = []
        self.last_old_s: list[float] = []
        self.old_left_s: list[float] = []
        self.old_after_new = 0
        self.waits = False
        self._generation = 0
        self._frames = 0
        self._first_s = self._last_s = 0.0
        self._random = random.Random(number)

    def take(self, payload: memoryview, now_s: float) -> None:
        generation, place, flushed_s = HEAD.unpack_from(payload)
        if generation != self._generation % GENERATIONS:  # of the answer before, or the first one of all
            if self.waits and generation == (self._generation + 1) % GENERATIONS and place == 0:
                self._begin(flushed_s, now_s)
            else:
                self.old_after_new += 1
            return
        self._frames += 1
        self._last_s = now_s

    def _begin(self, flushed_s: float, now_s: float) -> None:
        if self._generation:
            self.first_new_s.append(now_s - flushed_s)
            self.last_old_s.append(max(0.0, self._last_s - flushed_s))
            self.old_left_s.append(max(0.0, self._frames * FRAME_S - (flushed_s - self._first_s)))
        self._generation += 1
        self._frames, self._first_s, self._last_s = 1, now_s, now_s
        self.waits = False
        asyncio.get_running_loop().call_later(self._random.uniform(0.5, 1.0), self.interrupt)

    def interrupt(self) -> None:
        """Let the server flush and answer anew."""
        if not self.closing:
            self.waits = True
            self.send()


class Ticker:
    """Sends one frame of each stream in each period, each stream in its slot, from `start_s` to `end_s`."""

    def __init__(
        self, send: Sequence[Callable[[], None]], period_s: float, start_s: float, end_s: float, slot_s: float
    ) -> None:
        count = max(1, round(period_s / slot_s))
        self._slots: list[list[Callable[[], None]]] = [[] for _ in range(count)]
        for place, one in enumerate(send):  # evenly
            self._slots[place * count // len(send)].append(one)
        self._start_s, self._end_s, self._slot_s = start_s, end_s, slot_s
        self._next = 0
        self._timer = Timer(slot_s, self._tick)
        self.lateness: list[tuple[float, float]] = []  # (due, how late it was done)
        self.done = asyncio.Event()

    def _tick(self) -> None:
        """Send what is due, but not so much that nothing is received meanwhile."""
        for _ in range(_MAX_SLOTS_AT_ONCE):
            due_s = self._start_s + self._next * self._slot_s
            if due_s >= self._end_s:
                self._timer.stop()
                self.done.set()
                return
            if due_s > time.monotonic():
                return
            for send in self._slots[self._next % len(self._slots)]:
                send()
            self._next += 1
            self.lateness.append((due_s, time.monotonic() - due_s))
