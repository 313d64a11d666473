"""When a model may be asked to answer: the Realtime API makes one response at a time, and refuses a second one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

MOST_WANTED = 16
"""So many may wait for the one before; then the oldest are forgotten: they answer what was long ago."""


class Responses:
    """The responses of one session.

    Attributes:
        running: the id of the one that is being made; None: none is.
    """

    def __init__(self) -> None:
        self.running: str | None = None
        self._wanted: deque[Mapping[str, Any]] = deque(maxlen=MOST_WANTED)
        self._asked: Mapping[str, Any] | None = None  # and not begun

    @property
    def is_running(self) -> bool:
        """Whether one is being made, or was asked for."""
        return self.running is not None or self._asked is not None

    def want(self, params: Mapping[str, Any]) -> None:
        """One is wanted; see `next`."""
        self._wanted.append(params)

    def next(self) -> Mapping[str, Any] | None:
        """What to ask for now; None: nothing."""
        if self.is_running or not self._wanted:
            return None
        self._asked = self._wanted.popleft()
        return self._asked

    def created(self, response_id: str) -> None:
        """One has begun: that was asked for, or one that the session began by itself."""
        self.running = response_id

    def done(self, response_id: str) -> None:
        """One is over."""
        if self.running in (None, response_id):
            self.running = self._asked = None

    def refused(self, *, is_busy: bool) -> None:
        """The one that was asked for will not come; where another one runs, it is wanted still."""
        if is_busy and self._asked is not None:
            self._wanted.appendleft(self._asked)
        self._asked = None

    def lost(self) -> None:
        """The session is gone: nothing runs, and what was asked for is wanted no more."""
        self.running = self._asked = None
        self._wanted.clear()
