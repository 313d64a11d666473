"""Speaks as a synthesis makes it, falls silent when the caller speaks, and tells which words were heard.

vonage-audio-connector talk examples/howto/streaming.py:app
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import anyio

from vonage_audio_connector_server import AudioConnector, Client
from vonage_audio_connector_server.audio import read_audio

TEXT = "He was not an ill disposed young man."
PCM, RATE_HZ = read_audio(Path(__file__).parents[1] / "audio" / "librivox-2.wav")


async def synthesise(text: str) -> AsyncGenerator[tuple[bytes, str], None]:
    """Stands for your streaming synthesis, four times as fast as real time: chunks, the text with the first one."""
    for at in range(0, len(PCM), RATE_HZ // 5 * 2):  # 0.2 s
        await anyio.sleep(0.05)
        yield PCM[at : at + RATE_HZ // 5 * 2], "" if at else text


async def on_connect(client: Client) -> None:
    client.interrupt_on_speech()
    async with client.utterance(cancel=True) as utterance:
        for sentence in (TEXT, TEXT, TEXT):
            async with aclosing(synthesise(sentence)) as chunks:
                async for pcm, text in chunks:
                    await utterance.send(pcm, text=text)
    result = await utterance.wait()
    print(f"heard {result.heard_s:.1f} of {result.duration_s:.1f} s: {result.heard_text}", flush=True)


app = AudioConnector(on_connect, sample_rate_hz=RATE_HZ)  # that of the synthesis
