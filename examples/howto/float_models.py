"""Lets two models work in a call of any rate: one hears floats at 16 kHz, the other speaks floats at 22.05 kHz.

vonage-audio-connector talk examples/howto/float_models.py:on_connect
"""

from pathlib import Path

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.audio import read_audio, resample, to_float32, to_pcm
from vonage_audio_connector_server.speech import SpeechEnded

PCM, RATE_HZ = read_audio(Path(__file__).parents[1] / "audio" / "librivox-2.wav")
VOICE_HZ = 22_050


def recognise(samples: NDArray[np.float32]) -> str:
    """Stands for your speech recognition."""
    return f"{len(samples) / 16_000:.1f} s of speech"


def synthesise(text: str) -> NDArray[np.float32]:
    """Stands for your speech synthesis: it says the same each time."""
    return to_float32(resample(PCM, RATE_HZ, VOICE_HZ))


async def on_connect(client: Client) -> None:
    async for turn in client.turns(sample_rate_hz=16_000):
        if isinstance(turn, SpeechEnded):
            text = await anyio.to_thread.run_sync(recognise, to_float32(turn.pcm))
            print(f"heard {text}", flush=True)
            answer = await anyio.to_thread.run_sync(synthesise, text)
            await client.send_audio_buffer(to_pcm(answer), sample_rate_hz=VOICE_HZ, pad_last_frame=True)
