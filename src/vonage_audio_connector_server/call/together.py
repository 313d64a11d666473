"""Frames of several calls on their way to another sample rate: converted together, when their sockets have been read.

A frame by itself costs numpy ten calls of a microsecond, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..audio.polyphase import Polyphase, process_together
from ..link.base import Together


class Conversions(list[tuple[Polyphase, bytes, Callable[[bytes], None]]]):
    """Those from one rate to another, in one turn of the event loop: each a stream, its frame, and what gets it."""

    def run(self) -> None:
        """See `Together`."""
        for (_, _, take), pcm in zip(self, process_together(self), strict=True):
            take(pcm)


def convert_soon(
    put_off: dict[object, Together], stream: Polyphase, frame: bytes, take: Callable[[bytes], None]
) -> None:
    """Convert a frame together with others, behind the sockets that are being read.

    Args:
        put_off: `arriving` or `leaving` of the turn of the event loop.
        stream: `is_steady`; to be left alone until the turn has finished what was put off.
        frame: 20 ms.
        take: gets the result. It must not raise.
    """
    conversions: Any = put_off.get(stream.plan)
    if conversions is None:
        conversions = put_off[stream.plan] = Conversions()
    conversions.append((stream, frame, take))
