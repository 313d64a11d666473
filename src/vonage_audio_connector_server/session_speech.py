"""Who says what in a session, as it ends: the turns of all its streams on one time line."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from .audio.resampler import resample
from .call.listening import Listening
from .playback import check_resampling
from .speech.turn_detector import SpeechEnded, SpeechStarted, Turn, TurnRules
from .speech.voice_activity import VoiceActivityName, make_detector

if TYPE_CHECKING:
    from .participants import Participant

logger = logging.getLogger("vonage_audio_connector_server")

MOST_WAITING_BYTES = 64 * 1024 * 1024
"""Segments that nobody has taken wait up to this size, half an hour at 16 kHz; then the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """What one participant has said without a pause.

    Attributes:
        participant: who.
        pcm: the audio: 16-bit mono PCM at `sample_rate_hz`.
        sample_rate_hz: of `pcm`.
        start_s: when it began, in seconds since the session began.
        end_s: when it ended.
        is_final: False: the participant goes on to speak (`progress_s`), and what was said until now comes again, in a
            longer one that begins at the same time.
        is_cut: it was cut because it was long, and goes on in the next segment of theirs.
    """

    participant: Participant
    pcm: bytes = field(repr=False)
    sample_rate_hz: int
    start_s: float
    end_s: float
    is_final: bool = True
    is_cut: bool = False


class SessionSpeech(AsyncIterator[SpeechSegment]):
    """The segments of one session; see `VideoSession.speech`.

    Args:
        session_id: of which one.
        present: who is there.
        detector: of each stream.
        rules: what a turn is, and the rate of the audio.
    """

    def __init__(
        self, session_id: str, present: list[Participant], detector: VoiceActivityName, rules: dict[str, Any]
    ) -> None:
        self._session_id = session_id
        self._detector = detector
        rules = dict(rules)
        self._rate_hz: int | None = rules.pop("sample_rate_hz", None)
        if self._rate_hz is not None:
            check_resampling(self._rate_hz)
        self._rules = TurnRules(**rules)
        make_detector(detector)  # an error is told now
        self._found: deque[SpeechSegment] = deque()
        self._found_bytes = self._dropped = 0
        self._changed = anyio.Event()
        self._is_over = False
        for participant in present:
            self.join(participant)

    async def __anext__(self) -> SpeechSegment:
        """Wait for the next segment. Cancelling the wait loses none."""
        while not self._found:
            if self._is_over:
                raise StopAsyncIteration
            self._changed = anyio.Event()
            await self._changed.wait()
        segment = self._found.popleft()
        self._found_bytes -= len(segment.pcm)
        return segment

    # For the session

    def join(self, participant: Participant) -> None:
        """A stream has come, or was there."""
        one = participant.client._call
        if one.is_over:
            return

        def failed(error: Exception | None) -> None:
            if error is not None:
                logger.error("connection %s: its detector of voice failed", one.id, exc_info=error)

        Listening(one, make_detector(self._detector), self._rules, lambda turn: self._heard(participant, turn), failed)

    def end(self) -> None:
        """The session is over."""
        self._is_over = True
        self._changed.set()

    # Inside

    def _heard(self, participant: Participant, turn: Turn) -> None:
        if isinstance(turn, SpeechStarted):
            return
        pcm, rate_hz = turn.pcm, turn.sample_rate_hz
        if self._rate_hz is not None and self._rate_hz != rate_hz:
            pcm, rate_hz = resample(pcm, rate_hz, self._rate_hz), self._rate_hz
        start_s, end_s, is_cut = turn.start_s, turn.at_s, False
        if is_final := isinstance(turn, SpeechEnded):
            end_s, is_cut = turn.end_s, turn.is_cut
        joined_s = participant.joined_s
        self._found.append(
            SpeechSegment(participant, pcm, rate_hz, joined_s + start_s, joined_s + end_s, is_final, is_cut)
        )
        self._found_bytes += len(pcm)
        while self._found_bytes > MOST_WAITING_BYTES:
            self._found_bytes -= len(self._found.popleft().pcm)
            self._dropped += 1
            if self._dropped == 1:
                logger.warning("session %s: nobody takes its segments: the oldest are dropped", self._session_id)
        self._changed.set()
