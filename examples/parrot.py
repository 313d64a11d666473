"""Listens, finds the end of what was said, and says it back; falls silent when it is interrupted.

A conversational assistant has this shape: put speech recognition, a language model and speech synthesis where `answer`
is. Needs the extra `examples`, for a detector of voice that knows 8 and 16 kHz.

    python examples/parrot.py                # listens on ws://localhost:8765
"""

import os
from collections import deque

import anyio

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video

try:
    import webrtcvad
except ImportError:
    raise SystemExit("parrot.py needs webrtcvad; in the checkout: pip install '.[examples]'") from None

PRE_ROLL_FRAMES = 15  # 300 ms: speech begins softer than a detector hears
START_FRAMES = 5  # 100 ms of voice in the pre-roll are speech, less is a click
END_S = 0.6  # without voice are the end of a sentence: by the clock, because a muted session sends no frames


def answer(question: bytes) -> bytes:
    return question


async def on_connect(client: Client) -> None:
    detector = webrtcvad.Vad(2)
    rate_hz = (await client.wait_format()).rate_hz
    while True:
        recent: deque[tuple[bytes, bool]] = deque(maxlen=PRE_ROLL_FRAMES)
        sentence: list[bytes] = []
        with anyio.CancelScope() as listening:
            async for frame in client:
                if isinstance(frame, str):
                    continue
                voiced = detector.is_speech(frame, rate_hz)
                recent.append((frame, voiced))
                if sentence:
                    sentence.append(frame)
                elif sum(was_voiced for _, was_voiced in recent) >= START_FRAMES:
                    client.flush_buffer()  # somebody speaks: fall silent
                    sentence = [earlier for earlier, _ in recent]
                if sentence and voiced:
                    listening.deadline = anyio.current_time() + END_S
        if not listening.cancelled_caught:  # the call has ended, and not the sentence
            return
        await client.send_audio_buffer(answer(b"".join(sentence)), pad_last_frame=True)


app = AudioConnector(on_connect)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
