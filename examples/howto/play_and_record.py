"""Records the call, plays a greeting, which any key skips, and then says back what it hears.

vonage-audio-connector talk examples/howto/play_and_record.py:on_connect
"""

import os
from pathlib import Path

from vonage_audio_connector_server import DTMF, Client, Event

GREETING = Path(__file__).parents[1] / "audio" / "librivox-2.wav"
FOLDER = Path(os.environ.get("RECORDINGS", "."))


async def on_connect(client: Client) -> None:
    recorded = client.record(FOLDER / f"{client.info().id}.wav")  # from the first frame on

    def on_event(event: Event) -> None:
        if isinstance(event, DTMF):
            client.flush_buffer()  # ends the greeting

    def on_disconnect() -> None:
        print(f"{recorded.path} {recorded.duration_s:.1f} s", flush=True)  # the file is complete

    client.set_handler(on_event=on_event, on_disconnect=on_disconnect)
    result = await client.play(GREETING).wait()
    print(f"greeting: heard {result.heard_s:.2f} s, interrupted: {result.interrupted}", flush=True)
    client.set_handler(on_audio=client.send_audio_buffer, on_disconnect=on_disconnect)
