"""Who listens beside the program: each gets what comes before the program does, as the wire brought it.

Plain code in the thread of the call's event loop.
"""

from __future__ import annotations

from collections.abc import Callable

from .call import Call
from .inbox import Item

Tap = Callable[[Item, float], None]
"""Gets a message, and when it came. It must not raise."""


class Taps:
    """Stands between a call and what it delivers to.

    Args:
        call: which one.
    """

    def __init__(self, call: Call) -> None:
        self.taps: tuple[Tap, ...] = ()
        self._deliver = call.deliver

    def __call__(self, item: Item, now_s: float) -> None:
        """A message came."""
        for tap in self.taps:
            tap(item, now_s)
        self._deliver(item, now_s)


def add_tap(call: Call, tap: Tap) -> Callable[[], None]:
    """Let somebody listen from now on; returns what ends it. In the call's thread."""
    taps = call.deliver if isinstance(call.deliver, Taps) else Taps(call)
    call.deliver = taps
    taps.taps = (*taps.taps, tap)
    call.dispatcher.is_tapped = True

    def remove() -> None:
        taps.taps = tuple(one for one in taps.taps if one is not tap)
        call.dispatcher.is_tapped = bool(taps.taps)

    return remove
