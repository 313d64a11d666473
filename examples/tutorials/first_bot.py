"""Greets, says back what it hears, and falls silent when somebody speaks.

vonage-audio-connector talk examples/tutorials/first_bot.py:on_connect
"""

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.speech import SpeechEnded

GREETING = "examples/audio/go-forward-ten-meters.wav"


def answer(question: bytes) -> bytes:
    """Stands for your bot: PCM of what was said, to PCM of what to say."""
    return question


async def on_connect(client: Client) -> None:
    client.interrupt_on_speech()
    turns = client.turns()  # listens from here on, so nothing is missed while it greets
    client.play(GREETING)
    async for turn in turns:
        if isinstance(turn, SpeechEnded):
            print(f"the caller spoke from {turn.start_s:.2f} to {turn.end_s:.2f} s", flush=True)
            client.send_audio_buffer(answer(turn.pcm), pad_last_frame=True)
