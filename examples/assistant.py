"""A spoken assistant: it understands what is said, answers sentence by sentence, and lets itself be interrupted.

It answers out of a small dialogue of its own, or asks a language model behind any OpenAI-compatible chat endpoint. It
can hang up, and send JSON to the session. Needs the extra `demo`.

    python examples/assistant.py                                        # listens on ws://localhost:8765
    python examples/assistant.py --llm http://localhost:11434/v1 --model llama3.2

What was said stands in TRANSCRIPT, one JSON object a line: of the assistant's own lines only what was heard.
"""

import json
import os
import re
import time
from collections.abc import AsyncIterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from speech_models import EARS_HZ, VOICE_HZ, Recogniser, Voice, missing, shared_recogniser

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Utterance, Video
from vonage_audio_connector_server.speech import SpeechEnded

try:
    import typer
except ImportError:
    raise missing("typer") from None

PAUSE_S = 0.4  # a shorter one is within a sentence
GREETING = "Hello. What can I do for you?"
SORRY = "I am sorry, I can not think of an answer now."
PROMPT = "You are on the phone. Answer in one to three short sentences, in plain words, without lists or symbols."
TOOLS = {
    "hang_up": "End the call. Say goodbye first.",
    "send_to_session": "Send JSON to the video session, for example to show a link. Takes an object as `data`.",
}
SENTENCE = re.compile(r"(?<=[.!?])\s+")


class Dialogue:
    """Answers without a language model."""

    async def close(self) -> None: ...

    async def answer(self, history: list[dict[str, str]], call: "Call") -> AsyncIterator[str]:
        said = history[-1]["content"]
        if found := re.search(r"go (forward|back\w*) (.+?)[.!?]?$", said, re.IGNORECASE):
            yield f"All right. I go {found[1].lower()} {found[2]}."
        elif re.search(r"\b(good)?bye\b", said, re.IGNORECASE):
            yield "Goodbye. Have a nice day."
            call.hang_up_soon = True
        elif re.search(r"\b(link|page|screen)\b", said, re.IGNORECASE):
            call.client.send_json_packet({"show": "https://example.com/help"})
            yield "I have sent it to your screen."
        else:
            yield f"You said: {said} "
            yield "I only know a few words, because no language model is behind me. "
            yield "Ask me to go forward, ask for a link, or say goodbye, and I will see what I can do for you."


class LanguageModel:
    """Answers with a language model, streamed."""

    def __init__(self, url: str, model: str) -> None:
        try:
            from openai import AsyncOpenAI
        except ImportError:
            raise missing("openai") from None
        self._client = AsyncOpenAI(
            base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), timeout=10, max_retries=1
        )
        self._model = model

    async def close(self) -> None:
        await self._client.close()

    async def answer(self, history: list[dict[str, str]], call: "Call") -> AsyncIterator[str]:
        parameters = {"type": "object", "properties": {"data": {"type": "object"}}}
        tools = [
            {"type": "function", "function": {"name": name, "description": text, "parameters": parameters}}
            for name, text in TOOLS.items()
        ]
        stream: Any = await self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "system", "content": PROMPT}, *history],  # type: ignore[list-item]
            tools=tools,  # type: ignore[arg-type]
            stream=True,
        )
        wanted: dict[int, list[str]] = {}  # tools, whose names and arguments come in pieces
        async with stream:
            async for chunk in stream:
                delta = chunk.choices[0].delta if chunk.choices else None
                for piece in (delta and delta.tool_calls) or []:
                    name_and_arguments = wanted.setdefault(piece.index, ["", ""])
                    name_and_arguments[0] += piece.function.name or ""
                    name_and_arguments[1] += piece.function.arguments or ""
                if delta and delta.content:
                    yield delta.content
        for name, arguments in wanted.values():
            if name == "hang_up":
                call.hang_up_soon = True
            elif name == "send_to_session":
                call.client.send_json_packet(json.loads(arguments or "{}").get("data") or {})


async def sentences(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """Whole sentences out of a text that comes in pieces: each is spoken while the next one is thought."""
    text = ""
    async for piece in pieces:
        *whole, text = SENTENCE.split(text + piece)
        for sentence in whole:
            yield sentence
    if text.strip():
        yield text.strip()


class Call:
    """One conversation."""

    def __init__(self, client: Client, answers: Dialogue | LanguageModel, transcript: Path | None) -> None:
        self.client = client
        self.hang_up_soon = False
        self._answers = answers
        self._transcript = transcript
        self._history: list[dict[str, str]] = []
        self._began_s = time.monotonic()

    async def listen(self) -> None:
        """Take turns until the call ends."""
        self.client.interrupt_on_speech()
        turns = self.client.turns(hang_over_s=PAUSE_S, sample_rate_hz=EARS_HZ)
        async with self.client.utterance(sample_rate_hz=VOICE_HZ, cancel=True) as utterance:
            await utterance.send(await voice().say(GREETING), text=GREETING)
        self.client.start_soon(self._note_heard, utterance)
        async for turn in turns:
            if isinstance(turn, SpeechEnded):
                began_s = time.monotonic()
                text = await recogniser().text_of(turn.pcm)
                took_s = time.monotonic() - began_s
                if text:
                    understood_after_s = turn.at_s - turn.end_s + took_s
                    self._note("caller", text, understood_after_s=understood_after_s, recognised_in_s=took_s)
                    await self._answer(text)

    async def _answer(self, text: str) -> None:
        """Say the answer; an interruption cancels it wherever it waits, for a sentence or for the voice."""
        self._history.append({"role": "user", "content": text})
        async with self.client.utterance(sample_rate_hz=VOICE_HZ, cancel=True) as utterance:
            self.client.start_soon(self._note_heard, utterance)
            try:
                async for sentence in sentences(self._answers.answer(self._history, self)):
                    await utterance.send(await voice().say(sentence), text=sentence)
            except Exception as exc:  # noqa: BLE001 (of the endpoint: the caller must not be left in silence)
                print(f"no answer: {type(exc).__name__}: {exc}", flush=True)
                await utterance.send(await voice().say(SORRY), text=SORRY)
        if self.hang_up_soon and not utterance.interrupted:
            await utterance.wait()
            self.client.disconnect()

    async def _note_heard(self, utterance: Utterance) -> None:
        """Remember what was heard of what was said: the model, too, has to know where it was interrupted."""
        heard = await utterance.wait()
        self._history.append({"role": "assistant", "content": heard.heard_text})
        self._note("assistant", heard.heard_text, interrupted=heard.interrupted, meant=heard.text)

    def _note(self, who: str, text: str, **more: object) -> None:
        line = {"at_s": round(time.monotonic() - self._began_s, 2), "who": who, "text": text} | more
        print(f"{who}: {text}{' -' if more.get('interrupted') else ''}", flush=True)
        if self._transcript is not None:
            with self._transcript.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


settings: dict[str, Any] = {"answers": Dialogue, "transcript": os.environ.get("TRANSCRIPT"), "whisper": ""}


def recogniser() -> Recogniser:
    return shared_recogniser(settings["whisper"], 1)


@cache
def voice() -> Voice:
    return Voice()


async def on_connect(client: Client) -> None:
    transcript = Path(settings["transcript"]) if settings["transcript"] else None
    answers = settings["answers"]()
    try:
        await Call(client, answers, transcript).listen()
    finally:
        with anyio.CancelScope(shield=True):
            await answers.close()


async def load() -> None:
    """The models are ready before the first caller comes."""
    await anyio.to_thread.run_sync(recogniser)
    await voice().say(GREETING)
    await recogniser().text_of(bytes(EARS_HZ))


app = AudioConnector(on_connect, on_start=load)


def main(
    llm: str = typer.Option("", help="An OpenAI-compatible endpoint, such as http://localhost:11434/v1."),
    model: str = typer.Option("gpt-4o-mini", help="Its model. The key is taken from OPENAI_API_KEY."),
    whisper: str = typer.Option("", help="A model of faster-whisper, by name or folder; else the installed one."),
    port: int = typer.Option(8765, envvar="PORT"),
) -> None:
    """Serve the assistant."""
    settings["whisper"] = whisper
    if llm:
        settings["answers"] = partial(LanguageModel, llm, model)
    recogniser(), voice()  # so that the first caller need not wait for them
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))


if __name__ == "__main__":
    typer.run(main)
