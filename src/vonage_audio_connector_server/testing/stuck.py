"""A test on a virtual clock that waits for what never comes."""

from __future__ import annotations

import linecache
import sysconfig
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any, TypeVar

import anyio

from ..errors import AudioConnectorConfigError
from ..runtime import virtual_clock

T = TypeVar("T")

LIMIT_S = 3600.0
"""How long a test may go on in virtual time, unless it says otherwise."""

_LIBRARIES = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))


class StuckError(AssertionError):
    """The test waits, and nothing is ever going to happen; or its time is over. It says where it waits."""


async def limited(function: Coroutine[Any, Any, T], limit_s: float) -> T:
    """What a coroutine returns.

    Args:
        function: a coroutine that has not begun.
        limit_s: how long it may take, in virtual time.

    Raises:
        StuckError: it waits for what never comes.
        AudioConnectorConfigError: there is no virtual clock.
    """
    clock = virtual_clock()
    if clock is None:
        function.close()
        raise AudioConnectorConfigError(
            "no virtual clock runs here: another plugin than that of anyio has taken this test (pytest-asyncio does so "
            "with asyncio_mode = auto: set it to strict, or call run(…) in a test that is no coroutine)"
        )
    scope = anyio.CancelScope()
    told = ""

    def end(reason: str) -> None:
        nonlocal told
        told = f"{reason}: it waits {_place_of(function)}"
        scope.cancel()

    clock.watch(end, limit_s)
    try:
        with scope:
            return await function
    finally:
        clock.watch(None)
    raise StuckError(told)


def _place_of(waiting: Any) -> str:
    """Where a coroutine waits: the innermost place that is none of a library."""
    place = "somewhere"
    while waiting is not None:
        kind = "gi" if isinstance(waiting, Generator) else "cr"
        frame = getattr(waiting, f"{kind}_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(_LIBRARIES):
            file, line = frame.f_code.co_filename, frame.f_lineno
            source = linecache.getline(file, line).strip()
            place = f"at {file}:{line}, in {frame.f_code.co_name}: {source}"
        waiting = getattr(waiting, f"{kind}_{'yieldfrom' if kind == 'gi' else 'await'}", None)
    return place
