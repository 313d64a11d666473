"""Gives a long answer, falls silent when the caller speaks, tells how much of it was heard, says goodbye and hangs up.

python examples/interrupt.py             # listens on ws://localhost:8765, for calls at 16 kHz
"""

import os
from array import array
from pathlib import Path

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, PlaybackResult, Video
from vonage_audio_connector_server.simulator.wav import read_wav

SENTENCE = "He was not an ill disposed young man."
SPEECH, _ = read_wav(Path(__file__).parent / "audio" / "librivox-2.wav")  # a speech synthesis in its place
LOUD = 2_000  # of 32,767; a real program asks a detector of voice, as parrot.py does
SPEAKS_FRAMES = 3  # 60 ms: less is a click


def is_loud(frame: bytes) -> bool:
    return max(map(abs, array("h", frame)), default=0) > LOUD


def heard_words(sentence: str, result: PlaybackResult) -> list[str]:
    """The words that the caller has heard, as if all of them took the same time."""
    words = sentence.split()
    return words[: round(len(words) * result.heard_s / result.duration_s)]


async def on_connect(client: Client) -> None:
    loud_frames = 0

    def on_audio(frame: bytes) -> None:
        nonlocal loud_frames
        loud_frames = loud_frames + 1 if is_loud(frame) else 0
        if loud_frames == SPEAKS_FRAMES:
            client.flush_buffer()  # acts now; nothing has to be waited for

    client.set_handler(on_audio=on_audio)
    answer = [SENTENCE] * 3
    playbacks = [await client.send_audio_buffer(SPEECH) for _ in answer]
    results = [await playback.wait() for playback in playbacks]  # an interruption ends all of them at once
    words = [word for sentence, result in zip(answer, results, strict=True) for word in heard_words(sentence, result)]
    heard_s, duration_s = sum(result.heard_s for result in results), sum(result.duration_s for result in results)
    print(f"heard {heard_s:.2f} s of {duration_s:.2f} s: {' '.join(words)}", flush=True)

    client.set_handler()  # nobody interrupts the goodbye
    await client.send_audio_buffer(SPEECH, pad_last_frame=True)
    await client.drain()
    await client.disconnect()


app = AudioConnector(on_connect)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
