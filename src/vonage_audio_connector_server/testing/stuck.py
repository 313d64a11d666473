"""A test on a virtual clock that waits for what never comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from ..runtime import virtual_clock

LIMIT_S = 3600.0
"""How long a test may go on in virtual time, unless it says otherwise."""


class StuckError(AssertionError):
    """The test waits, and nothing is ever going to happen; or its time is over. Its cause tells where it waits."""


@contextmanager
def limited(limit_s: float = LIMIT_S) -> Iterator[None]:
    """End the block where it is stuck.

    Args:
        limit_s: how long it may take, in virtual time.

    Raises:
        StuckError: it was stuck.
    """
    clock = virtual_clock()
    scope = anyio.CancelScope()
    reasons: list[str] = []
    waiting: BaseException | None = None

    def end(reason: str) -> None:
        reasons.append(reason)
        scope.cancel()

    clock.watch(end, limit_s)
    try:
        with scope:
            try:
                yield
            except anyio.get_cancelled_exc_class() as exc:
                waiting = exc  # its traceback ends where the block waited
                raise
    finally:
        clock.watch(None)
    if scope.cancelled_caught:
        try:
            raise StuckError(reasons[0]) from waiting
        finally:
            waiting = None  # its traceback holds this frame
