"""Frames that come from a browser, evened out: the twin wants one at each tick."""

from __future__ import annotations

from collections import deque

CUSHION_FRAMES = 2
"""40 ms: so much may a frame of the page be late."""

MOST_FRAMES = 10
"""200 ms: what is more has piled up, and would only make all that is said late."""


class Microphone:
    """What the caller says, frame by frame.

    Args:
        frame_bytes: of the call.
    """

    def __init__(self, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._frames: deque[bytes] = deque()
        self._flows = False  # there was a cushion, and it is not used up

    def put(self, pcm: bytes) -> None:
        """A frame came; one of a wrong size is left out."""
        if len(pcm) == self._frame_bytes:
            self._frames.append(pcm)
            while len(self._frames) > MOST_FRAMES:
                self._frames.popleft()

    def read(self) -> bytes | None:
        """The next frame; None: there is none in time."""
        if not self._flows and len(self._frames) < CUSHION_FRAMES:
            return None
        self._flows = bool(self._frames)
        return self._frames.popleft() if self._frames else None
