"""Whether the bot is heard speaking, as pipecat tells it to all processors."""

from __future__ import annotations

import time

from pipecat.audio.utils import is_silence
from pipecat.frames.frames import (
    BotSpeakingFrame,
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    SpeechOutputAudioRawFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.frame_processor import FrameProcessor

from .playout import Piece

SPEAKING_EVERY_S = 0.2  # as pipecat's own output transport
PAUSE_S = 0.35  # of a stream of speech, as pipecat's own
GIVEN_UP_S = 3.0  # a speech whose end is never told, as pipecat's own


class BotSpeech:
    """Tells when the bot is heard: speech up to its `TTSStoppedFrame`, and a stream where it isn't silent.

    Args:
        processor: in whose name the frames go out, both ways.

    Attributes:
        is_heard: whether it is.
    """

    def __init__(self, processor: FrameProcessor) -> None:
        self.is_heard = False
        self._processor = processor
        self._told_s = self._latest_s = 0.0
        self._silent_s = 0.0  # of a stream of speech

    async def heard(self, piece: Piece, pcm: bytes = b"") -> None:
        """Audio is being heard; `pcm`: this of it was."""
        if isinstance(piece.frame, TTSAudioRawFrame):
            await self._speaks()
        elif isinstance(piece.frame, SpeechOutputAudioRawFrame) and pcm:
            if not is_silence(pcm):
                self._silent_s = 0.0
                await self._speaks()
            else:
                self._silent_s += len(pcm) / piece.bytes_a_second
                if self._silent_s > PAUSE_S:
                    await self.stopped()

    async def stopped(self) -> None:
        """It is heard no more; again, this does nothing."""
        if self.is_heard:
            self.is_heard = False
            await self._processor.broadcast_frame(BotStoppedSpeakingFrame)

    def text_came(self) -> None:
        """More of a speech comes, though no audio yet."""
        self._latest_s = time.monotonic()

    @property
    def gives_up_in_s(self) -> float:
        """So long from now on it is taken for ended, if nothing comes."""
        return self._latest_s + GIVEN_UP_S - time.monotonic()

    async def _speaks(self) -> None:
        self._latest_s = now_s = time.monotonic()
        if not self.is_heard:
            self.is_heard = True
            await self._processor.broadcast_frame(BotStartedSpeakingFrame)
        if now_s - self._told_s >= SPEAKING_EVERY_S:
            self._told_s = now_s
            await self._processor.broadcast_frame(BotSpeakingFrame)
