"""What a program says in its turn: as one thing whose pieces come one by one, or as audio that was sent directly.

Plain code in the thread of the call's event loop. The queue (`speech_queue.py`) says when it is whose turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..audio.resampler import Resampler
from ..core.ledger import Epoch, Mark
from ..formats import FRAME_MS, SAMPLE_BYTES
from .call import Call
from .rate import OutgoingRate

SetMark = Callable[[Mark], None]


class Speech:
    """One thing that is said.

    Args:
        call: in which.
        priority: the higher ones go first.
        rate_hz: the sample rate of its audio; None: that of the connection.

    Attributes:
        mark: what of it is in the session, or was; it grows. None: nothing yet.
        given_s: how much was given, in seconds, as far as its rate is known.
        is_ended: nothing more will come.
        is_interrupted: it ended before all of it was heard.
        on_interrupted: called then.
        on_mark: called with each new `mark`.
    """

    def __init__(self, call: Call, priority: int, rate_hz: int | None) -> None:
        self.call, self.priority, self.rate_hz = call, priority, rate_hz
        self.mark: Mark | None = None
        self.is_ended = self.is_interrupted = False
        self.on_interrupted: Callable[[], None] | None = None
        self.on_mark: SetMark | None = None
        self._given_bytes = self._waiting_bytes = 0
        self._waiting: deque[bytes] = deque()
        self._resampler: Resampler | None = None

    @property
    def given_s(self) -> float:
        """How much was given, in seconds."""
        return self._seconds(self._given_bytes)

    @property
    def waiting_s(self) -> float:
        """How much of it waits for its turn, in seconds."""
        return self._seconds(self._waiting_bytes)

    def add(self, pcm: bytes) -> None:
        """More of it."""
        self._waiting.append(pcm)
        self._waiting_bytes += len(pcm)
        self._given_bytes += len(pcm)

    def pour(self, rate: OutgoingRate) -> None:
        """It is its turn: hand over what waits to the session, whose format is known."""
        rate.end()
        parts, resampler = list(self._waiting), self._resampler_to(self._wire_hz())
        if resampler is not None:
            parts = [resampler.process(pcm) for pcm in parts]
            if self.is_ended:
                parts.append(resampler.flush())
        self._waiting.clear()
        self._waiting_bytes = 0
        pcm = b"".join(parts)
        if pcm or self.is_ended or self.mark is None:
            call = self.call
            # What is given is checked by the queue; an end must not fail because all of it waits.
            mark = call.output.queue_audio(pcm, call.clock(), None, FRAME_MS, self.is_ended, False, has_room=True)
            self._set_mark(mark if self.mark is None else self.mark._replace(samples=mark.end - self.mark.start))

    def drop(self) -> None:
        """It will not be heard any more."""
        self.is_interrupted = self.is_ended = True
        if self.mark is None:
            self._set_mark(unheard(self.call, self.waiting_s))
        self._waiting.clear()
        self._waiting_bytes = 0
        if self.on_interrupted is not None:
            self.on_interrupted()

    @property
    def is_over(self) -> bool:
        """Whether nothing more of it will be heard."""
        call = self.call
        if self.is_interrupted or call.is_over:
            return True
        if not self.is_ended or self._waiting or self.mark is None:
            return False
        return call.out.ledger.is_over(self.mark, call.out.heard_wire(call.now_s()))

    @property
    def is_heard(self) -> bool:
        """Whether all of it has been heard."""
        if not self.is_ended or self._waiting or self.mark is None:
            return False
        heard_wire = self.call.out.heard_wire(self.call.now_s())
        return self.call.out.ledger.heard_of(self.mark, heard_wire) >= self.mark.samples

    # Inside

    def _set_mark(self, mark: Mark) -> None:
        self.mark = mark
        if self.on_mark is not None:
            self.on_mark(mark)

    def _seconds(self, size_bytes: int) -> float:
        return size_bytes / SAMPLE_BYTES / (self.rate_hz or self._wire_hz())

    def _wire_hz(self) -> int:
        return self.call.out.pacer.rate_hz

    def _resampler_to(self, wire_hz: int) -> Resampler | None:
        if self.rate_hz is not None and (self._resampler is None or self._resampler.to_hz != wire_hz):
            self._resampler = Resampler(self.rate_hz, wire_hz)
        return self._resampler


class DirectSpeech:
    """What was sent directly while other things were said, as it was sent."""

    priority = 0
    is_ended = True

    def __init__(self, call: Call) -> None:
        self.call = call
        self.waiting_s = 0.0
        self._waiting: list[tuple[SetMark, bytes, int | None, int | None, int, bool]] = []

    def add(
        self, set_mark: SetMark, pcm: bytes, rate_hz: int | None, frame_bytes: int | None, frame_ms: int, end: bool
    ) -> None:
        """More of it; `set_mark` is called with the mark when it has its turn, or will not be heard."""
        self._waiting.append((set_mark, pcm, rate_hz, frame_bytes, frame_ms, end))
        self.waiting_s += self._seconds(pcm, rate_hz)

    def pour(self, rate: OutgoingRate) -> None:
        """See `Speech`."""
        waiting, self._waiting = self._waiting, []
        for set_mark, *audio in waiting:
            set_mark(rate.queue(*audio))  # type: ignore[arg-type]  # of a tuple's rest no types are known

    def drop(self) -> None:
        """See `Speech`."""
        for set_mark, pcm, rate_hz, *_ in self._waiting:
            set_mark(unheard(self.call, self._seconds(pcm, rate_hz)))
        self._waiting = []

    @property
    def is_heard(self) -> bool:
        """Whether all of it is in the session: what becomes of it there is known by its marks."""
        return not self._waiting

    def _seconds(self, pcm: bytes, rate_hz: int | None) -> float:
        return len(pcm) / SAMPLE_BYTES / (rate_hz or self.call.out.pacer.rate_hz)


def unheard(call: Call, duration_s: float) -> Mark:
    """The mark of audio that never had its turn."""
    epoch, start = Epoch(), call.out.ledger.accepted
    epoch.heard_to = start
    return Mark(epoch, start, round(duration_s * call.out.pacer.rate_hz))
