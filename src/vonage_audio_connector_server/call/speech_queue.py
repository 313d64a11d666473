"""Who has the turn, of the things that a program says: utterances, files, and audio that is sent directly.

Only one of them is in the session at a time: so it can be interrupted alone, what is more urgent can overtake those
that wait, and of each it is known how much was heard. Plain code in the thread of the call's event loop.
"""

from __future__ import annotations

from ..core.ledger import Mark
from ..errors import AudioConnectorFullError, AudioConnectorInterruptedError
from ..runtime import TICK_S
from ..sparing import warn
from ..waits import CHANGED, Question
from .call import Call
from .questions import played
from .rate import OutgoingRate
from .speech import DirectSpeech, SetMark, Speech

AHEAD_S = 0.1
"""The next one has its turn when so much of the one before is left to be heard: half of the default lead, so that an
event loop that is late makes no hole."""

STALLED_S = 10.0
"""So long without a piece, while others wait for their turn: an utterance that nobody has ended. No synthesis takes as
long between two pieces."""


class SpeechQueue:
    """The things that one call's program says.

    Args:
        call: which one.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._ledger = call.out.ledger
        self._max_waiting_s = call.session.max_queued_s
        self._epoch = self._ledger.epoch
        self._rate = OutgoingRate(call)
        self._head: Speech | DirectSpeech | None = None  # whose audio goes into the session
        self._waiting: list[Speech | DirectSpeech] = []
        self._is_asking = self._flushes = False
        self._head_s = 0.0  # when the head last brought something, or something first waited behind it
        self._is_told = False  # that the head stalls
        call.output.is_saying = lambda: self._is_busy or self._rate.holds

    # What was sent directly

    def send_directly(
        self,
        set_mark: SetMark,
        pcm: bytes,
        rate_hz: int | None,
        frame_bytes: int | None,
        frame_ms: int,
        end: bool,
        flush: bool,
    ) -> Question:
        """Send audio now, or behind what is said in its turn; returns the question whether there is room for more.

        Raises:
            AudioConnectorFullError: too much waits, and `when_full` is `raise`; nothing was taken.
        """
        call = self._call
        if flush:
            call.output.flush()
        has_rate = rate_hz is None or call.session.audio_format is not None
        if has_rate and not self._waiting and (self._head is None or isinstance(self._head, DirectSpeech)):
            if not flush:
                call.session.check_room()
            set_mark(self._rate.queue(pcm, rate_hz, frame_bytes, frame_ms, end))
            return call.output.ask_room
        last = self._waiting[-1] if self._waiting else None
        speech = last if isinstance(last, DirectSpeech) else DirectSpeech(call)
        self._check_room(speech)
        speech.add(set_mark, pcm, rate_hz, frame_bytes, frame_ms, end)
        if speech is not last:
            self._join(speech)
        return self.room_for(speech)

    def push_live(self, pcm: bytes, rate_hz: int | None, now_s: float) -> Mark | None:
        """Send a frame of a live stream, in few steps; None where that can't be, and nothing was done."""
        return None if self._is_busy else self._rate.push_live(pcm, rate_hz, now_s)

    # What is said in its turn

    def begin(self, priority: int, rate_hz: int | None) -> Speech:
        """Let another one take its place."""
        self._call.check_open()
        speech = Speech(self._call, priority, rate_hz)
        self._join(speech)
        return speech

    def send(self, speech: Speech, pcm: bytes) -> None:
        """More of it.

        Raises:
            AudioConnectorInterruptedError: it was interrupted; nothing was taken.
            AudioConnectorFullError: too much of it waits, and `when_full` is `raise`; nothing was taken.
        """
        if speech.is_interrupted:
            raise AudioConnectorInterruptedError("the utterance was interrupted: nothing more of it is said")
        if speech is self._head:
            self._call.session.check_room()
        self._check_room(speech)
        speech.add(pcm)
        if speech is self._head:
            self._head_s = self._call.clock()
            speech.pour(self._rate)

    def end(self, speech: Speech) -> None:
        """Nothing more of it comes; again, or when it was interrupted, it does nothing."""
        if not speech.is_ended:
            speech.is_ended = True
            if speech is self._head:
                speech.pour(self._rate)
            self._call.output.changed()

    def interrupt(self, speech: Speech) -> None:
        """It falls silent at once, or is never said; the others go on."""
        if speech in self._waiting:
            self._waiting.remove(speech)
            speech.drop()
        elif speech is self._head and not speech.is_over:
            self._head, self._flushes = None, True
            try:
                self._call.output.flush()
            finally:
                self._flushes = False
            self._epoch = self._ledger.epoch
            speech.drop()
            self._go_on()
        self._call.output.changed()

    # What is waited for

    def room_for(self, speech: Speech | DirectSpeech) -> Question:
        """Is there room for more of it?"""

        def ask(now_s: float) -> float | None:
            if speech in self._waiting:
                return CHANGED if speech.waiting_s > self._max_waiting_s else None
            return self._call.output.ask_room(now_s)

        return ask

    def over(self, speech: Speech) -> Question:
        """Will nothing more of it be heard?"""

        def ask(now_s: float) -> float | None:
            if speech.is_over:
                return None
            if not speech.is_ended or speech.mark is None or speech in self._waiting:
                return CHANGED
            return played(self._call, speech.mark, confirm=False)(now_s)

        return ask

    # Inside

    @property
    def _is_busy(self) -> bool:
        return self._head is not None or bool(self._waiting)

    def _check_room(self, speech: Speech | DirectSpeech) -> None:
        if self._call.session.raises_when_full and speech.waiting_s > self._max_waiting_s:
            raise AudioConnectorFullError(
                f"{speech.waiting_s:.1f} s of audio wait for their turn, {self._max_waiting_s:g} are allowed: send "
                "more later, or let send wait (when_full='wait')"
            )

    def _join(self, speech: Speech | DirectSpeech) -> None:
        if not self._is_busy:
            self._epoch = self._ledger.epoch
        place = len(self._waiting)
        while place and self._waiting[place - 1].priority < speech.priority:
            place -= 1
        if not self._waiting:
            self._head_s = self._call.clock()
        self._waiting.insert(place, speech)
        self._go_on()
        if self._head is not None:
            self._call.output.changed()

    def _go_on(self) -> None:
        """See to it that the next one follows."""
        if not self._is_asking and self._is_busy:
            self._is_asking = True
            self._call.waits.add(self._ask, self._next)

    def _ask(self, now_s: float) -> float | None:
        """Has something to be done by now?"""
        call = self._call
        if self._flushes:
            return CHANGED
        if not call.is_open or self._ledger.epoch is not self._epoch:
            return None
        if self._head is not None and not self._head.is_ended:
            return self._ask_stalled(now_s)
        session = call.session
        if session.audio_format is None:  # so nobody knows at which rate it has to be said
            return None if now_s >= session.format_due_s else session.format_due_s
        if session.out.paused:
            return CHANGED
        call.output.measure()
        left_s = session.queued_s + session.out.speech_left_s(now_s) - AHEAD_S
        return None if left_s <= 0 else now_s + max(left_s, TICK_S)

    def _ask_stalled(self, now_s: float) -> float:
        """Say so once where others wait behind one that nobody goes on with."""
        if self._is_told or not self._waiting:
            return CHANGED
        stalled_s = self._head_s + STALLED_S
        if now_s < stalled_s:
            return stalled_s
        self._is_told = True
        warn(
            "connection %s: an utterance has brought nothing for %.0f s and was not ended; %d more wait behind it: "
            "leave its block, or call end() or interrupt()",
            self._call.id,
            STALLED_S,
            len(self._waiting),
        )
        return CHANGED

    def _next(self) -> None:
        """What had to be waited for is over."""
        self._is_asking = False
        call = self._call
        if not call.is_open or self._ledger.epoch is not self._epoch:
            self._epoch = self._ledger.epoch
            dropped, self._head, self._waiting = [self._head, *self._waiting], None, []
            for speech in dropped:
                if speech is not None and not speech.is_heard:
                    speech.drop()
            return
        call.assume_format()
        while self._is_busy and self._ask(call.clock()) is None:
            self._head = self._waiting.pop(0) if self._waiting else None
            if self._head is not None:
                self._head_s, self._is_told = call.clock(), False
                self._head.pour(self._rate)
        self._go_on()
        call.output.changed()
