"""The picture of a call, as a plotly figure in plain dicts: said, heard, the router's buffer, and the server's frames.

All four lie on one time axis, so zooming one zooms all. Colours are names (`$gap`) that the page replaces, in light and
dark. It needs numpy.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .hole import Hole
from .timeline import Timeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Figure = dict[str, Any]

HEIGHT_PX = 640

# Which part of the height each row has, from the bottom.
_INTERVALS, _BUFFER, _HEARD, _SAID = (0.0, 0.11), (0.19, 0.33), (0.41, 0.66), (0.73, 0.98)
_TURNS = 0.695  # the line between said and heard, where answers are measured

_LABELS = 14
_LABEL_LENGTH = 40
_CHARACTER_SHARE = 0.0072  # of the width of the picture, on a laptop
_LEAST_PEAK = 0.05


def picture_of(timeline: Timeline, bins: int) -> Figure:
    """The figure; waveforms are drawn in so many steps."""
    peak = max(_LEAST_PEAK, 1.08 * max(_peak(timeline.said), _peak(timeline.heard)))
    data = [
        *_waveform(timeline.said, timeline, bins, "$said", "y"),
        *_waveform(timeline.heard, timeline, bins, "$heard", "y2"),
        _buffer(timeline, bins),
        _intervals(timeline, bins),
    ]
    if timeline.gaps:
        data.append(_gap_marks(timeline, peak))
    wave = {"range": [-peak, peak], "fixedrange": True, "showticklabels": False, "zeroline": True, "showgrid": False}
    scale = {"rangemode": "tozero", "fixedrange": True, "nticks": 4, "showgrid": True, "zeroline": False}
    layout = {
        "height": HEIGHT_PX,
        "margin": {"l": 52, "r": 12, "t": 18, "b": 38},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "$muted", "size": 11},
        "showlegend": False,
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "$muted", "activecolor": "$ink"},
        "dragmode": "zoom",
        "hoverlabel": {"bgcolor": "$panel", "bordercolor": "$line", "font": {"color": "$ink"}},
        "xaxis": {
            "range": [timeline.begin_s, timeline.end_s],
            "anchor": "y4",
            "ticksuffix": " s",
            "gridcolor": "$grid",
            "zeroline": False,
            "nticks": 14,
        },
        "yaxis": {"domain": list(_SAID), **_coloured(wave)},
        "yaxis2": {"domain": list(_HEARD), **_coloured(wave)},
        "yaxis3": {"domain": list(_BUFFER), **_coloured(scale)},
        "yaxis4": {"domain": list(_INTERVALS), **_coloured(scale)},
        "shapes": list(_shapes(timeline)),
        "annotations": [*_titles(), *_labels(timeline)],
    }
    return {"data": data, "layout": layout}


def envelope(pcm: bytes, bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest sample of each of at most `bins` equal stretches, full scale as 1."""
    import numpy as np

    samples = np.frombuffer(pcm, dtype="<i2")
    width = max(1, -(-len(samples) // max(1, bins)))
    padded = np.pad(samples, (0, -len(samples) % width)).reshape(-1, width) / 32_768
    return padded.min(axis=1), padded.max(axis=1)


def _peak(pcm: bytes) -> float:
    import numpy as np

    return float(np.abs(np.frombuffer(pcm, dtype="<i2").astype(np.int32)).max(initial=0)) / 32_768


def _coloured(axis: Figure) -> Figure:
    return {**axis, "gridcolor": "$grid", "zerolinecolor": "$grid", "anchor": "x"}


def _waveform(pcm: bytes, timeline: Timeline, bins: int, colour: str, axis: str) -> list[Figure]:
    low, high = envelope(pcm, bins)
    if not len(low):
        return []
    step_s = len(pcm) / 2 / timeline.audio_format.rate_hz / len(low)
    common = {
        "type": "scatter",
        "mode": "lines",
        "x0": timeline.begin_s + step_s / 2,
        "dx": step_s,
        "yaxis": axis,
        "line": {"width": 0.6, "color": colour},
        "hoverinfo": "skip",
    }
    return [
        {**common, "y": [round(float(value), 3) for value in high]},
        {**common, "y": [round(float(value), 3) for value in low], "fill": "tonexty", "fillcolor": colour},
    ]


def _buffer(timeline: Timeline, bins: int) -> Figure:
    points = _thinned(timeline.levels, bins)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [round(at_s, 3) for at_s, _ in points],
        "y": [round(level_s, 3) for _, level_s in points],
        "yaxis": "y3",
        "line": {"width": 1.2, "color": "$buffer"},
        "fill": "tozeroy",
        "fillcolor": "$buffer-fill",
        "hovertemplate": "%{y:.2f} s of audio at %{x:.2f} s<extra></extra>",
    }


def _intervals(timeline: Timeline, bins: int) -> Figure:
    points = _thinned([(at_s, 1000 * took_s) for at_s, took_s in timeline.intervals], bins)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [round(at_s, 3) for at_s, _ in points],
        "y": [round(took_ms, 1) for _, took_ms in points],
        "yaxis": "y4",
        "marker": {"size": 3.5, "color": "$buffer"},
        "hovertemplate": "%{y:.0f} ms after the frame before it, at %{x:.2f} s<extra></extra>",
    }


def _thinned(points: Sequence[tuple[float, float]], bins: int) -> list[tuple[float, float]]:
    """Where there are too many points: the first, the lowest, the highest and the last of each stretch of time."""
    if len(points) <= 2 * bins:
        return list(points)
    width_s = 4 * (points[-1][0] - points[0][0]) / bins
    kept: list[tuple[float, float]] = []
    for _, together in groupby(points, lambda point: point[0] // width_s):
        stretch = list(together)
        order = range(len(stretch))
        lowest = min(order, key=lambda at: stretch[at][1])
        highest = max(order, key=lambda at: stretch[at][1])
        kept += [stretch[at] for at in sorted({0, lowest, highest, order[-1]})]
    return kept


def _gap_marks(timeline: Timeline, peak: float) -> Figure:
    """A mark over each gap, which tells its cause when it is pointed at."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [round((gap.at_s + gap.until_s) / 2, 3) for gap in timeline.gaps],
        "y": [round(peak * 0.9, 3)] * len(timeline.gaps),
        "yaxis": "y2",
        "marker": {"size": 9, "symbol": "triangle-down", "color": "$gap"},
        "text": [html.escape(_gap_words(gap, timeline)) for gap in timeline.gaps],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _gap_words(gap: Hole, timeline: Timeline) -> str:
    cause = gap.cause or "not known from here"
    return f"gap of {gap.ms} ms at {gap.at_s:.2f} s: {cause}"


def _shapes(timeline: Timeline) -> Iterable[Figure]:
    for fault in timeline.faults:
        yield _band(fault.at_s, min(fault.until_s, timeline.end_s), "$fault", (0.0, _SAID[1]))
    for mute in timeline.mutes:
        yield _band(mute.at_s, min(mute.until_s, timeline.end_s), "$mute", _SAID)
    for gap in timeline.gaps:
        yield _band(gap.at_s, gap.until_s, "$gap-fill", (_BUFFER[0], _HEARD[1]))
    for one in timeline.turns.interruptions:
        yield _line(one.at_s, one.at_s, _HEARD[0], _SAID[1], "$interruption", "dot")
        if one.silent_after_s:
            yield _band(one.at_s, one.at_s + one.silent_after_s, "$interruption-fill", _HEARD)
    for answer in timeline.turns.answers:
        if answer.after_s and not answer.overlaps:
            yield _line(answer.said_until_s, answer.said_until_s + answer.after_s, _TURNS, _TURNS, "$ink", "solid")


def _band(from_s: float, to_s: float, colour: str, domain: tuple[float, float]) -> Figure:
    at = {"x0": round(from_s, 3), "x1": round(to_s, 3), "y0": domain[0], "y1": domain[1]}
    return {"type": "rect", "yref": "paper", "layer": "below", "fillcolor": colour, "line": {"width": 0}, **at}


def _line(from_s: float, to_s: float, bottom: float, top: float, colour: str, dash: str) -> Figure:
    at = {"x0": round(from_s, 3), "x1": round(to_s, 3), "y0": bottom, "y1": top}
    return {"type": "line", "yref": "paper", "line": {"width": 1.4, "color": colour, "dash": dash}, **at}


def _titles() -> Iterable[Figure]:
    place = {"xref": "paper", "yref": "paper", "x": 0, "showarrow": False}
    for text, domain in (("Said", _SAID), ("Heard", _HEARD)):
        look = {"xanchor": "right", "xshift": -8, "font": {"size": 12, "color": "$ink"}}
        yield {**place, **look, "y": sum(domain) / 2, "text": f"<b>{text}</b>"}
    for text, domain in (("Router’s buffer, s", _BUFFER), ("Between the server’s frames, ms", _INTERVALS)):
        look = {"xanchor": "left", "yanchor": "bottom", "font": {"size": 11, "color": "$ink"}}
        yield {**place, **look, "y": domain[1], "text": f"<b>{text}</b>"}


def _labels(timeline: Timeline) -> Iterable[Figure]:
    """What stands beside the marks; the longest gaps, and never one over the other."""
    turns = timeline.turns
    said = [(one.start_s, one.name, _SAID[1], "$said") for one in timeline.utterances if one.name]
    answered = [
        (answer.said_until_s + answer.after_s / 2, f"{answer.after_s:.2f} s", _TURNS, "$ink")
        for answer in turns.answers
        if answer.after_s and not answer.overlaps
    ]
    silent = [
        (one.at_s, f"silent after {one.silent_after_s:.2f} s", _HEARD[0] - 0.035, "$interruption")
        for one in turns.interruptions
        if one.silent_after_s is not None
    ]
    gaps = [
        ((gap.at_s + gap.until_s) / 2, f"{gap.ms} ms" + (f", {gap.cause}" if gap.cause else ""), _HEARD[1], "$gap")
        for gap in sorted(timeline.gaps, key=lambda gap: gap.ms, reverse=True)[:_LABELS]
    ]
    faults = [(fault.at_s, fault.name, _BUFFER[0] - 0.045, "$fault-ink") for fault in timeline.faults]
    mutes = [
        ((mute.at_s + min(mute.until_s, timeline.end_s)) / 2, "muted", _SAID[0], "$muted") for mute in timeline.mutes
    ]
    for row in (said, answered, silent, gaps, faults, mutes):
        yield from _spaced(row, timeline.end_s - timeline.begin_s)


def _spaced(row: list[tuple[float, str, float, str]], span_s: float) -> Iterable[Figure]:
    taken_s: list[tuple[float, float]] = []
    for at_s, text, y, colour in row:
        shown = text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"
        half_s = (len(shown) + 2) * _CHARACTER_SHARE * span_s / 2
        begin_s, end_s = at_s - half_s, at_s + half_s
        if len(taken_s) < _LABELS and all(end_s <= begin or end <= begin_s for begin, end in taken_s):
            taken_s.append((begin_s, end_s))
            place = {"x": round(at_s, 3), "y": y, "yref": "paper", "yanchor": "bottom", "showarrow": False}
            yield {**place, "text": html.escape(shown), "font": {"size": 10.5, "color": colour}}
