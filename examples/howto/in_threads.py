"""Recognises each turn in a thread; with WORK_IN=loop in the event loop, to show what that does. For calls at 16 kHz.

vonage-audio-connector serve examples/howto/in_threads.py:on_connect
"""

import os
import time
from pathlib import Path

import anyio
import anyio.to_thread

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.audio import read_audio
from vonage_audio_connector_server.speech import SpeechEnded

PCM, RATE_HZ = read_audio(Path(__file__).parents[1] / "audio" / "librivox-2.wav")
WORK_IN = os.environ.get("WORK_IN", "thread")


def recognise(pcm: bytes) -> str:
    """Stands for your model, which works for a second."""
    time.sleep(1)
    return f"{len(pcm) / 2 / RATE_HZ:.1f} s of speech"


async def on_connect(client: Client) -> None:
    client.send_audio_buffer(PCM * 4)  # 12 s, in which the caller speaks already
    models = anyio.CapacityLimiter(2)  # so many work at once, in this call; the others wait
    async for turn in client.turns():
        if isinstance(turn, SpeechEnded):
            if WORK_IN == "loop":
                text = recognise(turn.pcm)
            else:
                text = await anyio.to_thread.run_sync(recognise, turn.pcm, limiter=models)
            print(f"{turn.start_s:.1f} to {turn.end_s:.1f} s: {text}", flush=True)
