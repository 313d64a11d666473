"""What became of audio and of a connection: plain values that users get. Seconds as float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .models import ConnectionStats

Evidence = Literal["clock", "notify"]
ClosedBy = Literal["session", "program", "library", "server", "network"]


@dataclass(frozen=True, slots=True)
class FlushResult:
    """What an interruption cut off. Sent audio is either heard or dropped, so both add up to what was sent.

    Attributes:
        heard_s: seconds that were heard since the flush before this one, or since the accept.
        dropped_s: seconds that this flush dropped.
        sent_dropped_s: how many of those had gone out already: at most the lead and a batch. They are heard after all
            where the router knows none of the clear commands.
    """

    heard_s: float
    dropped_s: float
    sent_dropped_s: float


@dataclass(frozen=True, slots=True)
class PlaybackResult:
    """What was heard of the audio of one `send_audio_buffer`.

    Attributes:
        duration_s: how long it is, without padding.
        heard_s: how much of it was heard.
        interrupted: whether a part of it will never be heard: a flush, or the end of the call.
        evidence: `clock`: it was sent, and since then as much time has passed as it takes to play it;
            `notify`: the router acknowledged that it has played it.
    """

    duration_s: float
    heard_s: float
    interrupted: bool
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseReport:
    """How a connection ended, and how it was until then.

    Attributes:
        connection_id: the `id` of `client.info()`.
        closed_by: `session`: the router closed; `program`: `disconnect()`; `library`: a rule of ours, which `reason`
            names; `server`: it stops, or cancelled the connection; `network`: the socket broke, or nothing was read.
        code: the WebSocket close code; 1005: closed without a code; 1006: the socket went away without a close.
        reason: why, in words; empty where nobody said.
        last_in_s: how old the last message of the session was at the end, in seconds; None: none ever came.
        last_out_s: how old our last message was; None: none was ever sent.
        stats: the counters at the end: the duration, what was heard, and the gaps by cause among them.
    """

    connection_id: str
    closed_by: ClosedBy
    code: int
    reason: str
    last_in_s: float | None
    last_out_s: float | None
    stats: ConnectionStats

    def __str__(self) -> str:
        """One line for a log."""
        why = f" ({self.reason!r})" if self.reason else ""  # the peer may have written it
        stats = self.stats
        gaps = ", ".join(f"{count} {cause}" for cause, count in stats.gaps.items() if count) or "none"
        return (
            f"closed by the {self.closed_by} with {self.code}{why} after {stats.duration_s:.1f} s; "
            f"last in {_age(self.last_in_s)}, last out {_age(self.last_out_s)}; "
            f"{stats.frames_in} frames in, {stats.frames_out} out, {stats.heard_s:.1f} s heard, "
            f"{stats.dropped_out_s:.1f} s dropped; gaps: {gaps}"
        )


def _age(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s before"
