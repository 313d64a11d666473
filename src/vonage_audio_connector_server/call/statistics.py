"""The counters of a call, as its user gets them."""

from __future__ import annotations

from ..core.session import Session
from ..results import ConnectionStats
from .inbox import Inbox


def make_stats(
    session: Session, inbox: Inbox, now_s: float, *, duration_s: float, late_wakeups: int, furthest_behind_s: float
) -> ConnectionStats:
    """The counters at a time."""
    out = session.out
    return ConnectionStats(
        duration_s=duration_s,
        frames_in=session.frames_in,
        bytes_in=session.bytes_in,
        texts_in=session.texts_in,
        frames_out=out.frames_out,
        bytes_out=out.bytes_out,
        texts_out=session.texts_out,
        odd_frames_in=session.odd_frames_in,
        dropped_in=inbox.dropped,
        receive_lag_s=inbox.age_s(now_s),
        queued_s=session.queued_s,
        ahead_s=out.ahead_s(now_s),
        heard_s=session.heard_s(now_s),
        dropped_out_s=out.ledger.dropped / out.pacer.rate_hz,
        gaps={str(cause): count for cause, count in out.gaps.counts.items()},
        gap_s=out.gaps.total_s,
        late_wakeups=late_wakeups,
        furthest_behind_s=furthest_behind_s,
        flushes=session.flushes,
        clears_acknowledged=session.clears_acknowledged,
    )
