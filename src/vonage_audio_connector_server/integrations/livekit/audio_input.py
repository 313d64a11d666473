"""What the caller says, as the audio input of an agent session: frames without a hole, whatever the network brings.

LiveKit's voice detectors measure time by frames: where none come, no turn would ever end. So silence stands for what is
missing, at the pace of real time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from livekit import rtc
from livekit.agents.voice import io

from ...audio.resampler import Resampler
from ...call.inbox import Item
from ...call.taps import add_tap
from ...client import Client
from ...core.events import MediaUpdate
from ...formats import FRAME_MS, SAMPLE_BYTES
from ...playback import check_resampling
from ...waits import CHANGED
from .own_loop import check_own_loop

logger = logging.getLogger("vonage_audio_connector_server")

PATIENCE_S = 0.2
"""No frame for so long, and silence stands in. Longer than a network is late as a rule: silence within a word that
comes after all would part it. A mute that is announced needs no patience."""

LATE_S = 0.1
"""A timer that is so late tells of an event loop that was blocked: what came meanwhile is still to be read."""

MAX_WAITING_S = 10.0
"""So much waits for an agent session that has not started; then the oldest is dropped."""

_FRAME_S = FRAME_MS / 1000
_EPSILON = 0.001  # of a frame: floating point


class VonageAudioInput(io.AudioInput):
    """The caller's audio, for `session.input.audio`. It listens beside handlers and `async for` of the client.

    It ends with the call. While the caller is muted, or no frames come for 0.2 s, it gives silence.

    Args:
        client: the call.
        sample_rate_hz: of its frames; None: that of the connection, when the first frame comes. It never changes.

    Raises:
        AudioConnectorConfigError: it is made outside of the call's own event loop, or on trio.
        AudioConnectorAudioError: the rate is none.
        MissingExtraError: the extra `audio` is not installed.
    """

    def __init__(self, client: Client, *, sample_rate_hz: int | None = None) -> None:
        super().__init__(label="Vonage Audio Connector")
        check_own_loop(client)
        if sample_rate_hz is not None:
            check_resampling(sample_rate_hz)
        self._call = client._call
        self._rate_hz = sample_rate_hz
        self._resampler: Resampler | None = None
        self._ready: deque[rtc.AudioFrame] = deque()
        self._ready_s = self._dropped_s = 0.0
        self._has_more = asyncio.Event()
        self._remove: Callable[[], None] | None = None  # its tap; None: it is detached
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0  # of the timer
        self._until_s = 0.0  # up to here the time of the call is covered by frames
        self._is_muted = self._stands_in = False  # silence does
        self._on_end: Callable[[], object] | None = None  # called once, where its reader has come to the end
        self._call.waits.add(lambda now_s: None if self._call.is_over else CHANGED, self._over)

    async def __anext__(self) -> rtc.AudioFrame:
        """Wait for the next frame, 20 ms as a rule; it ends with the call. Cancelling the wait loses none."""
        while not self._ready:
            if self._call.is_over:
                if self._on_end is not None:
                    self._on_end()
                raise StopAsyncIteration
            self._has_more.clear()
            await self._has_more.wait()
        frame = self._ready.popleft()
        self._ready_s -= frame.duration
        return frame

    def on_attached(self) -> None:
        """LiveKit takes its frames from now on."""
        super().on_attached()
        if self._remove is None and not self._call.is_over:
            self._until_s = self._call.clock()
            self._remove = add_tap(self._call, self._received)
            self._look_at(self._until_s + PATIENCE_S)

    def on_detached(self) -> None:
        """LiveKit takes no more, for example `session.input.set_audio_enabled(False)`: what comes is not kept."""
        super().on_detached()
        self._stop()
        self._ready.clear()
        self._ready_s = 0.0
        self._resampler = None

    # Inside

    def _received(self, item: Item, now_s: float) -> None:
        if isinstance(item, bytes):
            audio_format = self._call.session.audio_format
            if audio_format is not None and len(item) >= SAMPLE_BYTES:
                self._until_s = now_s
                self._is_muted = self._stands_in = False  # some mutes send frames of silence themselves
                self._give(item[: len(item) - len(item) % SAMPLE_BYTES], audio_format.rate_hz)
        elif isinstance(item, MediaUpdate):
            self._is_muted = not item.active
            if self._is_muted:
                self._look_at(now_s)

    def _give(self, pcm: bytes, rate_hz: int) -> None:
        if self._rate_hz is None:
            self._rate_hz = rate_hz
        if rate_hz != self._rate_hz:
            if self._resampler is None or self._resampler.from_hz != rate_hz:
                self._resampler = Resampler(rate_hz, self._rate_hz)
            pcm = self._resampler.process(pcm)
            if not pcm:
                return
        frame = rtc.AudioFrame(pcm, self._rate_hz, 1, len(pcm) // SAMPLE_BYTES)
        self._ready.append(frame)
        self._ready_s += frame.duration
        while self._ready_s > MAX_WAITING_S:
            if not self._dropped_s:
                logger.warning("connection %s: no agent session takes its audio: the oldest is dropped", self._call.id)
            oldest_s = self._ready.popleft().duration
            self._ready_s -= oldest_s
            self._dropped_s += oldest_s
        self._has_more.set()

    def _look_at(self, due_s: float) -> None:
        """See then whether something is missing."""
        if self._timer is not None:
            self._timer.cancel()
        now_s = self._call.clock()
        self._due_s = max(due_s, now_s)
        self._timer = asyncio.get_running_loop().call_later(self._due_s - now_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s, audio_format = self._call.clock(), self._call.session.audio_format
        if now_s - self._due_s > LATE_S:
            self._look_at(now_s + LATE_S)
            return
        if audio_format is None:
            self._look_at(now_s + PATIENCE_S)
            return
        patience_s = _FRAME_S if self._is_muted or self._stands_in else PATIENCE_S
        missing = int((now_s - self._until_s) / _FRAME_S + _EPSILON)
        if missing * _FRAME_S > patience_s - _FRAME_S / 2:
            self._stands_in = True
            self._until_s += missing * _FRAME_S
            patience_s = _FRAME_S
            for _ in range(missing):
                self._give(bytes(audio_format.frame_bytes), audio_format.rate_hz)
        self._look_at(self._until_s + patience_s)

    def _stop(self) -> None:
        if self._remove is not None:
            self._remove()
            self._remove = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._stop()
        self._has_more.set()
