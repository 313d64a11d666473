"""What an examination has found: a line for each check. No I/O, and no secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

Status = Literal["passed", "failed", "warning", "skipped"]
"""`warning`: it works, and may not always. `skipped`: it can't be told, or a line before it has failed."""

NAMES = (
    "address",
    "tcp",
    "tls",
    "certificate",
    "upgrade",
    "accept",
    "path",
    "query",
    "headers",
    "first message",
    "audio out",
    "audio in",
    "buffering",
    "ping",
    "texts",
    "idle",
    "close",
    "compression",
)
"""The checks, in the order in which they are made."""

Number = float | int | str | None


@dataclass(frozen=True, slots=True)
class Line:
    """What one check has found.

    Attributes:
        name: one of `NAMES`.
        status: see `Status`.
        text: what was found, as a sentence.
        advice: what to do; empty where there is nothing to do.
        numbers: what was measured; each name ends in its unit.
    """

    name: str
    status: Status
    text: str
    advice: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """In values that JSON can express."""
        numbers = {name: round(value, 4) if isinstance(value, float) else value for name, value in self.numbers.items()}
        return {"name": self.name, "status": self.status, "text": self.text, "advice": self.advice, "numbers": numbers}


OnLine = Callable[[Line], None]


@dataclass
class Diagnosis:
    """All lines of an examination.

    Attributes:
        url: the address, without the values of its query.
        lines: one for each of `NAMES`.
    """

    url: str
    lines: list[Line] = field(default_factory=list)

    def __getitem__(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)

    @property
    def ok(self) -> bool:
        """Whether no check has failed."""
        return all(line.status != "failed" for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """In values that JSON can express."""
        return {"url": self.url, "ok": self.ok, "lines": [line.to_dict() for line in self.lines]}


def masked(url: str) -> str:
    """An address without what may be secret in it: user, password, the values of the query, and the fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    query = "&".join(_masked_pair(pair) for pair in parts.query.split("&")) if parts.query else ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query, fragment="").geturl()


def _masked_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}=***" if equals else "***"


def in_two(sentence: str) -> tuple[str, str]:
    """What was wrong, and what to do: the two halves of a sentence of `simulator.failures`."""
    for beginning in ("no connection: ", "no WebSocket connection: "):
        sentence = sentence.removeprefix(beginning)
    text, _, advice = sentence.partition(": ")
    return text, advice


def milliseconds(seconds: float) -> str:
    """A short time, in words."""
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.0095 else f"{seconds * 1000:.1f} ms"
