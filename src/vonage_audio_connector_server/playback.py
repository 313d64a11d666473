"""What became of the audio of one call of `send_audio_buffer`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from .call.actions import Action, act
from .call.questions import played, result_of
from .call.waits import Question
from .core.ledger import Mark
from .outcomes import PlaybackResult


class Playback(Action["Playback"]):
    """Audio that was sent: how much of it has been heard, now or when it is over. It may be asked from any thread.

    Awaiting it waits until there is room for more audio, and returns it.
    """

    __slots__ = ("_mark",)

    # `Client.send_audio_buffer`, which makes one 50 times a second for each call, fills it in without `__init__`.
    _mark: Mark | None  # None: it comes from another thread, and is not queued yet

    def __repr__(self) -> str:
        return f"<Playback heard {self.heard_s:.2f} of {self.duration_s:.2f} s>"

    def __await__(self) -> Generator[Any, Any, Playback]:
        """Wait until there is room for more audio, and let others have their turn."""
        if self._answer is not None or self._finish is not None:
            return (yield from super().__await__())
        if self._call.output.holds_back:
            yield from self._call.output.wait_room().__await__()
        return self

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds; padding is not counted. 0 while it is on its way from another thread."""
        return 0.0 if self._mark is None else result_of(self._call, self._mark).duration_s

    @property
    def heard_s(self) -> float:
        """How many seconds of it have been heard by now, by the playout clock."""
        return 0.0 if self._mark is None else result_of(self._call, self._mark).heard_s

    def wait(self, *, confirm: bool = False) -> Action[PlaybackResult]:
        """Wait until it has been heard, or a part of it never will be: it was flushed, or the call has ended.

        It never raises because of such an end. Cancelling it changes nothing.

        Args:
            confirm: ask the router to acknowledge that it has played it (`notify`: documented for Vonage's Voice API,
                unknown for the Audio Connector). Where no answer has come one second after it must have been heard by
                the clock, the clock is the evidence.
        """
        call = self._call

        def start() -> tuple[Question, Callable[[], PlaybackResult]]:
            if self._mark is None:  # it was not queued: this raises why
                super(Playback, self).result(0)
            mark = self._mark
            assert mark is not None
            if confirm and call.is_open:
                call.session.confirm(mark)
                call.output.pump_soon()
            return played(call, mark, confirm), lambda: result_of(call, mark)

        return act(call, start, ends_well=True)

    def result(self, timeout_s: float | None = None) -> Playback:
        """Block this thread until there is room for more audio: for threads without event loop. See `Action.result`."""
        return self if self._answer is None and self._finish is None else super().result(timeout_s)

    async def _wait(self) -> Playback:
        return await super()._wait() if self._answer is not None or self._finish is not None else await self
