"""The text of what an agent says, on its way to whom it may concern, so that it is known which words were heard."""

from __future__ import annotations

from livekit.agents.voice import io

from .audio_output import VonageAudioOutput


class VonageTextOutput(io.TextOutput):
    """The text beside the audio, for `session.output.transcription`.

    With it an agent that is interrupted finds in its chat context the words that were heard, and no others. With
    `AgentSession(use_tts_aligned_transcript=True)` the synthesis tells when each sentence begins, or when each word is
    spoken. Without, a word's place in the whole answer is its place in the sound.

    Args:
        audio_output: where the audio goes.
        next_in_chain: gets each text as it comes, which is before it is heard; for captions.
    """

    def __init__(self, audio_output: VonageAudioOutput, next_in_chain: io.TextOutput | None = None) -> None:
        super().__init__(label="Vonage Audio Connector", next_in_chain=next_in_chain)
        self._audio_output = audio_output

    async def capture_text(self, text: str) -> None:
        """More of the text."""
        self._audio_output.add_text(text)
        if self.next_in_chain is not None:
            await self.next_in_chain.capture_text(text)

    def flush(self) -> None:
        """The text is complete."""
        self._audio_output.end_text()
        if self.next_in_chain is not None:
            self.next_in_chain.flush()
