"""What an agent says without a break, as LiveKit counts it: from its first frame to a `flush`."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from ...audio.pcm import to_mono
from ...audio.resampler import Resampler
from ...call.call import Call
from ...call.questions import played
from ...call.speech import Speech
from ...client import Client
from ...errors import AudioConnectorClosedError, AudioConnectorInterruptedError
from ...utterance import Utterance
from ...waits import CHANGED, Question
from .transcript import Transcript

_EPSILON_S = 0.001  # of floating point


class Segment:
    """One of them.

    Args:
        client: the call.
        rate_hz: the sample rate of its audio.
        transcript: what is said in it, as far as it is known.

    Attributes:
        transcript: as given.
        cut_at: when it was cleared, as `time.time()` tells; None: it was not.
    """

    def __init__(self, client: Client, rate_hz: int, transcript: Transcript) -> None:
        self.transcript = transcript
        self.cut_at: float | None = None
        self._call: Call = client._call
        self._rate_hz = rate_hz
        self._resampler: Resampler | None = None  # of frames that have another rate than its first one
        self._is_whole = False  # all that was to be heard has come
        self._utterance: Utterance | None = None  # None: the call has ended, so it is never heard
        with suppress(AudioConnectorClosedError):
            self._utterance = client.utterance(sample_rate_hz=rate_hz)

    async def send(self, pcm: bytes, rate_hz: int, channels: int) -> None:
        """Send a frame of it, and wait while too much waits to be heard. What can't be heard any more is dropped."""
        if channels != 1:
            pcm = to_mono(pcm, channels)
        if self._resampler is not None and self._resampler.from_hz != rate_hz:
            self._end_resampling()
        if rate_hz != self._rate_hz:
            self._resampler = self._resampler or Resampler(rate_hz, self._rate_hz)
            pcm = self._resampler.process(pcm)
        if self._utterance is not None:
            with suppress(AudioConnectorClosedError, AudioConnectorInterruptedError):
                await self._utterance.send(pcm)

    def end(self) -> None:
        """Nothing more of it comes."""
        self._end_resampling()
        if self._utterance is not None:
            with suppress(AudioConnectorClosedError):
                self._utterance.end()
        # LiveKit flushes what it breaks off, too, and clears it in the same turn of the loop.
        asyncio.get_running_loop().call_soon(self._completed)

    def cut(self) -> None:
        """Fall silent at once."""
        if self.cut_at is None and self._utterance is not None:
            self.cut_at = time.time()
            self._utterance.interrupt()

    @property
    def heard_s(self) -> float:
        """How much of it has been heard."""
        return 0.0 if self._utterance is None else self._utterance.heard_s

    @property
    def is_interrupted(self) -> bool:
        """Whether a part of it will never be heard."""
        return self._speech is None or (self._utterance is not None and self._utterance.interrupted)

    @property
    def heard_text(self) -> str:
        """Its words that have been heard."""
        if not self.is_interrupted:
            return self.transcript.text
        duration_s = 0.0 if self._utterance is None else self._utterance.duration_s
        return self.transcript.heard(self.heard_s, duration_s, is_complete=self._is_whole)

    # What is waited for

    @property
    def is_over(self) -> bool:
        """Whether nothing more of it will be heard."""
        return self._speech is None or self._speech.is_over

    def sounds_after(self, heard_s: float) -> Question:
        """Is more of it heard than this, or is it over?"""

        def ask(now_s: float) -> float | None:
            speech, out = self._speech, self._call.out
            if speech is None or speech.is_over or self.heard_s > heard_s + _EPSILON_S:
                return None
            mark = speech.mark
            if mark is None or out.paused:
                return CHANGED
            at = mark.start + round(heard_s * out.pacer.rate_hz)
            if at >= mark.end:
                return CHANGED
            left = out.ledger.wire_of(at) - out.heard_wire(now_s)
            return now_s + max(left / out.pacer.rate_hz, 0.0) + 2 * _EPSILON_S

        return ask

    def falls_silent(self) -> Question:
        """Is it over, paused, or was all heard that has come by now?"""

        def ask(now_s: float) -> float | None:
            speech = self._speech
            if speech is None or speech.mark is None or speech.is_over or self._call.out.paused:
                return None
            return played(self._call, speech.mark, confirm=False)(now_s)

        return ask

    # Inside

    @property
    def _speech(self) -> Speech | None:
        return None if self._utterance is None else self._utterance._speech

    def _completed(self) -> None:
        self._is_whole = self.cut_at is None

    def _end_resampling(self) -> None:
        if self._resampler is not None and self._utterance is not None:
            rest, self._resampler = self._resampler.flush(), None
            with suppress(AudioConnectorClosedError, AudioConnectorInterruptedError):
                self._utterance.send(rest)
