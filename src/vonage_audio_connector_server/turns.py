"""Who speaks, and when, for a program: `async for turn in client.turns()`; and the interruption by speech."""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from .call.actions import Action, act, do, nothing
from .call.call import Call
from .call.listening import Listening
from .speech.turn_detector import SpeechEnded, SpeechPaused, SpeechStarted, Turn, TurnRules
from .speech.voice_activity import VoiceActivity
from .waits import CHANGED

if TYPE_CHECKING:
    from .speaker import Speaker

logger = logging.getLogger("vonage_audio_connector_server")

T = TypeVar("T", bound=Turn)

MOST_WAITING = 32
"""So many turns wait to be taken; then the oldest are dropped. One may hold two megabytes."""

EndOfTurn = Callable[[SpeechEnded], object]
"""Tells whether a pause is the end of a turn; plain or coroutine function."""


class _Listener:
    """Listens to one call until it is stopped, or the call has ended."""

    _call: Call
    _listening: Listening | None = None  # None: it is on its way from another thread

    def stop(self) -> Action[None]:
        """Listen no more, from now on. The end of the call does it, too."""

        def stop() -> None:
            if self._listening is not None:
                self._listening.stop()

        return do(self._call, stop, ends_well=True)


class Turns(_Listener, AsyncIterator[Turn]):
    """The turns of one call; see `Client.turns`.

    Args:
        call: which one.
        voice: judges its frames.
        rules: what a turn is.
        end_of_turn: asked at each pause; None: a pause is the end.
        rate_hz: the sample rate of the audio in them; None: that of the connection.
    """

    def __init__(
        self, call: Call, voice: VoiceActivity, rules: TurnRules, end_of_turn: EndOfTurn | None, rate_hz: int | None
    ) -> None:
        self._call = call
        self._rate_hz = rate_hz
        self._end_of_turn = end_of_turn
        self._found: deque[Turn] = deque()
        self._dropped = 0
        self._error: Exception | None = None
        self._is_over = False

        rules = replace(rules, asks=end_of_turn is not None)

        def start() -> None:
            call.check_open()
            self._listening = Listening(call, voice, rules, self._found_one, self._ended)

        do(call, start)

    async def __anext__(self) -> Turn:
        """Wait for the next beginning or end. Cancelling the wait loses none; it ends with the call.

        Raises:
            Exception: what the detector, or `end_of_turn`, has raised.
        """
        while True:
            await act(self._call, lambda: (self._has_one, nothing), ends_well=True)
            if self._found:
                turn = self._found.popleft()
                if isinstance(turn, SpeechPaused):
                    if self._listening is not None and self._listening.is_current(turn):
                        await self._ask(turn)
                    continue
                return self._at_rate(turn)
            if self._error is not None:
                raise self._error
            if self._is_over or self._call.is_over:
                raise StopAsyncIteration

    # Inside

    def _has_one(self, now_s: float) -> float | None:
        return None if self._found or self._is_over else CHANGED

    def _found_one(self, turn: Turn) -> None:
        self._found.append(turn)
        if len(self._found) > MOST_WAITING:
            self._found.popleft()
            self._dropped += 1
            if self._dropped == 1:
                logger.warning("connection %s: nobody takes its turns: the oldest are dropped", self._call.id)

    def _ended(self, error: Exception | None) -> None:
        self._is_over, self._error = True, error

    async def _ask(self, pause: SpeechPaused) -> None:
        """Ask the model whether a pause was the end, and tell the detector."""
        assert self._end_of_turn is not None
        answer = self._end_of_turn(self._at_rate(pause))
        if inspect.isawaitable(answer):
            answer = await answer

        def tell() -> None:
            if self._listening is not None:
                self._listening.answer(pause, is_end=bool(answer))

        do(self._call, tell, ends_well=True)

    def _at_rate(self, turn: T) -> T:
        """A turn with its audio at the program's rate."""
        if isinstance(turn, SpeechStarted) or self._rate_hz is None or self._rate_hz == turn.sample_rate_hz:
            return turn
        from .audio.resampler import resample

        pcm = resample(turn.pcm, turn.sample_rate_hz, self._rate_hz)
        return replace(turn, pcm=pcm, sample_rate_hz=self._rate_hz)


class SpeechInterruption(_Listener):
    """Falls silent when the caller speaks; see `Client.interrupt_on_speech`.

    Args:
        speaker: the client.
        call: its call.
        voice: judges its frames.
        rules: what speech is.
        on_interrupt: called when it has interrupted.

    Attributes:
        count: how often it has interrupted.
    """

    def __init__(
        self,
        speaker: Speaker,
        call: Call,
        voice: VoiceActivity,
        rules: TurnRules,
        on_interrupt: Callable[[], object] | None,
    ) -> None:
        self.count = 0
        self._speaker, self._call, self._on_interrupt = speaker, call, on_interrupt

        def start() -> None:
            call.check_open()
            self._listening = Listening(call, voice, rules, self._heard, self._ended)

        do(call, start)

    # Inside

    def _heard(self, turn: Turn) -> None:
        call = self._call
        if not isinstance(turn, SpeechStarted) or not call.is_open:
            return
        call.output.measure()
        out = call.out
        if not (call.session.queued_s or out.speech_left_s(call.clock()) or call.output.is_saying()):
            return  # nobody is interrupted
        self.count += 1
        self._speaker.flush_buffer()
        if self._on_interrupt is not None and call.is_open:
            call.start_soon(self._on_interrupt, ())

    def _ended(self, error: Exception | None) -> None:
        if error is not None:
            logger.error(
                "connection %s: its detector of voice failed: speech interrupts no more", self._call.id, exc_info=error
            )
