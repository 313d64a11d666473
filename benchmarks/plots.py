"""The run as pictures: SVG, legible at the width of a README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .peers import Peer
from .results import Results
from .rows import GROWTH_STREAMS

OURS, THEIRS = "#7a3ff2", "#9aa3ad"
mpl.rcParams.update(
    {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "benchmarks"}
)


def draw(results: Results, peers: Sequence[Peer], folder: Path) -> list[Path]:
    """One file for each picture that there are figures for."""
    drawn = [
        _bars(
            results,
            peers,
            folder / "cost.svg",
            [
                ("in", "us_a_message", "audio in, µs a message"),
                ("echo", "us_a_message", "echo, µs a message"),
                ("play", "us_a_frame", "answers, µs a frame"),
            ],
        ),
        _bars(
            results,
            peers,
            folder / "latency.svg",
            [("echo", "echo_p50_ms", "echo, p50, ms"), ("echo", "echo_p99_ms", "echo, p99, ms")],
        ),
        _bars(results, peers, folder / "capacity.svg", [("capacity", "streams", "duplex streams on one core")]),
        _bars(results, peers, folder / "memory.svg", [("memory", "rss_kb", "an idle connection, kB")]),
        _growth(results, peers, folder / "growth.svg"),
    ]
    return [path for path in drawn if path]


def _bars(results: Results, peers: Sequence[Peer], path: Path, panels: list[tuple[str, str, str]]) -> Path | None:
    shown = [panel for panel in panels if any(results.spread(panel[0], peer.name, panel[1]) for peer in peers)]
    named = [peer for peer in peers if any(results.spread(row, peer.name, name) for row, name, _ in shown)]
    if not shown:
        return None
    size = (4.2 + 2.6 * len(shown), 0.8 + 0.42 * len(named))
    _, axes = plt.subplots(1, len(shown), figsize=size, sharey=True, squeeze=False)
    for axis, (row, name, title) in zip(axes[0], shown, strict=True):
        _panel(axis, results, named, row, name)
        axis.set_title(title, fontsize=11)
    axes[0][0].set_yticks(range(len(named)), [_label(results, peer, [row for row, _, _ in shown]) for peer in named])
    axes[0][0].invert_yaxis()
    return _save(path)


def _label(results: Results, peer: Peer, rows: Sequence[str]) -> str:
    """Who had fewer streams than the others is said to."""
    counts = [found for row in rows if row != "capacity" and (found := results.spread(row, peer.name, "streams"))]
    if peer.most_streams and counts:
        return f"{peer.title} ({counts[0].median:.0f} streams)"
    return peer.title


def _panel(axis: Axes, results: Results, peers: Sequence[Peer], row: str, name: str) -> None:
    medians = [found.median for peer in peers if (found := results.spread(row, peer.name, name))]
    limit = _limit(medians)
    for place, peer in enumerate(peers):
        found = results.spread(row, peer.name, name)
        if found is None:
            axis.text(0, place, " –", va="center")
            continue
        axis.barh(place, min(found.median, limit), color=OURS if peer.name.startswith("ours") else THEIRS)
        digits = 0 if found.median >= 100 or found.median == int(found.median) else 1
        sign = "≥ " if results.worst(row, peer.name, "load_was_the_limit") else "→ " if found.median > limit else ""
        axis.text(min(found.median, limit), place, f" {sign}{found.median:,.{digits}f}", va="center")
    axis.margins(x=0.3)
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)


def _limit(values: Sequence[float]) -> float:
    """Where a bar is cut off (its label then has an arrow), so that one peer doesn't make all others look alike."""
    greatest, second = [*sorted(values, reverse=True), 0.0, 0.0][:2]
    return 1.5 * second if second and greatest > 2 * second else greatest


def _growth(results: Results, peers: Sequence[Peer], path: Path) -> Path | None:
    lines = {}
    for peer in peers:
        found = [(n, results.spread("growth", peer.name, "us_a_message", n)) for n in GROWTH_STREAMS]
        lines[peer] = [(n, spread.median) for n, spread in found if spread]
    if not any(lines.values()):
        return None
    _, axis = plt.subplots(figsize=(8, 4))
    for peer, points in lines.items():
        if points:
            is_ours = peer.name.startswith("ours")
            style = {"color": OURS, "linestyle": "--" if "uvloop" in peer.name else "-"} if is_ours else {}
            axis.plot(*zip(*points, strict=True), marker="o", label=peer.title, **style)
    axis.set_xscale("log")
    axis.set_xticks(GROWTH_STREAMS, [f"{n:,}" for n in GROWTH_STREAMS])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel("streams (all together at most 5,000 messages a second)")
    axis.set_ylabel("µs a message that comes")
    axis.legend(frameon=False)
    return _save(path)


def _save(path: Path) -> Path:
    plt.savefig(path, bbox_inches="tight", facecolor="white", metadata={"Date": None})
    plt.close()
    return path
