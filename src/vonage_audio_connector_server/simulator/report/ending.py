"""How a call ended: as the simulator saw it, or as a recording tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...close_codes import ABNORMAL, WENT_WELL
from ...recording import Recording

Outcome = Literal[
    "answered",
    "no answer",
    "limit",
    "server closed",
    "connection lost",
    "protocol error",
    "not connected",
    "open",
]

Closer = Literal["server", "simulator", "router"]

_CLOSERS: dict[str, Closer] = {  # whom the server's close report names, and who that is seen from here
    "server": "server",
    "program": "server",
    "library": "server",
    "simulator": "simulator",
    "router": "router",
    "session": "router",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended.

    Attributes:
        outcome: why it ended.
        error: what was wrong, as a sentence; None where nothing was.
        close_code: the WebSocket close code; 1006 where the connection was lost; None where there was none.
        close_reason: the reason beside it.
        closed_by: who closed; None where nobody did.
    """

    outcome: Outcome
    error: str | None = None
    close_code: int | None = None
    close_reason: str = ""
    closed_by: Closer | None = None


def ending_of(recording: Recording, *, answered: bool) -> Ending:
    """How a recorded call ended, from its `closed` note.

    Args:
        recording: the call.
        answered: whether the listener heard an answer, or something at all where nothing was asked.
    """
    closed = list(recording.notes("closed"))
    if not closed:
        return Ending("open")
    data = closed[-1][1]
    code = data.get("code")
    code = code if isinstance(code, int) else None
    reason = str(data.get("reason") or "")
    by = _CLOSERS.get(str(data.get("by")))
    if by is None or code == ABNORMAL:
        error = "the connection was lost without a close frame"
        return Ending("connection lost", f"{error} ({reason})" if reason else error, code or ABNORMAL, reason)
    outcome: Outcome = "server closed" if by == "server" else "answered" if answered else "no answer"
    wrong = None
    if code not in WENT_WELL:
        wrong = f"the {by} closed the connection with {code}" + (f" ({reason})" if reason else "")
    return Ending(outcome, wrong, code, reason, by)
