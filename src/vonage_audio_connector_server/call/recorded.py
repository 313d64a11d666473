"""A call that is recorded, and the choice whether one is: made once, at the accept.

Nothing else knows of recorders, so a call that is not recorded pays nothing for them.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import fields
from datetime import UTC, datetime

from ..close_codes import SERVICE_RESTART, WENT_WELL
from ..config import AudioConnectorConfig
from ..core.gaps import Gap, Gaps
from ..core.json_audio import JSONTransport
from ..formats import FRAME_MS
from ..link.base import Link
from ..link.recorded import Pending, RecordedLink
from ..recording.log_lines import LOG_LINES, shortened
from ..recording.recorder import AUDIO_FIELD, META, Recorder, SoleRecorder
from ..results import ClosedBy, CloseReport, ConnectionStats
from ..runtime import call_clock
from ..sparing import warn
from ..steps import Handler
from .call import Call
from .handlers import is_only_closed

MOST_TRACEBACKS = 10
"""Of the errors of one call: a handler may fail on every frame."""

_STATS = [entry.name for entry in fields(ConnectionStats)]


def make_call(
    link: Link, config: AudioConnectorConfig, call_id: str, place: str, recorder: Recorder | None = None
) -> Call:
    """A call, recorded where the settings, or who serves it, say so; the other arguments are those of `Call`."""
    if not isinstance(recorder, SoleRecorder):
        recorder = config.recorder or recorder
    pending = None if recorder is None else _begin(recorder, config, call_id, place)
    if pending is None:
        call = Call(link, config, call_id, place)
    else:
        call = RecordedCall(link, config, call_id, place, pending)
    if config.sample_rate_hz is not None:
        from .incoming_rate import IncomingRate  # only then: it takes the extra `audio`

        call.deliver = IncomingRate(call.session, config.sample_rate_hz, call.deliver)
    return call


def _begin(recorder: Recorder, config: AudioConnectorConfig, call_id: str, place: str) -> Pending | None:
    clock = call_clock()
    origin_s = clock()
    transport = config.transport
    json_audio = JSONTransport() if transport == "auto" else transport
    meta = {
        "seen_by": "server",
        "began": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "frame_ms": FRAME_MS,
        "place": shortened(place),
        "connection_id": call_id,
        "origin_s": origin_s,
        AUDIO_FIELD: json_audio.receive_field if isinstance(json_audio, JSONTransport) else None,
    }
    if transport != "auto":
        meta["transport"] = "binary" if transport == "binary" else "json"
    try:
        tape = recorder.begin(meta)
        return None if tape is None else Pending(tape, clock, origin_s)
    except Exception:  # noqa: BLE001 (a recorder of the program's own may raise anything; it must not cost the call)
        warn("a call is not recorded: its recorder failed", exc_info=True)
        return None


class RecordedCall(Call):
    """A call that tells a tape what happens.

    Args:
        link: its messages.
        config: the settings.
        call_id: see `Call`.
        place: see `Call`.
        pending: takes it to its tape.
    """

    def __init__(self, link: Link, config: AudioConnectorConfig, call_id: str, place: str, pending: Pending) -> None:
        super().__init__(RecordedLink(link, pending), config, call_id, place)
        self._pending = pending
        pending.note_stats = self._note_stats
        self._errors = 0
        self._has_failed = False  # a handler has
        self.out.gaps = RecordedGaps(pending)

    # What a call does

    async def run(self, on_connect: Handler, *args: object) -> None:
        """See `Call`."""
        LOG_LINES.add(self.id, self._note_line)
        await super().run(on_connect, *args)

    def lost(self, code: int, reason: str, by: ClosedBy) -> None:
        """See `Call`."""
        was_open = self.close_report is None
        super().lost(code, reason, by)
        report = self.close_report
        if was_open and report is not None:
            note, at_s = self._pending.tape.note, self._at_s()
            note(at_s, "stats", **_fields(report.stats))
            note(at_s, "closed", code=report.code, reason=report.reason, by=report.closed_by)

    async def report(self, error: Exception) -> None:
        """See `Call`."""
        if self.is_open or not is_only_closed(error):
            self._has_failed = True
            self._errors += 1
            lines = traceback.format_exception_only(error)
            if self._errors <= MOST_TRACEBACKS:
                lines = traceback.format_exception(error)
            self._pending.tape.note(self._at_s(), "error", text=shortened("".join(lines).rstrip()))
        try:
            await super().report(error)
        finally:
            del error  # its traceback leads to this frame

    def _format_known(self) -> None:
        super()._format_known()
        audio_format = self.session.audio_format
        if audio_format is not None:
            self._pending.tape.note(self._at_s(), META, rate_hz=audio_format.rate_hz)

    def _let_go(self) -> None:
        super()._let_go()
        LOG_LINES.remove(self.id)
        report = self.close_report
        try:
            self._pending.forget()
            self._pending.tape.end(self._has_failed or report is None or not ended_well(report))
        except Exception:  # noqa: BLE001 (as in `_begin`)
            warn("a recording could not be ended: its recorder failed", exc_info=True)

    # What is noted

    def _at_s(self) -> float:
        """The time since the accept, in any thread: lines of the log come from all."""
        return self.now_s() - self._pending.origin_s

    def _note_stats(self, at_s: float) -> None:
        self._pending.tape.note(at_s, "stats", **_fields(self.stats()))

    def _note_line(self, level: int, text: str, is_own: bool) -> None:
        if is_own and level >= logging.ERROR:
            self._has_failed = True  # `on_disconnect`, which nobody else tells
        self._pending.tape.note(self._at_s(), "log", level=logging.getLevelName(level), text=text)


class RecordedGaps(Gaps):
    """The gaps of a recorded call."""

    __slots__ = ("_pending",)

    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self._pending = pending

    def count(self, gap: Gap, *, loop_was_blocked: bool) -> None:
        """See `Gaps`."""
        super().count(gap, loop_was_blocked=loop_was_blocked)
        pending = self._pending
        until_s = gap.until_s - pending.origin_s
        cause = "loop blocked" if loop_was_blocked else gap.cause
        pending.tape.note(pending.at_s(), "gap", cause=cause, since_s=until_s - gap.dry_s, until_s=until_s)


def _fields(stats: ConnectionStats) -> dict[str, object]:
    return {name: getattr(stats, name) for name in _STATS}


def ended_well(report: CloseReport) -> bool:
    """Whether a call was closed as calls are that went well, and nobody heard a gap."""
    if report.stats.underruns:
        return False
    if report.closed_by in ("session", "program"):
        return report.code in WENT_WELL
    return report.closed_by == "server" and report.code == SERVICE_RESTART
