"""A call in a test: that of the simulator, with what a test wants to know and to assert."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from ..core.wire import load_object
from ..recording import Kind, Recording
from ..simulator.call import Saying, SimulatedCall
from ..simulator.report.hole import holes_of
from ..simulator.report.joined import joined
from ..simulator.report.turns import BEING_HEARD_S, Turns, Utterance
from .kept import NotesRecorder, keep


@dataclass(frozen=True, slots=True)
class ServerText:
    """A text that the program sent.

    Attributes:
        at_s: when it came, in seconds since the accept.
        text: as it came.
        data: the JSON object in it; None where there is none.
    """

    at_s: float
    text: str
    data: dict[str, Any] | None


class TestCall(SimulatedCall):
    """A call that a test holds; see `SimulatedCall` for what the caller does and waits for.

    Attributes:
        notes: what the program's side noted; None: it is in another process.
    """

    __test__ = False  # pytest: no test

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.notes: NotesRecorder | None = None
        keep(self)

    @property
    def events(self) -> list[ServerText]:
        """The texts that the program has sent, clear commands and notify included, in their order."""
        return [
            ServerText(entry.at_s, entry.text, load_object(entry.text))
            for entry in self.twin.recording.entries
            if entry.kind is Kind.TEXT_FROM_SERVER
        ]

    @property
    def both_sides(self) -> Recording:
        """All that has happened, and, where that is known, what the program's side had to say of it."""
        noted = None if self.notes is None else self.notes.recording
        return self.recording if noted is None else joined(self.recording, noted)

    def assert_no_gap(self, over_ms: float = 20) -> None:
        """Assert that there is no hole longer than this inside of what was heard; none that was asked for counts.

        Raises:
            AssertionError: it says where they are.
        """
        __tracebackhide__ = True  # pytest shows the line of the test
        loud = {tick for start, end in self.twin.loud for tick in range(start, end)}
        gaps = [gap for gap in holes_of(self.twin.router, loud)[0] if gap.ms > over_ms]
        shown = ", ".join(f"{gap.ms} ms at {gap.at_s:.2f} s" for gap in gaps)
        assert not gaps, f"{len(gaps)} gaps are longer than {over_ms:g} ms: {shown}"

    def assert_silent_within(self, ms: float, of: Saying) -> None:
        """Assert that the program fell silent so soon after the caller began to say something.

        Raises:
            AssertionError: it says how long it went on.
        """
        __tracebackhide__ = True
        start_s, frame_s = of.start_s, self.twin.audio_format.frame_s
        assert start_s is not None, "the caller has not begun to say it: await it first"
        first = int((start_s - BEING_HEARD_S) / frame_s) - 1  # what was over by then is not interrupted
        near = [(max(start, first), end) for start, end in self.twin.loud if end > first]
        loud_s = [tick * frame_s for start, end in near for tick in range(start, end)]
        said = Utterance(start_s, start_s + of.said.speech_s, interrupts=True)
        (interruption,) = Turns([said], loud_s, self._clears_s(start_s), frame_s).interruptions
        silent_s = interruption.silent_after_s or 0.0
        assert silent_s * 1000 <= ms, f"the program was heard for {silent_s * 1000:.0f} ms more, {ms:g} are allowed"

    def _clears_s(self, since_s: float) -> list[float]:
        messages = (entry for entry in reversed(self.twin.recording.entries) if entry.kind is not Kind.NOTE)
        latest = takewhile(lambda entry: entry.at_s >= since_s, messages)
        texts = [entry for entry in latest if entry.kind is Kind.TEXT_FROM_SERVER]
        return [entry.at_s for entry in reversed(texts) if self.twin.rules.is_clear(entry.data)]
