"""The targets, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .results import Results

LEAD_AND_BATCH_MS = 300.0
FRAME_MS = 20.0


@dataclass(frozen=True, slots=True)
class Target:
    """A number, how to get it from a run, and what it should be. The number is None where nothing tells it."""

    text: str
    number: Callable[[Results], float | None]
    comparison: Literal["≤", "≥"]
    limit: float
    unit: str = ""

    def met(self, results: Results) -> bool | None:
        """None: not measured."""
        number = self.number(results)
        if number is None:
            return None
        return number <= self.limit if self.comparison == "≤" else number >= self.limit

    def verdict(self, results: Results) -> str:
        """In one line."""
        number, met = self.number(results), self.met(results)
        goal = f"{self.text} {self.comparison} {self.limit:g}{self.unit}"
        if number is None:
            return f"not measured: {goal}"
        return f"{'met' if met else '**missed**'}: {goal}: {number:.3g}{self.unit}"


def _ratio(row: str, peer: str, other: str, name: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(row, peer, other, name)


def _worst(row: str, peer: str, *names: str) -> Callable[[Results], float | None]:
    def number(results: Results) -> float | None:
        values = [results.worst(row, peer, name) for name in names]
        return max((value for value in values if value is not None), default=None)

    return number


def _median(row: str, peer: str, name: str) -> Callable[[Results], float | None]:
    def number(results: Results) -> float | None:
        middle = results.spread(row, peer, name)
        return middle.median if middle else None

    return number


def _growth(peer: str) -> Callable[[Results], float | None]:
    def number(results: Results) -> float | None:
        many = results.spread("growth", peer, "us_a_message", 1000)
        few = results.spread("growth", peer, "us_a_message", 100)
        return many.median / few.median if many and few else None

    return number


def _cost(row: str, peer: str, other: str) -> Callable[[Results], float | None]:
    return _ratio(row, peer, other, "us_a_message")


TARGETS = (
    Target("in, of the reference's cost", _cost("in", "ours", "reference"), "≤", 0.31),
    Target("echo, of the reference's cost", _cost("echo", "ours", "reference"), "≤", 0.40),
    Target("on_audio in, of on_message", _cost("in", "ours-on-audio", "ours"), "≤", 1.1),
    Target("on_audio echo, of on_message", _cost("echo", "ours-on-audio", "ours"), "≤", 1.1),
    Target("async for in, of on_message", _cost("in", "ours-for", "ours"), "≤", 1.1),
    Target("async for echo, of on_message", _cost("echo", "ours-for", "ours"), "≤", 1.1),
    Target("waiting in, of the reference's", _cost("in", "ours-waiting", "reference-waiting"), "≤", 0.58),
    Target("waiting echo, of the reference's", _cost("echo", "ours-waiting", "reference-waiting"), "≤", 0.58),
    Target("TLS in, of the reference's under TLS", _cost("in", "ours-tls", "reference-tls"), "≤", 0.5),
    Target("TLS echo, of the reference's under TLS", _cost("echo", "ours-tls", "reference-tls"), "≤", 0.6),
    Target("mounted in FastAPI in, of alone", _cost("in", "ours-fastapi", "ours"), "≤", 1.1),
    Target("mounted in FastAPI echo, of alone", _cost("echo", "ours-fastapi", "ours"), "≤", 1.1),
    Target("under plain uvicorn in, of a bare application", _cost("in", "ours-uvicorn", "asgi"), "≤", 1.3),
    Target("under plain uvicorn echo, of a bare application", _cost("echo", "ours-uvicorn", "asgi"), "≤", 1.3),
    Target("memory, of the reference's", _ratio("memory", "ours", "reference", "rss_kb"), "≤", 1.0),
    Target("memory under TLS, of the reference's", _ratio("memory", "ours-tls", "reference-tls", "rss_kb"), "≤", 0.2),
    Target("play, of the reference's cost per frame", _ratio("play", "ours", "reference", "us_a_frame"), "≤", 0.8),
    Target("play, gaps heard in all rounds", _worst("play", "ours", "gaps"), "≤", 0),
    Target("play with uvloop, gaps heard in all rounds", _worst("play", "ours-uvloop", "gaps"), "≤", 0),
    Target(
        "play, furthest ahead of any stream (lead, one batch, and the frame being played)",
        _worst("play", "ours", "ahead_max_ms"),
        "≤",
        LEAD_AND_BATCH_MS + FRAME_MS,
        " ms",
    ),
    Target("capacity, of the reference's", _ratio("capacity", "ours", "reference", "streams"), "≥", 2.4),
    Target("capacity, of pipecat's", _ratio("capacity", "ours", "pipecat", "streams"), "≥", 5),
    Target(
        "barge-in, from the call to the last old frame on the wire, or heard",
        _worst("barge-in", "ours", "last_old_max_ms", "old_left_max_ms"),
        "≤",
        LEAD_AND_BATCH_MS + FRAME_MS,
        " ms",
    ),
    Target(
        "barge-in, from the call to the first new frame, p99",
        _median("barge-in", "ours", "first_new_p99_ms"),
        "≤",
        30,
        " ms",
    ),
    Target("cost per message of 1,000 streams, of that of 100", _growth("ours"), "≤", 1.3),
    Target("the same with uvloop", _growth("ours-uvloop"), "≤", 1.3),
)
