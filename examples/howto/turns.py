"""Says back what it hears at the end of each turn, and falls silent when the caller speaks.

vonage-audio-connector talk examples/howto/turns.py:on_connect
"""

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.speech import SpeechEnded, SpeechStarted


def is_finished(pause: SpeechEnded) -> bool:
    """Stands for your model of the end of a turn: here one second of speech is enough."""
    print(f"{pause.at_s:.2f} s: a pause, {pause.end_s - pause.start_s:.2f} s after the beginning", flush=True)
    return pause.end_s - pause.start_s >= 1


async def on_connect(client: Client) -> None:
    client.interrupt_on_speech(on_interrupt=lambda: print("interrupted", flush=True))
    async for turn in client.turns(hang_over_s=0.3, end_of_turn=is_finished, patience_s=2.0):
        if isinstance(turn, SpeechStarted):
            print(f"{turn.at_s:.2f} s: speaks since {turn.start_s:.2f} s", flush=True)
        else:
            print(f"{turn.at_s:.2f} s: has spoken until {turn.end_s:.2f} s", flush=True)
            client.send_audio_buffer(turn.pcm, pad_last_frame=True)
