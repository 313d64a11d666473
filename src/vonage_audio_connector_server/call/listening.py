"""The turns of one call, as they become known: what a detector finds in what comes, and when the clock says so.

Plain code in the thread of the call's event loop.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.events import Disconnected, MediaUpdate
from ..speech.turn_detector import LATE_S, SpeechPaused, Turn, TurnDetector, TurnRules
from ..speech.voice_activity import VoiceActivity
from ..waits import CHANGED
from .call import Call
from .inbox import Item
from .taps import add_tap

OnTurn = Callable[[Turn], None]


class Listening:
    """Listens to one call.

    Args:
        call: which one.
        voice: judges its frames.
        rules: what a turn is.
        on_turn: called with each turn that begins, pauses or ends. It must not raise.
        on_end: called once, when nothing more will come: with an error, where the detector has failed.
    """

    def __init__(
        self,
        call: Call,
        voice: VoiceActivity,
        rules: TurnRules,
        on_turn: OnTurn,
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self.detector = TurnDetector(voice, rules)
        self._call = call
        self._on_turn, self._on_end = on_turn, on_end
        self._is_over = False
        self._not_before_s = 0.0
        self._remove = add_tap(call, self._received)
        call.waits.add(self._ask, self._due)

    def stop(self) -> None:
        """Listen no more."""
        self._finish(None)
        self._call.output.changed()

    def is_current(self, pause: SpeechPaused) -> bool:
        """Whether nobody has spoken since."""
        return self.detector.is_paused and self.detector.voiced_s == pause.end_s

    def answer(self, pause: SpeechPaused, *, is_end: bool) -> None:
        """A model has told whether a pause was the end."""
        if self.is_current(pause):
            if is_end:
                self._tell(self.detector.end(self._at_s()))
            else:
                self.detector.wait()

    # Inside

    def _received(self, item: Item, now_s: float) -> None:
        call, detector = self._call, self.detector
        at_s = now_s - call.started_s
        if isinstance(item, bytes):
            audio_format = call.session.audio_format
            if audio_format is None:
                return
            try:
                turns = detector.audio(item, audio_format.rate_hz, at_s)
            except Exception as exc:  # noqa: BLE001 (a detector of the program's own may raise anything: its affair)
                self._finish(exc)
                call.output.changed()
                return
            if turns:
                self._tell(turns)
        elif isinstance(item, Disconnected) or (isinstance(item, MediaUpdate) and not item.active):
            self._tell(detector.end(at_s))

    def _tell(self, turns: list[Turn]) -> None:
        for turn in turns:
            self._on_turn(turn)
        if turns:
            self._call.output.changed()

    def _ask(self, now_s: float) -> float | None:
        """Has something to be done by now?"""
        if self._is_over or self._call.is_over:
            return None
        due_s = self.detector.due_s
        if due_s is None:
            return CHANGED
        due_s = max(due_s + self._call.started_s, self._not_before_s)
        return None if now_s >= due_s else due_s

    def _due(self) -> None:
        """It has."""
        if self._is_over:
            return
        if self._call.is_over:
            self._tell(self.detector.end(self._at_s()))
            self._finish(None)
            return
        now_s, due_s = self._call.now_s(), (self.detector.due_s or 0.0) + self._call.started_s
        if now_s - due_s > LATE_S > self._not_before_s - due_s:
            # The event loop was blocked: the frames that came meanwhile will tell.
            self._not_before_s = now_s + LATE_S
            self._call.waits.add(self._ask, self._due)
            return
        # The time of the call and that since its accept are not exactly as far apart each time.
        self._tell(self.detector.tick(max(self._at_s(), self.detector.due_s or 0.0)))
        self._call.waits.add(self._ask, self._due)

    def _finish(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._remove()
            self._on_end(error)

    def _at_s(self) -> float:
        return self._call.now_s() - self._call.started_s
