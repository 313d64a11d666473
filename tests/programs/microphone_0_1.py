"""A program of 0.1.x whose coroutine never sleeps: it reads a sound card, which blocks the event loop, and sends.

It is written against that version's README, and runs there and here unchanged. The sound card is played by a WAV file.

    python microphone_0_1.py speech.wav      # 16 kHz, mono; listens on ws://localhost:8765; PORT= names another port
"""

import asyncio
import os
import signal
import sys
import time
import wave
from typing import Any

from audio_connector_sdk.vonage_video import Video
from audio_connector_sdk.vonage_video.models.audio_connector import AudioConnectorServerConfig

RATE_HZ = 16_000
FRAME_SAMPLES = 320
FRAME_BYTES = 640
HEAD_START_FRAMES = 25  # half a second, so that nobody hears it when a frame is late

streams: set[asyncio.Task[None]] = set()


class Microphone:
    """Records from the moment it is made, and never ends; `read` blocks until there are so many samples."""

    def __init__(self, path: str) -> None:
        with wave.open(path) as file:
            self.recording: bytes = file.readframes(file.getnframes())
        self.at_bytes = 0
        self.recorded_at_s = time.monotonic()

    def read(self, samples: int) -> bytes:
        self.recorded_at_s += samples / RATE_HZ
        time.sleep(max(0.0, self.recorded_at_s - time.monotonic()))
        audio = self.recording[self.at_bytes : self.at_bytes + samples * 2]
        self.at_bytes += samples * 2
        if len(audio) < samples * 2:  # from the beginning again
            self.at_bytes = samples * 2 - len(audio)
            audio += self.recording[: self.at_bytes]
        return audio


async def stream_microphone(client: Any) -> None:
    microphone = Microphone(sys.argv[1])
    audio = b"".join(microphone.read(FRAME_SAMPLES) for _ in range(HEAD_START_FRAMES))
    while True:
        try:
            await client.send_audio_buffer(
                audio,
                bytes_per_sample=FRAME_BYTES,
                frames_ms=20,
                pad_last_frame=True,
                flush_buffer=False,
            )
        except Exception as error:
            print(f"Microphone off: {error}")
            return
        audio = microphone.read(FRAME_SAMPLES)


async def on_message(message: bytes | str) -> None:
    if isinstance(message, str):
        print("event:", message)


async def on_disconnect() -> None:
    print("Client disconnected.")


async def on_error(error: Exception) -> None:
    print(f"Error occurred: {error!r}")


async def on_connect(client: Any) -> None:
    client.set_handler(on_message=on_message, on_disconnect=on_disconnect, on_error=on_error)
    stream = asyncio.create_task(stream_microphone(client))
    streams.add(stream)
    stream.add_done_callback(streams.discard)


async def main() -> None:
    told_to_stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop.set)
    config = AudioConnectorServerConfig(
        host="localhost", port=int(os.environ.get("PORT", "8765")), on_connect=on_connect
    )
    server_handle = await Video().start_audio_connector_server(config)
    await told_to_stop.wait()
    await server_handle.stop()


if __name__ == "__main__":
    asyncio.run(main())
