"""What a session says, on its way to a program that works at another sample rate: whole 20 ms frames at that rate."""

from __future__ import annotations

from collections.abc import Callable

from ..audio.polyphase import Polyphase
from ..audio.resampler import Resampler
from ..core.events import Disconnected, MediaUpdate
from ..core.session import Session
from ..formats import FRAME_MS, SAMPLE_BYTES, AudioFormat
from ..link.base import TURN_S, LoopTurn
from .dispatcher import Deliver
from .inbox import Item
from .together import convert_soon

HOLE_S = 0.1
"""Where no frame came for so long, the stream had a hole: what was held back belongs before it."""


class IncomingRate:
    """Stands between a call and its dispatcher.

    Args:
        session: knows the rate of the connection.
        rate_hz: that of the program.
        deliver: takes a message, and when it came.
        turn: of the event loop.
        clock: of the call.
    """

    __slots__ = (
        *("_came_s", "_clock", "_deliver", "_frame_bytes", "_held_s", "_is_put_off", "_rate_hz", "_ready"),
        *("_resampler", "_session", "_steady", "_steady_bytes", "_turn"),
    )

    def __init__(
        self, session: Session, rate_hz: int, deliver: Deliver, turn: LoopTurn, clock: Callable[[], float]
    ) -> None:
        self._session = session
        self._turn = turn
        self._clock = clock
        self._rate_hz = rate_hz
        self._frame_bytes = AudioFormat(rate_hz).frame_bytes
        self._deliver = deliver
        self._resampler: Resampler | None = None
        self._ready = b""  # less than a frame
        self._came_s = 0.0
        self._steady: Polyphase | None = None  # a frame needs nothing but to be converted
        self._steady_bytes = -1  # of one
        self._held_s = 0.0
        self._is_put_off = False  # one is to be converted together with others

    def deliver(self, item: Item, now_s: float) -> None:
        """A message came."""
        if self._is_put_off:
            self._turn.finish()
        if type(item) is bytes:
            turn, steady = self._turn, self._steady
            if (
                steady is not None
                and len(item) == self._steady_bytes
                and turn.is_reading
                and now_s - self._came_s <= HOLE_S
            ):
                self._came_s = now_s
                self._is_put_off = True
                convert_soon(turn.arriving, steady, item, self._take)
            else:
                self._audio(item, now_s)
            return
        self._steady = None
        if isinstance(item, (MediaUpdate, Disconnected)):  # no more audio follows, for now
            self._flush(now_s)
        self._deliver(item, now_s)

    def _audio(self, pcm: bytes, now_s: float) -> None:
        audio_format = self._session.audio_format
        wire_hz = self._rate_hz if audio_format is None else audio_format.rate_hz
        if wire_hz == self._rate_hz and not self._ready:
            self._deliver(pcm, now_s)
            return
        resampler = self._resampler
        if now_s - self._came_s > HOLE_S:
            self._flush(self._came_s)
        if resampler is None or resampler.from_hz != wire_hz:
            self._flush(self._came_s)
            self._resampler = resampler = Resampler(wire_hz, self._rate_hz)
        is_first, self._came_s = not resampler.samples_in, now_s
        if len(pcm) % SAMPLE_BYTES:
            pcm = pcm[:-1]  # the session has counted it as odd
        made = resampler.process(pcm)
        if is_first and not resampler.is_blocky:
            made = made.rjust(self._frame_bytes, b"\0")  # else each frame would wait for the next one
        if len(made) == self._frame_bytes and not self._ready:  # as nearly always
            self._deliver(made, now_s - resampler.held_s)
        else:
            self._hand_on(self._ready + made, now_s - resampler.held_s)
        is_frame = len(pcm) * 1000 == FRAME_MS * wire_hz * SAMPLE_BYTES
        self._steady = resampler.steady if is_frame and not self._ready else None
        self._steady_bytes, self._held_s = len(pcm), resampler.held_s

    def _take(self, made: bytes) -> None:
        """The frame that was put off is converted."""
        self._is_put_off = False
        now_s = self._clock()
        # Where those before it have taken so long, it counts as having come now: so the dispatcher lets others run.
        is_late = now_s - self._turn.began_s > TURN_S
        self._deliver(made, now_s if is_late else self._came_s - self._held_s)

    def _flush(self, now_s: float) -> None:
        """Hand on what is held back, filled up with silence."""
        if self._resampler is not None:
            pcm = self._ready + self._resampler.flush()
            self._hand_on(pcm + bytes(-len(pcm) % self._frame_bytes), now_s)

    def _hand_on(self, pcm: bytes, end_s: float) -> None:
        """Cut frames; `end_s`: when the sound at the end came."""
        frame_bytes, at = self._frame_bytes, 0
        while len(pcm) - at >= frame_bytes:
            after_s = (len(pcm) - at - frame_bytes) / SAMPLE_BYTES / self._rate_hz
            self._deliver(pcm[at : at + frame_bytes], end_s - after_s)
            at += frame_bytes
        self._ready = pcm[at:]
