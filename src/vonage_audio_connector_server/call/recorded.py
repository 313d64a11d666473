"""A call that is recorded, and the choice whether one is: made once, at the accept.

Nothing else knows of recorders, so a call that is not recorded pays nothing for them.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime

from ..close_codes import SERVICE_RESTART, WENT_WELL
from ..config import AudioConnectorConfig
from ..core.gaps import Gap, Gaps
from ..core.json_audio import JSONTransport
from ..formats import FRAME_MS
from ..link.base import Link
from ..link.recorded import recording_sink, warn_unrecorded
from ..recording.log_lines import LOG_LINES, shortened
from ..recording.recorder import META, Recorder, SoleRecorder, Tape
from ..recording.recording import Kind
from ..results import ClosedBy, CloseReport, ConnectionStats
from ..runtime import call_clock
from ..sparing import warn
from ..steps import Handler
from .call import Call
from .dispatcher import Deliver
from .handlers import is_only_closed
from .inbox import Item

STATS_S = 10.0
"""So often the counters are recorded, while messages come."""

MOST_TRACEBACKS = 10
"""Of the errors of one call: a handler may fail on every frame."""

_AUDIO_IN, _TEXT_IN = Kind.AUDIO_TO_SERVER, Kind.TEXT_TO_SERVER
_STATS = [entry.name for entry in fields(ConnectionStats)]


def make_call(
    link: Link, config: AudioConnectorConfig, call_id: str, place: str, recorder: Recorder | None = None
) -> Call:
    """A call, recorded where the settings, or who serves it, say so; the other arguments are those of `Call`."""
    if isinstance(recorder, SoleRecorder):
        transport = JSONTransport() if config.transport == "auto" else config.transport
        recorder.audio_field = transport.receive_field if isinstance(transport, JSONTransport) else None
    else:
        recorder = config.recorder or recorder
    origin_s = call_clock()()
    tape = None if recorder is None else _begin(recorder, call_id, place, origin_s)
    if tape is None:
        call = Call(link, config, call_id, place)
    else:
        call = RecordedCall(link, config, call_id, place, tape, origin_s)
    if config.sample_rate_hz is not None:
        from .incoming_rate import IncomingRate  # only then: it takes the extra `audio`

        call.deliver = IncomingRate(call.session, config.sample_rate_hz, call.deliver, call.turn, call.clock).deliver
    if isinstance(call, RecordedCall):
        call.record()
    return call


def _begin(recorder: Recorder, call_id: str, place: str, origin_s: float) -> Tape | None:
    meta = {
        "seen_by": "server",
        "began": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "frame_ms": FRAME_MS,
        "place": shortened(place),
        "connection_id": call_id,
        "origin_s": origin_s,
    }
    try:
        tape = recorder.begin(meta)
        if tape is not None and not isinstance(tape, Tape):
            raise TypeError(f"its begin returned {tape!r}, which is no Tape")
        return tape
    except Exception:  # noqa: BLE001 (a recorder of the program's own may raise anything; it must not cost the call)
        warn("a call is not recorded: its recorder failed", exc_info=True)
        return None


class Track:
    """What one call tells its tape: what comes, before it is delivered, so that it is there if the handler kills us.

    Args:
        tape: where it is recorded.
        origin_s: the time of the accept on the clock of the call.

    Attributes:
        tape: as given.
        origin_s: as given.
        next: takes what comes, and when it came.
        note_stats: called every `STATS_S`, while messages come, with that time; returns when to call it next.
        text: the text that is being taken, as it came.
    """

    __slots__ = ("_add", "_due_s", "next", "note_stats", "origin_s", "tape", "text")

    def __init__(self, tape: Tape, origin_s: float) -> None:
        self.tape = tape
        self.origin_s = origin_s
        self.next: Deliver
        self.note_stats: Callable[[float], float] = float
        self.text = ""
        self._add = tape.add
        self._due_s = origin_s

    def deliver(self, item: Item, now_s: float) -> None:
        """A message came."""
        add, deliver = self._add, self.next  # as local names they are called faster
        try:
            if type(item) is bytes:
                add(now_s - self.origin_s, _AUDIO_IN, item)
            else:
                add(now_s - self.origin_s, _TEXT_IN, self.text.encode("utf-8", "replace"))
            if now_s >= self._due_s:
                self._due_s = self.note_stats(now_s)
        except Exception:  # noqa: BLE001 (whatever a recorder of the program's own raises)
            warn_unrecorded()
        deliver(item, now_s)


class RecordedCall(Call):
    """A call that tells a tape what happens.

    Args:
        link: its messages.
        config: the settings.
        call_id: see `Call`.
        place: see `Call`.
        tape: where it is recorded.
        origin_s: the time of the accept on the clock of the call.
    """

    def __init__(
        self, link: Link, config: AudioConnectorConfig, call_id: str, place: str, tape: Tape, origin_s: float
    ) -> None:
        super().__init__(link, config, call_id, place)
        self._track = Track(tape, origin_s)
        self._errors = 0
        self._has_failed = False  # a handler has

    def record(self) -> None:
        """Begin; to be called when all else stands that takes what comes."""
        track, clock = self._track, self.clock
        track.next, self.deliver = self.deliver, track.deliver
        track.note_stats = self._note_transport
        self.output.wrap_sink(lambda sink: recording_sink(sink, track.tape, clock, track.origin_s))
        self.out.gaps = RecordedGaps(track, clock)

    # What a call does

    async def run(self, on_connect: Handler, *args: object) -> None:
        """See `Call`."""
        LOG_LINES.add(self.id, self._note_line)
        await super().run(on_connect, *args)

    def text_received(self, text: str) -> None:
        """See `Call`."""
        self._track.text = text
        super().text_received(text)

    def lost(self, code: int, reason: str, by: ClosedBy) -> None:
        """See `Call`."""
        was_open = self.close_report is None
        super().lost(code, reason, by)
        report = self.close_report
        if was_open and report is not None:
            note, at_s = self._track.tape.note, self._at_s()
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
            self._track.tape.note(self._at_s(), "error", text=shortened("".join(lines).rstrip()))
        try:
            await super().report(error)
        finally:
            del error  # its traceback leads to this frame

    def _format_known(self) -> None:
        super()._format_known()
        audio_format = self.session.audio_format
        if audio_format is not None:
            self._track.tape.note(self._at_s(), META, rate_hz=audio_format.rate_hz)

    def _let_go(self) -> None:
        super()._let_go()
        LOG_LINES.remove(self.id)
        self._track.note_stats = float  # which holds nobody
        report = self.close_report
        try:
            self._track.tape.end(self._has_failed or report is None or not ended_well(report))
        except Exception:  # noqa: BLE001 (as in `_begin`)
            warn("a recording could not be ended: its recorder failed", exc_info=True)

    # What is noted

    def _at_s(self) -> float:
        """The time since the accept, in any thread: lines of the log come from all."""
        return self.now_s() - self._track.origin_s

    def _note_transport(self, now_s: float) -> float:
        """Note how audio travels, once that is known. See `Track.note_stats`."""
        transport = self.session.transport
        if transport is None:
            return now_s  # the next message may tell
        self._track.tape.note(now_s - self._track.origin_s, META, transport=transport)
        self._track.note_stats = self._note_stats
        return now_s + STATS_S

    def _note_stats(self, now_s: float) -> float:
        self._track.tape.note(now_s - self._track.origin_s, "stats", **_fields(self.stats()))
        return now_s + STATS_S

    def _note_line(self, level: int, text: str, is_own: bool) -> None:
        if is_own and level >= logging.ERROR:
            self._has_failed = True  # `on_disconnect`, which nobody else tells
        self._track.tape.note(self._at_s(), "log", level=logging.getLevelName(level), text=text)


class RecordedGaps(Gaps):
    """The gaps of a recorded call."""

    __slots__ = ("_clock", "_track")

    def __init__(self, track: Track, clock: Callable[[], float]) -> None:
        super().__init__()
        self._track = track
        self._clock = clock

    def count(self, gap: Gap, *, loop_was_blocked: bool) -> None:
        """See `Gaps`."""
        super().count(gap, loop_was_blocked=loop_was_blocked)
        tape, origin_s = self._track.tape, self._track.origin_s
        until_s = gap.until_s - origin_s
        cause = "loop blocked" if loop_was_blocked else gap.cause
        tape.note(self._clock() - origin_s, "gap", cause=cause, since_s=until_s - gap.dry_s, until_s=until_s)


def _fields(stats: ConnectionStats) -> dict[str, object]:
    return {name: getattr(stats, name) for name in _STATS}


def ended_well(report: CloseReport) -> bool:
    """Whether a call was closed as calls are that went well, and nobody heard a gap."""
    if report.stats.underruns:
        return False
    if report.closed_by in ("session", "program"):
        return report.code in WENT_WELL
    return report.closed_by == "server" and report.code == SERVICE_RESTART
