"""A program of 0.1.x, written against that version's README and nothing else; it runs there and here unchanged.

It listens until a sentence is over, and a thread with an event loop of its own says the sentence back, frame by frame.

    python readme_0_1.py                     # listens on ws://localhost:8765; PORT= names another port
"""

import asyncio
import os
import queue
import signal
import threading
from collections import deque
from typing import Any

import webrtcvad

from audio_connector_sdk.vonage_video import Video
from audio_connector_sdk.vonage_video.models.audio_connector import AudioConnectorServerConfig

RATE_HZ = 16_000
FRAME_BYTES = 640
PRE_ROLL_FRAMES = 15
START_FRAMES = 5
END_FRAMES = 30  # 600 ms without voice


class Conversation:
    """One connection: what is being said on it, and the thread that answers."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.vad = webrtcvad.Vad(2)
        self.recent: deque[tuple[bytes, bool]] = deque(maxlen=PRE_ROLL_FRAMES)
        self.sentence: list[bytes] = []
        self.quiet_frames = 0
        self.answers: queue.Queue[bytes | None] = queue.Queue()
        self.speaker = threading.Thread(target=self.speak, daemon=True)
        self.speaker.start()

    async def on_message(self, message: bytes | str) -> None:
        if isinstance(message, str):
            print("event:", message)
            return
        voiced = self.vad.is_speech(message, RATE_HZ)
        if not self.sentence:
            self.recent.append((message, voiced))
            if sum(was_voiced for _, was_voiced in self.recent) >= START_FRAMES:
                self.sentence = [frame for frame, _ in self.recent]
                self.quiet_frames = 0
            return
        self.sentence.append(message)
        self.quiet_frames = 0 if voiced else self.quiet_frames + 1
        if self.quiet_frames == END_FRAMES:
            for frame in self.sentence:
                self.answers.put(frame)
            self.sentence = []
            self.recent.clear()

    async def on_disconnect(self) -> None:
        self.answers.put(None)
        print("Client disconnected.")

    async def on_error(self, error: Exception) -> None:
        print(f"Error occurred: {error!r}")

    def speak(self) -> None:
        asyncio.run(self.send_answers())

    async def send_answers(self) -> None:
        while (frame := self.answers.get()) is not None:  # blocks: nothing else runs in this thread's loop
            await self.client.send_audio_buffer(
                frame,
                bytes_per_sample=FRAME_BYTES,
                frames_ms=20,
                pad_last_frame=True,
                flush_buffer=False,
            )
        print("Speaker ended.")


async def on_connect(client: Any) -> None:
    data = client.info()
    print("Client connected:", data.uri, data.sessionId, data.connectionId, data.conferenceId)
    await asyncio.sleep(0.3)  # stands for a look into a database; frames come meanwhile
    conversation = Conversation(client)
    client.set_handler(
        on_message=conversation.on_message,
        on_disconnect=conversation.on_disconnect,
        on_error=conversation.on_error,
    )


async def on_start() -> None:
    print("Server started.")


async def on_stop() -> None:
    print("Server stopped.")


async def main() -> None:
    told_to_stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop.set)
    video = Video()
    config = AudioConnectorServerConfig(
        host="localhost",
        port=int(os.environ.get("PORT", "8765")),
        on_start=on_start,
        on_stop=on_stop,
        on_connect=on_connect,
    )
    server_handle = await video.start_audio_connector_server(config)
    print("listening on", server_handle.get_address(), server_handle.running)
    await told_to_stop.wait()
    await server_handle.stop()


if __name__ == "__main__":
    asyncio.run(main())
