"""The shape of an assistant, with stand-ins for its ears, its brain and its voice.

vonage-audio-connector talk examples/tutorials/own_assistant.py:on_connect
"""

from collections.abc import AsyncIterator

import anyio

from vonage_audio_connector_server import Client, Utterance
from vonage_audio_connector_server.audio import read_audio
from vonage_audio_connector_server.speech import SpeechEnded

PCM, VOICE_HZ = read_audio("examples/audio/librivox-2.wav")


async def text_of(pcm: bytes) -> str:  # the ears: 16-bit mono PCM at 16 kHz
    await anyio.sleep(0.3)
    return f"I have spoken for {len(pcm) / 32_000:.0f} seconds."


async def answer(history: list[str]) -> AsyncIterator[str]:  # the brain: sentence by sentence
    yield f"You said: {history[-1].removeprefix('caller: ')}"
    yield "Nothing else comes to my mind."


async def say(sentence: str) -> bytes:  # the voice: 16-bit mono PCM at VOICE_HZ
    return PCM


async def remember(utterance: Utterance, history: list[str]) -> None:
    history.append(f"bot: {(await utterance.wait()).heard_text}")
    print(*history[-2:], sep="\n", flush=True)


async def on_connect(client: Client) -> None:
    history: list[str] = []
    client.interrupt_on_speech()
    async for turn in client.turns(hang_over_s=0.45, sample_rate_hz=16_000):
        if isinstance(turn, SpeechEnded):
            history.append(f"caller: {await text_of(turn.pcm)}")
            async with client.utterance(sample_rate_hz=VOICE_HZ, cancel=True) as utterance:
                client.start_soon(remember, utterance, history)
                async for sentence in answer(history):
                    await utterance.send(await say(sentence), text=sentence)
