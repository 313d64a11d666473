"""What is being said as one thing: it can be interrupted as one, and tells which of its words were heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from .call.actions import Action, act, do
from .call.call import Call
from .call.questions import result_of
from .core.framer import as_pcm
from .core.spoken_text import SpokenText, Word
from .errors import AudioConnectorClosedError, AudioConnectorInterruptedError
from .results import UtteranceResult
from .runtime import poster
from .waits import CHANGED, Question

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .call.speech import Speech
    from .call.speech_queue import SpeechQueue


class Utterance:
    """One thing that a program says, piece by piece; see `Client.utterance`.

    In a block it begins and ends with that; without one, `send` what there is and `end` it. When it is interrupted what
    is sent later is refused with `AudioConnectorInterruptedError`, which ends the block, and no more than that.

    Args:
        call: in which.
        queue: makes the queue of the call.
        id: as given, or a number.
        priority: as given.
        rate_hz: the sample rate of its audio; None: that of the connection.
        cancel: cancel the block, too.

    Attributes:
        id: of `Client.utterance`, or `1`, `2` and so on.
        priority: of `Client.utterance`.
    """

    def __init__(
        self,
        call: Call,
        queue: Callable[[], SpeechQueue],
        *,
        id: str,  # noqa: A002 (as users name it)
        priority: int,
        rate_hz: int | None,
        cancel: bool,
    ) -> None:
        self.id, self.priority = id, priority
        self._call, self._queue, self._cancel = call, queue, cancel
        self._text = SpokenText()
        self._is_complete = False
        self._speech: Speech | None = None  # None: it is on its way from another thread
        self._scope: anyio.CancelScope | None = None
        self._soon: Callable[..., object] | None = None  # into the event loop of the block

        def begin() -> None:
            self._speech = speech = queue().begin(priority, rate_hz)
            speech.on_interrupted = self._cancel_block

        do(call, begin)

    def __repr__(self) -> str:
        return f"<Utterance {self.id} heard {self.heard_s:.2f} of {self.duration_s:.2f} s>"

    async def __aenter__(self) -> Utterance:
        if self._cancel:
            self._soon = None if get_ident() == self._call.thread_id else poster()
            self._scope = anyio.CancelScope()
            self._scope.__enter__()
            if self.interrupted:
                self._scope.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        is_ours = self._scope is not None and bool(self._scope.__exit__(kind, exc, traceback))
        self._scope = None
        if isinstance(exc, AudioConnectorInterruptedError) and self.interrupted:
            is_ours = True
        # Whoever cancels the block wants silence. What was sent before another error is said: the listener had begun.
        is_cancelled = isinstance(exc, anyio.get_cancelled_exc_class()) and not is_ours
        with suppress(AudioConnectorClosedError):
            if is_cancelled:
                self.interrupt()
            else:
                self.end()
        return is_ours

    # Saying it

    def send(self, audio_data: Buffer, *, text: str = "", words: Sequence[Word] = ()) -> Action[None]:
        """Send a piece of it: PCM as `send_audio_buffer` takes it, at the rate of the utterance; it may be empty.

        It acts when it is called; awaited, it waits while too much waits to be said. Cancelling it takes nothing
        back.

        Args:
            audio_data: 16-bit little-endian mono PCM, whole samples.
            text: what is said from the beginning of this piece on, until another text comes. Texts are put together as
                they are, with a space behind a punctuation mark.
            words: where the synthesis tells when each word is spoken: the word, its begin and its end, in seconds since
                the beginning of this piece. Without, the words of a text share its time by their letters.

        Raises:
            AudioConnectorInterruptedError: it was interrupted; nothing of this is heard.
            AudioConnectorAudioError: it is no PCM; see `send_audio_buffer`.
            AudioConnectorFullError: too much waits, and `when_full` is `raise`; nothing was taken.
            AudioConnectorClosedError: the connection has ended.
            RuntimeError: it was ended.
        """
        pcm = as_pcm(audio_data)
        if self._speech is not None and self._speech.is_interrupted and not self._call.is_over:
            self._refuse()

        def start() -> tuple[Question, Callable[[], None]]:
            self._call.check_open()
            speech, queue = self._begun, self._queue()
            if speech.is_ended and not speech.is_interrupted:
                raise RuntimeError(f"utterance {self.id} was ended: nothing can be added to it")
            start_s = speech.given_s
            queue.send(speech, pcm)
            self._text.add(text, words, start_s)
            return queue.room_for(speech), self._check

        return act(self._call, start)

    def end(self) -> Action[None]:
        """Say that nothing more of it comes: what was sent is said to its end. The end of the block does it, too.

        It acts when it is called; there is nothing to await. Again, or when it was interrupted, it does nothing.
        """

        def end() -> None:
            speech = self._begun
            self._is_complete = self._is_complete or not speech.is_ended
            self._queue().end(speech)

        return do(self._call, end)

    def interrupt(self) -> Action[None]:
        """Fall silent at once, as `flush_buffer` does, or never say it; others that wait for their turn go on.

        It acts when it is called; there is nothing to await. When all of it was heard, it does nothing.
        """
        return do(self._call, lambda: self._queue().interrupt(self._begun), ends_well=True)

    def wait(self) -> Action[UtteranceResult]:
        """Wait until it was heard, or a part of it never will be. It never raises because of such an end.

        Cancelling it changes nothing.
        """

        def ask(now_s: float) -> float | None:
            if self._speech is None:
                return None if self._call.is_over else CHANGED
            return self._queue().over(self._speech)(now_s)

        return act(self._call, lambda: (ask, lambda: self.result), ends_well=True)

    # What is known

    @property
    def interrupted(self) -> bool:
        """Whether it ended before all of it was heard; late pieces are refused."""
        speech = self._speech
        return speech is not None and (speech.is_interrupted or (self._call.is_over and self.heard_s < self.duration_s))

    @property
    def duration_s(self) -> float:
        """How much sound of it was sent by now, in seconds."""
        return 0.0 if self._speech is None else self._speech.given_s

    @property
    def heard_s(self) -> float:
        """How many seconds of it have been heard by now, by the playout clock."""
        speech = self._speech
        if speech is None or speech.mark is None:
            return 0.0
        # A resampler makes whole samples: the last one may stand for less than one.
        return min(speech.given_s, result_of(self._call, speech.mark).heard_s)

    @property
    def text(self) -> str:
        """All that is to be said, as far as it was sent."""
        return self._text.text

    @property
    def heard_text(self) -> str:
        """The words that have been heard by now, as they stand in `text`."""
        return self._text.heard(self.heard_s, self.duration_s, is_complete=self._is_complete)

    @property
    def result(self) -> UtteranceResult:
        """What was heard of it by now."""
        return UtteranceResult(
            self.id, self.text, self.heard_text, self.duration_s, self.heard_s, interrupted=self.interrupted
        )

    # Inside

    @property
    def _begun(self) -> Speech:
        if self._speech is None:  # to begin it has failed, in the call's thread
            self._call.check_open()
            raise RuntimeError(f"utterance {self.id} could not begin")
        return self._speech

    def _check(self) -> None:
        """What awaiting a piece brings."""
        if self._begun.is_interrupted:
            self._call.check_open()
            self._refuse()

    def _refuse(self) -> None:
        raise AudioConnectorInterruptedError(f"utterance {self.id} was interrupted: nothing more of it is said")

    def _cancel_block(self) -> None:
        """It was interrupted; called in the call's thread."""
        scope, soon = self._scope, self._soon
        if scope is None:
            return
        if soon is None:
            scope.cancel()
        else:
            with suppress(RuntimeError):  # the event loop of the block is gone
                soon(scope.cancel)
