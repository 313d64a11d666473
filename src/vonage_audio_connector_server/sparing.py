"""Warnings that strangers can bring about: a few of a kind, then how many more there were."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import monotonic

logger = logging.getLogger("vonage_audio_connector_server")

WINDOW_S = 10.0
MOST = 20
"""So many of a kind are logged in a window: enough to see whose they are, and no way to fill a disk."""


@dataclass(slots=True)
class _Kind:
    since_s: float
    count: int = 0


_kinds: dict[str, _Kind] = {}


def warn(message: str, *args: object, level: int = logging.WARNING, exc_info: bool = False) -> None:
    """Log a warning; where there were `MOST` of its kind in `WINDOW_S`, count it, and tell the number with the next.

    Args:
        message: the kind, with places for `args` as logging has them.
        args: what differs.
        level: where it is more than a warning.
        exc_info: log the error that is being handled, too.
    """
    now_s = monotonic()
    kind = _kinds.setdefault(message, _Kind(now_s))
    if now_s - kind.since_s > WINDOW_S:
        more = kind.count - MOST
        kind.since_s, kind.count = now_s, 0
        if more > 0:
            message += f" (and {more} more like this since)"
    kind.count += 1
    if kind.count <= MOST:
        logger.log(level, message, *args, exc_info=exc_info)
