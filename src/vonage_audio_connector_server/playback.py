"""What became of the audio of one call of `send_audio_buffer`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from .connection import Connection
from .core.ledger import Mark
from .elsewhere import at_home
from .outcomes import PlaybackResult


class Playback:
    """Audio that was sent: how much of it has been heard, now or when it is over. It may be asked from any thread."""

    __slots__ = ("_connection", "_mark")

    def __init__(self, connection: Connection, mark: Mark) -> None:
        self._connection = connection
        self._mark = mark

    def __repr__(self) -> str:
        return f"<Playback heard {self.heard_s:.2f} of {self.duration_s:.2f} s>"

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds; padding is not counted."""
        return self._connection.played(self._mark).duration_s

    @property
    def heard_s(self) -> float:
        """How many seconds of it have been heard by now, by the playout clock."""
        return self._connection.played(self._mark).heard_s

    def wait(self, *, confirm: bool = False) -> Coroutine[Any, Any, PlaybackResult]:
        """Wait until it has been heard, or a part of it never will be: it was flushed, or the call has ended.

        It never raises because of such an end. Cancelling it changes nothing.

        Args:
            confirm: ask the router to acknowledge that it has played it (`notify`: documented for Vonage's Voice API,
                unknown for the Audio Connector). Where no answer has come one second after it must have been heard by
                the clock, the clock is the evidence.
        """
        return at_home(self._connection, self._connection.wait_played, self._mark, confirm)
