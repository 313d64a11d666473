"""Speaks, works on what it hears, and prints the close report of each call. Asked to, it does its work where it hurts.

python examples/diagnose.py                   # listens on ws://localhost:8765; works in a thread
WORK_IN=loop python examples/diagnose.py      # blocks the event loop, and stutters
"""

import logging
import os
import sys
import time
from pathlib import Path

import anyio.to_thread

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.simulator.wav import read_wav

SPEECH, RATE_HZ = read_wav(Path(__file__).parent / "audio" / "librivox-2.wav")
WORK_IN = os.environ.get("WORK_IN", "thread")


def recognize(pcm: bytes) -> None:
    """Stands for a model that works for half a second."""
    time.sleep(0.5)


async def on_connect(client: Client) -> None:
    heard = bytearray()

    async def on_audio(frame: bytes) -> None:
        heard.extend(frame)
        if len(heard) >= RATE_HZ * 2:  # a second
            pcm = bytes(heard)
            heard.clear()
            if WORK_IN == "loop":
                recognize(pcm)
            else:
                await anyio.to_thread.run_sync(recognize, pcm)

    def on_disconnect() -> None:
        report = client.close_report
        if report is not None:  # it is there from the end on
            stats = report.stats
            print(f"gaps {dict(stats.gaps)}, {stats.gap_s:.2f} s in all")
            print(f"{stats.late_wakeups} late wake-ups, the latest by {stats.furthest_behind_s:.2f} s", flush=True)

    client.set_handler(on_audio=on_audio, on_disconnect=on_disconnect)
    await client.send_audio_buffer(SPEECH, pad_last_frame=True)


app = AudioConnector(on_connect)

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
