"""Speaks what a synthesis makes that runs in a thread, and ends that thread's work when the caller speaks.

vonage-audio-connector talk examples/howto/streaming_thread.py:app
"""

import time
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread

from vonage_audio_connector_server import AudioConnector, Client, Utterance
from vonage_audio_connector_server.audio import read_audio

PCM, RATE_HZ = read_audio(Path(__file__).parents[1] / "audio" / "librivox-2.wav")


def synthesise() -> Iterator[bytes]:
    """Stands for your synthesis: it blocks its thread while it works."""
    for at in range(0, 3 * len(PCM), RATE_HZ // 5 * 2):  # 0.2 s
        time.sleep(0.05)
        yield (PCM * 3)[at : at + RATE_HZ // 5 * 2]


def speak(utterance: Utterance) -> None:
    for pcm in synthesise():
        utterance.send(pcm).result()  # waits while too much waits; raises when it was interrupted: so this ends


async def on_connect(client: Client) -> None:
    client.interrupt_on_speech()
    async with client.utterance() as utterance:
        await anyio.to_thread.run_sync(speak, utterance)
    result = await utterance.wait()
    print(f"heard {result.heard_s:.1f} of {result.duration_s:.1f} s", flush=True)


app = AudioConnector(on_connect, sample_rate_hz=RATE_HZ)  # that of the synthesis
