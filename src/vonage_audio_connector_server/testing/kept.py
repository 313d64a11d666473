"""The calls of the test that runs, so that its failure can show what was said and heard."""

from __future__ import annotations

from typing import Any

_kept: list[Any] | None = None  # None: nobody asks for them


def begin() -> None:
    """A test begins: keep its calls from now on."""
    global _kept
    _kept = []


def keep(call: Any) -> None:
    """A call begins."""
    if _kept is not None:
        _kept.append(call)


def end() -> list[Any]:
    """The test is over; returns its calls."""
    global _kept
    calls, _kept = _kept or [], None
    return calls
