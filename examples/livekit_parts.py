"""Ears, a brain and a voice for LiveKit Agents that need no key and no network, through LiveKit's own interfaces.

Put `livekit-plugins-...` in their place: an agent that works with these works with those. Needs the extras `livekit`
and `demo`.
"""

import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, llm, stt, tts, utils
from speech_models import EARS_HZ, VOICE_HZ, Voice, shared_recogniser

from vonage_audio_connector_server.audio import resample

TextOf = Callable[[bytes], Awaitable[str]]  # 16-bit mono PCM at EARS_HZ
Say = Callable[[str], Awaitable[bytes]]  # at VOICE_HZ


@cache
def shared_voice() -> Voice:
    """One for all calls of a program."""
    return Voice()


class LocalSTT(stt.STT):
    """Whisper."""

    def __init__(self, text_of: TextOf | None = None) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._text_of = text_of or shared_recogniser().text_of

    async def _recognize_impl(self, buffer: utils.AudioBuffer, **options: Any) -> stt.SpeechEvent:
        frame = rtc.combine_audio_frames(buffer)
        text = await self._text_of(resample(bytes(frame.data), frame.sample_rate, EARS_HZ))
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[stt.SpeechData(language="en", text=text)]
        )


class RuleLLM(llm.LLM):
    """Answers out of a few rules; it says goodbye with the tool `hang_up`."""

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[Any] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **options: Any,
    ) -> llm.LLMStream:
        return RuleStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)

    @staticmethod
    def answer(said: str) -> str:
        if found := re.search(r"go (forward|back\w*) (.+?)[.!?]?$", said, re.IGNORECASE):
            return f"All right. I go {found[1].lower()} {found[2]}."
        if re.search(r"\b(good)?bye\b", said, re.IGNORECASE):
            return "Goodbye. Have a nice day."
        return (
            f"You said: {said} I only know a few words, because no language model is behind me. Ask me to go forward, "
            "or say goodbye, and I will see what I can do for you."
        )


class RuleStream(llm.LLMStream):
    async def _run(self) -> None:
        said = [message.text_content or "" for message in self._chat_ctx.messages() if message.role == "user"]
        text = RuleLLM.answer(said[-1] if said else "")
        for word in re.findall(r"\S+\s*", text):
            self._send(llm.ChoiceDelta(role="assistant", content=word))
        if text.startswith("Goodbye"):
            call = llm.FunctionToolCall(name="hang_up", arguments="{}", call_id="1")
            self._send(llm.ChoiceDelta(role="assistant", tool_calls=[call]))

    def _send(self, delta: llm.ChoiceDelta) -> None:
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


class LocalTTS(tts.TTS):
    """Hibari, sentence by sentence."""

    def __init__(self, say: Say | None = None) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=VOICE_HZ, num_channels=1)
        self.say = say or shared_voice().say

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return LocalSpeech(tts=self, input_text=text, conn_options=conn_options)


class LocalSpeech(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        assert isinstance(self._tts, LocalTTS)
        output_emitter.initialize(
            request_id=utils.shortuuid(), sample_rate=VOICE_HZ, num_channels=1, mime_type="audio/pcm"
        )
        output_emitter.push(await self._tts.say(self._input_text))
        output_emitter.flush()
