"""Audio at the program's sample rate on its way to the connection's: one stream, without clicks between calls.

Plain code in the thread of the call's event loop.
"""

from __future__ import annotations

from ..audio.polyphase import Polyphase
from ..audio.resampler import Resampler
from ..core.ledger import Mark
from ..core.playout import REMAINDER_WAIT_S
from ..formats import FRAME_MS, SAMPLE_BYTES
from ..waits import CHANGED
from .call import Call
from .together import convert_soon

CUSHION_SAMPLES = 1_600
"""Where the resampler works in blocks, of 490 samples, a stream begins when so much of it is there, at the lower of its
two rates: 0.1 s at 16 kHz. Without it a live source would have holes; a synthesis, which is quicker than real time,
fills it at once."""

MISSED_S = 0.03
"""So long before the listener runs dry the end of a stream goes out: a frame is cut, and on its way."""

LIVE_S = 0.06
"""A live source that brings nothing for so long has ended."""


class OutgoingRate:
    """What one program sends at other sample rates than that of its connection.

    The resampler holds the end of a stream back. It goes out when the stream ends (`end`, or audio at another rate
    follows), or before it would be missed; a flush drops it.
    """

    __slots__ = (
        *("_begins_with", "_call", "_cushion_s", "_epoch", "_is_asking", "_is_put_off"),
        *("_resampler", "_sent_s", "_stand_in", "_steady", "_steady_bytes", "_steady_hz"),
    )

    def __init__(self, call: Call) -> None:
        self._call = call
        self._resampler: Resampler | None = None
        self._epoch = call.out.ledger.epoch
        self._begins_with: bytes | None = None  # what there is of a stream that is to begin; None: it has begun
        self._sent_s = self._cushion_s = 0.0
        self._is_asking = False
        self._steady: Polyphase | None = None  # a frame needs nothing but to be converted
        self._steady_bytes = self._steady_hz = -1  # of one, and its rate
        self._is_put_off = False  # one is to be converted together with those of other calls
        self._stand_in = b""  # and this is in its place

    def queue(self, pcm: bytes, rate_hz: int | None, frame_bytes: int | None, frame_ms: int, end: bool) -> Mark:
        """Queue audio at a rate, None: that of the connection. At another one the connection's is known."""
        call = self._call
        call.turn.finish_leaving()
        now_s = call.clock()
        audio_format = call.session.audio_format
        wire_hz = None if audio_format is None else audio_format.rate_hz
        if rate_hz is None or rate_hz == wire_hz:
            self.end()
        else:
            assert wire_hz is not None
            size_bytes = len(pcm)
            pcm = self._resampled(pcm, rate_hz, wire_hz, now_s, end)
            self._find_steady(size_bytes)
            mark = None if end or frame_bytes is not None else call.out.push_live(pcm, now_s)
            if mark is not None:  # a live source, whose frames are frames at the other rate, too
                call.output.pump_soon()
                return mark
        return call.output.queue_audio(pcm, now_s, frame_bytes, frame_ms, end, False)

    def push_live(self, pcm: bytes, rate_hz: int | None, now_s: float) -> Mark | None:
        """Queue a frame of a live stream that has begun, in few steps; None where that can't be: nothing was done."""
        call, steady = self._call, self._steady
        out, turn = call.out, call.turn
        if (
            steady is None
            or len(pcm) != self._steady_bytes
            or rate_hz != self._steady_hz
            or out.frame_bytes != len(self._stand_in)
            or self._epoch is not out.ledger.epoch
            or not self._is_asking
        ):
            return None
        if self._is_put_off:
            turn.finish_leaving()
        self._sent_s = now_s
        if turn.is_reading or turn.gathers():
            mark = out.push_live(self._stand_in, now_s)
            if mark is not None:
                self._is_put_off = True
                convert_soon(turn.leaving, steady, pcm, self._take)
                return mark
        made = steady.process(pcm)
        mark = out.push_live(made, now_s)
        if mark is None:
            return call.output.queue_audio(made, now_s, None, FRAME_MS, False, False)
        call.output.pump_soon()
        return mark

    def _take(self, made: bytes) -> None:
        """The frame that was put off is converted."""
        self._is_put_off = False
        self._call.out.fill(self._stand_in, made)
        self._call.output.pump_soon()

    def end(self, *, pads: bool = False) -> None:
        """Queue what is held back; another stream begins. `pads`: nothing follows."""
        self._call.turn.finish_leaving()
        self._steady = None
        if self.holds:
            assert self._resampler is not None
            rest = self._begun(self._resampler.flush(), is_all=True)
            self._call.out.awaits_rest = False
            self._call.output.queue_audio(rest, self._call.clock(), None, FRAME_MS, pads, False)

    @property
    def holds(self) -> bool:
        """Whether something is held back that is still to be heard."""
        is_current = self._epoch is self._call.out.ledger.epoch and self._call.is_open
        return is_current and self._resampler is not None and self._resampler.samples_in > 0

    # Inside

    def _find_steady(self, size_bytes: int) -> None:
        """So much was put into the stream: find out whether from now on a frame gives a frame."""
        resampler, out = self._resampler, self._call.out
        assert resampler is not None
        is_frame = size_bytes * 1000 == FRAME_MS * resampler.from_hz * SAMPLE_BYTES
        self._steady = resampler.steady if is_frame and self._begins_with is None and resampler.samples_in else None
        self._steady_bytes, self._steady_hz = size_bytes, resampler.from_hz
        if len(self._stand_in) != out.frame_bytes:
            self._stand_in = bytes(out.frame_bytes)

    def _resampled(self, pcm: bytes, rate_hz: int, wire_hz: int, now_s: float, end: bool) -> bytes:
        resampler, out = self._resampler, self._call.out
        epoch = out.ledger.epoch
        if resampler is None or resampler.from_hz != rate_hz or resampler.to_hz != wire_hz or self._epoch is not epoch:
            self.end()
            self._epoch, self._resampler = epoch, Resampler(rate_hz, wire_hz)
            resampler = self._resampler
        is_first = not resampler.samples_in
        if is_first:
            self._cushion_s = CUSHION_SAMPLES / min(rate_hz, wire_hz) if resampler.is_blocky else 0.0
            self._begins_with = b"" if out.end_s - now_s < self._cushion_s else None
        is_frame = len(pcm) * 1000 == FRAME_MS * rate_hz * SAMPLE_BYTES
        pcm = resampler.process(pcm)
        if is_first and is_frame and not resampler.is_blocky and not end and out.end_s < now_s:
            pcm = pcm.rjust(out.frame_bytes, b"\0")  # of a live source each frame would wait for the next one
        if end:
            pcm += resampler.flush()
        pcm = self._begun(pcm, is_all=end)
        out.awaits_rest = not end
        self._sent_s = now_s
        if not end and not self._is_asking:
            self._is_asking = True
            self._call.waits.add(self._ask, self._missed, timed=True)
        return pcm

    def _begun(self, pcm: bytes, *, is_all: bool) -> bytes:
        """What of a stream can be queued: all, or nothing as long as it hasn't begun."""
        if self._begins_with is None:
            return pcm
        pcm = self._begins_with + pcm
        if not is_all and self._call.out.seconds(len(pcm)) < self._cushion_s:
            self._begins_with = pcm
            return b""
        self._begins_with = None
        return pcm

    def _ask(self, now_s: float) -> float | None:
        """Would the end of the stream be missed by now?"""
        if not self.holds:
            return None
        if self._call.out.paused:
            return CHANGED
        if self._begins_with is not None:
            missed_s = self._sent_s + REMAINDER_WAIT_S
        else:
            missed_s = self._call.out.end_s - MISSED_S
            if missed_s <= now_s:  # a live source: ask now and then, and not behind each frame
                missed_s = now_s if now_s - self._sent_s >= LIVE_S else now_s + LIVE_S
        return None if now_s >= missed_s else missed_s

    def _missed(self) -> None:
        self._is_asking = False
        resampler = self._resampler
        if resampler is None or resampler.is_blocky or self._call.out.end_s > self._call.clock() - MISSED_S:
            self.end(pads=True)
        else:  # what is left is 2 to 4 ms, and they would be heard as a click behind a silence
            resampler.reset()
            self._steady = None
            self._call.out.awaits_rest = False
            self._call.output.queue_audio(b"", self._call.clock(), None, FRAME_MS, True, False)
