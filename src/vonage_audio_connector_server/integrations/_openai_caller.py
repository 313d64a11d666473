"""What the caller says, for a Realtime session: one stream of 24 kHz without holes, and a bounded part of it waiting.

A call brings no frames while it is muted, and some bring none in silence. A detector of voice at the other end counts
samples, not time: without them a turn would never end. So silence goes in their place.
"""

from __future__ import annotations

import logging
from collections import deque

import anyio

from ..audio.resampler import Resampler
from ..call.call import Call
from ..call.inbox import Item
from ..call.taps import add_tap
from ..core.events import MediaUpdate
from ..formats import FRAME_MS, SAMPLE_BYTES

logger = logging.getLogger("vonage_audio_connector_server")

RATE_HZ = 24_000
"""D: the rate of PCM in the Realtime API, both ways (`RealtimeAudioFormats` of the openai package)."""

MOST_WAITING_S = 5.0
"""So much waits while there is no connection, or it takes nothing; then the oldest is dropped: a turn fits in."""

LATE_S = 0.2
"""Without frames for so long the caller counts as silent: longer than a network holds frames back, as a rule."""

EVERY_S = 0.1
"""How often silence is added."""

BLOCKED_S = 0.1
"""A question that comes so late tells of an event loop that was blocked: what came meanwhile is still to be read."""


class CallerAudio:
    """The caller of one call. Only in the thread of its event loop.

    Args:
        call: which one.

    Attributes:
        dropped_s: so much was dropped, because nothing took it.
        is_stopped: it listens no more.
    """

    def __init__(self, call: Call) -> None:
        self.dropped_s = 0.0
        self._call = call
        self._resampler: Resampler | None = None
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._until_s = 0.0  # up to when there is audio, by the clock of the call
        self._not_before_s = 0.0
        self._late_s = LATE_S
        self.is_stopped = False
        self._more = anyio.Event()
        self._remove = add_tap(call, self._received)

    def stop(self) -> None:
        """Listen no more."""
        if not self.is_stopped:
            self.is_stopped = True
            self._remove()
            self._call.output.changed()
            self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._more.set()

    async def wait(self) -> None:
        """Wait for more, or for `wake`; for one task."""
        await self._more.wait()
        self._more = anyio.Event()

    def take(self) -> bytes:
        """All that waits, as PCM at `RATE_HZ`."""
        if not self._chunks:
            return b""
        pcm = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting_bytes = 0
        return pcm

    # Inside

    def _received(self, item: Item, now_s: float) -> None:
        if isinstance(item, bytes):
            if len(item) % SAMPLE_BYTES == 0:
                is_first = not self._until_s
                self._add(item)
                self._until_s, self._late_s = now_s, LATE_S
                if is_first:
                    self._call.waits.add(self._ask, self._due)
        elif isinstance(item, MediaUpdate) and not item.active and self._until_s:
            self._late_s = FRAME_MS / 1000  # nothing comes from now on
            self._call.output.changed()  # which asks anew

    def _ask(self, now_s: float) -> float | None:
        """Is it time for silence?"""
        if self.is_stopped or self._call.is_over:
            return None
        due_s = max(self._until_s + self._late_s, self._not_before_s)
        return None if now_s >= due_s else due_s

    def _due(self) -> None:
        if self.is_stopped or self._call.is_over:
            return
        now_s = self._call.clock()
        if now_s - max(self._until_s + self._late_s, self._not_before_s) > BLOCKED_S:
            self._not_before_s = now_s + BLOCKED_S
            self._call.waits.add(self._ask, self._due)
            return
        samples = round((now_s - self._until_s) * self._call.out.pacer.rate_hz)
        self._until_s, self._late_s = now_s, EVERY_S
        self._add(bytes(samples * SAMPLE_BYTES))
        self._call.waits.add(self._ask, self._due)

    def _add(self, pcm: bytes) -> None:
        wire_hz = self._call.out.pacer.rate_hz
        if self._resampler is None or self._resampler.from_hz != wire_hz:
            self._resampler = Resampler(wire_hz, RATE_HZ)
        chunk = self._resampler.process(pcm)
        self._chunks.append(chunk)
        self._waiting_bytes += len(chunk)
        while self._waiting_bytes > MOST_WAITING_S * RATE_HZ * SAMPLE_BYTES and len(self._chunks) > 1:
            oldest = self._chunks.popleft()
            self._waiting_bytes -= len(oldest)
            if not self.dropped_s:
                logger.warning(
                    "connection %s: the Realtime session takes no audio: all but the last %g s of it are dropped",
                    self._call.id,
                    MOST_WAITING_S,
                )
            self.dropped_s += len(oldest) / SAMPLE_BYTES / RATE_HZ
        self._more.set()
