"""A call as a strip a finger high, for a table of many: said above, heard below, gaps in red. Needs numpy."""

from __future__ import annotations

from collections.abc import Sequence

from .picture import envelope
from .timeline import Timeline

WIDTH, HEIGHT = 280, 30
_LEAST = 0.02


def strip_of(timeline: Timeline) -> str:
    """An SVG without a word in it."""
    span_s = max(timeline.end_s - timeline.begin_s, 0.02)

    def x(at_s: float) -> float:
        return round(min(max((at_s - timeline.begin_s) / span_s, 0.0), 1.0) * WIDTH, 1)

    def band(name: str, from_s: float, to_s: float) -> str:
        width = max(1.5, round(x(to_s) - x(from_s), 1))
        return f'<rect class="{name}" x="{x(from_s)}" y="0" width="{width}" height="{HEIGHT}"/>'

    bands = [band("fault", span.at_s, span.until_s) for span in timeline.faults]
    bands += [band("gap", gap.at_s, gap.until_s) for gap in timeline.gaps]
    marks = [band("interruption", one.at_s, one.at_s) for one in timeline.turns.interruptions]
    middle = HEIGHT / 2
    said = _path(_levels(timeline.said), middle - 1, -1)
    heard = _path(_levels(timeline.heard), middle + 1, 1)
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'{"".join(bands)}<path class="said" d="{said}"/><path class="heard" d="{heard}"/>{"".join(marks)}</svg>'
    )


def _levels(pcm: bytes) -> list[float]:
    """How loud each step of the strip is, from 0 to 1, the loudest as 1."""
    low, high = envelope(pcm, WIDTH // 2)
    if not len(low):
        return []
    loudest = max(_LEAST, float(max(high.max(), -low.min())))
    return [max(float(up), -float(down)) / loudest for up, down in zip(high, low, strict=True)]


def _path(levels: Sequence[float], base: float, direction: int) -> str:
    """The area between the base and the levels."""
    reach = HEIGHT / 2 - 2
    step = WIDTH / max(1, len(levels))
    points = [f"{(at + 0.5) * step:.1f},{base + direction * level * reach:.1f}" for at, level in enumerate(levels)]
    return f"M0,{base:g}L{' '.join(points)}L{WIDTH},{base:g}Z" if points else "M0,0"
