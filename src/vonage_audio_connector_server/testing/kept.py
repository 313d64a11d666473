"""The calls of the test that runs, so that its failure can show what was said and heard."""

from __future__ import annotations

from typing import Any

from ..recording import Recording
from ..recording.recorder import MemoryTape
from ..recording.recording import Kind

_kept: list[Any] | None = None  # None: nobody asks for them


def begin() -> None:
    """A test begins: keep its calls from now on."""
    global _kept
    _kept = []


def keep(call: Any) -> None:
    """A call begins."""
    if _kept is not None:
        _kept.append(call)


def calls() -> list[Any]:
    """Those of the test, until now."""
    return list(_kept or ())


def end() -> None:
    """The test is over: let go of them."""
    global _kept
    _kept = None


class NotesRecorder:
    """Keeps what only the program's side of a call knows: its log, its errors, why there were gaps.

    It is the `Recorder` of an application's calls while somebody asks for them.

    Attributes:
        recording: of the last call; None: none was recorded.
    """

    def __init__(self) -> None:
        self.recording: Recording | None = None

    def begin(self, meta: Any) -> MemoryTape | None:
        """See `Recorder`."""
        if _kept is None:
            return None
        tape = _Notes(meta)
        self.recording = tape.recording
        return tape


class _Notes(MemoryTape):
    """Keeps no messages: the router's side has them."""

    def add(self, at_s: float, kind: Kind, payload: bytes, /) -> None:
        pass
