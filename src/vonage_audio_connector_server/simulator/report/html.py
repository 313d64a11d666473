"""The report as one HTML file: of one call, or of many at a glance. Nothing in it comes from the network.

It needs plotly, jinja2 and numpy: the extra `cli`. Whatever users or peers wrote is escaped, and by its
Content-Security-Policy the file may load nothing.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ...errors import MissingExtraError
from ...recording import Recording
from .make import percentile, report_from
from .numbers import numbers_of
from .report import SimulationReport
from .stereo import stereo_wav
from .timeline import Timeline

AUDIO_BYTES = 24_000_000
"""So much audio goes into one file, as WAV: about 6 minutes at 16 kHz."""

AUDIO_CALLS = 8
"""Of so many calls; those with problems come first."""

_BINS, _ALL_BINS, _LEAST_BINS = 5000, 120_000, 500  # steps of the waveforms: of one call, of all, of one of many
_EVENTS = 400
_EVENT_CHARACTERS = 2_000
_PAGE = Path(__file__).with_name("page")


def write_html(
    path: str | PathLike[str],
    recordings: Sequence[Recording],
    *,
    title: str = "Audio Connector call",
    reports: Sequence[SimulationReport] | None = None,
) -> None:
    """Write the report of one or many calls as one HTML file, replacing what is there.

    Args:
        path: of the file.
        recordings: the calls.
        title: stands on top.
        reports: the reports of the calls, in the same order; None: they are made here, without comparing.

    Raises:
        MissingExtraError: plotly, jinja2 or numpy is not installed.
        OSError: it can't be written.
    """
    Path(path).write_text(render_html(recordings, title=title, reports=reports), encoding="utf-8")


def render_html(
    recordings: Sequence[Recording],
    *,
    title: str = "Audio Connector call",
    reports: Sequence[SimulationReport] | None = None,
) -> str:
    """The same as a text."""
    try:
        import jinja2
        import numpy  # noqa: F401 (only to see whether it is there)
        from plotly.offline import get_plotlyjs
    except ImportError as exc:
        raise MissingExtraError("the report as HTML", "cli") from exc
    timelines = [Timeline.of(recording) for recording in recordings]
    made = list(reports) if reports is not None else [report_from(timeline) for timeline in timelines]
    calls = [_Call(index, *both) for index, both in enumerate(zip(timelines, made, strict=True))]
    calls.sort(key=lambda call: call.rank, reverse=True)
    bins = min(_BINS, max(_LEAST_BINS, _ALL_BINS // max(1, len(calls))))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        calls=_views(calls),
        summary=_summary(made),
        figures=_script_json({call.id: call.figure(bins) for call in calls}),
        css=(_PAGE / "report.css").read_text(encoding="utf-8"),
        script=(_PAGE / "report.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


class _Call:
    """One call of the page."""

    def __init__(self, index: int, timeline: Timeline, report: SimulationReport) -> None:
        meta = timeline.recording.meta
        self.id = f"call-{index + 1}"
        self.name = str(meta.get("connection_id") or f"Call {index + 1}")
        self.timeline = timeline
        self.report = report
        self.failed = sum(verdict.ok is False for verdict in report.verdicts)

    @property
    def rank(self) -> tuple[float, ...]:
        """Problems first, then the longest gaps, then the slowest answer."""
        return self.failed, self.report.gap_ms, self.report.answer_max_s or 0.0

    def figure(self, bins: int) -> dict[str, Any]:
        """The picture of it."""
        from .picture import picture_of

        return picture_of(self.timeline, bins)

    def view(self, wav: bytes | None) -> dict[str, Any]:
        """All that the template shows of it."""
        from .strip import strip_of

        timeline, report = self.timeline, self.report
        events = [event for event in timeline.events if event.kind != "log"]
        silent_s = [one.silent_after_s for one in report.interruptions if one.silent_after_s is not None]
        return {
            "id": self.id,
            "name": self.name,
            "report": report,
            "failed": self.failed,
            "silent_s": max(silent_s, default=None),
            "verdicts": sorted(report.verdicts, key=lambda verdict: verdict.ok is not False),  # what is wrong first
            "numbers": list(numbers_of(report)),
            "events": [_shortened(event.text, event) for event in events[:_EVENTS]],
            "events_left_out": max(0, len(events) - _EVENTS),
            "log": [event for event in timeline.events if event.kind == "log"][-_EVENTS:],
            "strip": strip_of(timeline),
            "marks": _marks(timeline),
            "begin_s": timeline.begin_s,
            "audio": "" if wav is None else f"data:audio/wav;base64,{base64.b64encode(wav).decode()}",
            "seen_by_server": timeline.seen_by_server,
        }


def _views(calls: Sequence[_Call]) -> list[dict[str, Any]]:
    """The calls as the template shows them; audio as long as there is room for it."""
    left_bytes = AUDIO_BYTES
    views: list[dict[str, Any]] = []
    for call in calls:
        wav = None
        needed_bytes = 2 * max(len(call.timeline.said), len(call.timeline.heard))
        if 0 < needed_bytes <= left_bytes and sum(bool(view["audio"]) for view in views) < AUDIO_CALLS:
            wav = stereo_wav(call.timeline)
            left_bytes -= len(wav)
        views.append(call.view(wav))
    return views


def _shortened(text: str, event: Any) -> dict[str, Any]:
    shown = text if len(text) <= _EVENT_CHARACTERS else f"{text[:_EVENT_CHARACTERS]}…"
    return {"at_s": event.at_s, "kind": event.kind, "title": event.title, "text": shown}


def _marks(timeline: Timeline) -> list[tuple[str, str]]:
    """The key of the picture: the marks that stand in it."""
    marks = [("said", "said"), ("heard", "heard")]
    marks += [("gap", "gap")] * bool(timeline.gaps)
    marks += [("interruption", "interrupted, until silent")] * bool(timeline.turns.interruptions)
    marks += [("fault", "network disturbed on purpose")] * bool(timeline.faults)
    marks += [("mute", "muted")] * bool(timeline.mutes)
    return marks


def _summary(reports: Sequence[SimulationReport]) -> dict[str, Any]:
    """All calls together."""
    after_s = sorted(answer.after_s for report in reports for answer in report.answers if answer.after_s is not None)
    silent_s = sorted(
        one.silent_after_s for report in reports for one in report.interruptions if one.silent_after_s is not None
    )
    gaps = [gap for report in reports for gap in report.gaps]
    return {
        "calls": len(reports),
        "good": sum(all(verdict.ok is not False for verdict in report.verdicts) for report in reports),
        "asked": sum(len(report.answers) for report in reports),
        "answered": len(after_s),
        "answer_p50_s": percentile(after_s, 50),
        "answer_p95_s": percentile(after_s, 95),
        "answer_max_s": after_s[-1] if after_s else None,
        "gaps": len(gaps),
        "gap_s": sum(gap.ms for gap in gaps) / 1000,
        "causes": Counter(gap.cause or "not known from here" for gap in gaps).most_common(4),
        "interruptions": len(silent_s),
        "silent_p50_s": percentile(silent_s, 50),
        "silent_max_s": silent_s[-1] if silent_s else None,
    }


def _script_json(value: object) -> str:
    """JSON that can stand inside a script element: nothing in it ends one, or begins a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
