"""What became of waiting for an answer. Times are seconds since the accept."""

from __future__ import annotations

from dataclasses import dataclass


class NothingHeardError(AssertionError):
    """Nothing was heard in time."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer that was heard.

    Attributes:
        start_s: when it began.
        end_s: when it ended.
        after_s: how long it began after the end of the speech before it.
        pcm: its sound, with the pauses in it.
        is_over: whether it ended by itself, before the limit and the end of the call.
    """

    start_s: float
    end_s: float
    after_s: float
    pcm: bytes
    is_over: bool = True
