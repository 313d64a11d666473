"""What the methods of a client wait for, as questions to a call (see `waits.py`)."""

from __future__ import annotations

from ..core.ledger import Mark
from ..results import PlaybackResult
from ..runtime import TICK_S
from ..waits import CHANGED, Question
from .call import Call

CONFIRM_S = 1.0
"""How much longer than the clock says a playback waits for the router's acknowledgement, which may never come."""

EARLY_S = 0.1
"""How often who waits for audio looks whether the format has been assumed."""


def written(call: Call) -> Question:
    """Is everything that was queued on the wire, the close included?"""
    outbox = call.out.outbox

    def ask(now_s: float) -> float | None:
        is_done = call.is_over or not (outbox or call.output.is_blocked or call.closing is not None)
        return None if is_done else CHANGED

    return ask


def has_room(call: Call) -> Question:
    """Does the socket take texts?"""

    def ask(now_s: float) -> float | None:
        return CHANGED if call.output.is_blocked and not call.is_over else None

    return ask


def heard(call: Call) -> Question:
    """Has all that is queued been heard, or can't it be any more?"""
    session = call.session

    def ask(now_s: float) -> float | None:
        if not call.is_open:
            return None
        call.output.measure()
        left_s = session.queued_s + session.out.speech_left_s(now_s)
        if not left_s:
            return CHANGED if call.output.is_saying() else None
        return CHANGED if session.out.paused else now_s + max(left_s, TICK_S)

    return ask


def format_known(call: Call) -> Question:
    """Is the audio format known, or has the time come to assume it?"""
    session = call.session

    def ask(now_s: float) -> float | None:
        is_over = session.audio_format is not None or not call.is_open or now_s >= session.format_due_s
        return None if is_over else session.format_due_s

    return ask


def played(call: Call, mark: Mark, confirm: bool) -> Question:
    """Has `mark` been heard, or won't it be any more? `confirm`: has the router said so, in time?"""
    session = call.session
    out, ledger = session.out, session.out.ledger
    give_up_s = 0.0

    def ask(now_s: float) -> float | None:
        nonlocal give_up_s
        if call.is_over or mark in session.acknowledged:
            return None
        call.output.measure()
        heard_wire = out.heard_wire(now_s)
        if not ledger.is_over(mark, heard_wire):
            if out.paused:
                return CHANGED
            if session.audio_format is None:  # then nobody knows how long it lasts
                return now_s + EARLY_S
            return now_s + max((ledger.wire_of(mark.end) - heard_wire) / out.pacer.rate_hz, TICK_S)
        if not confirm or not session.is_awaited(mark):
            return None
        give_up_s = give_up_s or now_s + CONFIRM_S
        if now_s < give_up_s:
            return give_up_s
        session.forget(mark)
        return None

    return ask


def result_of(call: Call, mark: Mark) -> PlaybackResult:
    """What has been heard of `mark` by now; from any thread."""
    out = call.out
    is_acknowledged = mark in call.session.acknowledged
    heard_samples = mark.samples if is_acknowledged else out.ledger.heard_of(mark, out.heard_wire(call.now_s()))
    rate_hz = out.pacer.rate_hz
    return PlaybackResult(
        duration_s=mark.samples / rate_hz,
        heard_s=heard_samples / rate_hz,
        interrupted=mark.epoch.heard_to is not None and heard_samples < mark.samples,
        evidence="notify" if is_acknowledged else "clock",
    )
