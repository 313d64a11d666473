"""A voice of OpenAI's Realtime API answers the phone: it greets, answers, lets itself be interrupted, and hangs up.

    OPENAI_API_KEY=... python examples/openai_realtime.py        # listens on ws://localhost:8765

Needs the extra `openai`. OPENAI_BASE_URL is used where it is set.
"""

import os
from typing import Any

from openai import AsyncOpenAI

from vonage_audio_connector_server import DTMF, AudioConnector, AudioConnectorServerConfig, Client, Event, Video
from vonage_audio_connector_server.integrations.openai_realtime import RealtimeCall, RealtimeError, Transcript

MODEL = "gpt-realtime"
SESSION: dict[str, Any] = {
    "instructions": "You are on the phone. Answer in one or two short sentences. Before you hang up say goodbye.",
    "audio": {
        "input": {"transcription": {"model": "gpt-4o-mini-transcribe"}, "turn_detection": {"type": "semantic_vad"}},
        "output": {"voice": "marin"},
    },
    "tools": [
        {"type": "function", "name": "hang_up", "description": "End the call.", "parameters": {"type": "object"}},
    ],
}


def told(transcript: Transcript) -> None:
    print(f"{transcript.role}: {transcript.text}{' -' if transcript.interrupted else ''}", flush=True)


def failed(error: RealtimeError) -> None:
    print(f"error: {error}", flush=True)


async def on_connect(client: Client) -> None:
    async def hang_up() -> None:
        await client.drain()  # the goodbye is heard to its end
        await client.disconnect()

    def on_event(event: Event) -> None:
        if isinstance(event, DTMF):
            call.send_text(f"[The caller has pressed the key {event.digit}.]")

    async with AsyncOpenAI() as openai:
        call = RealtimeCall(
            client,
            lambda: openai.realtime.connect(model=MODEL),
            session=SESSION,
            tools={"hang_up": hang_up},
            on_transcript=told,
            on_error=failed,
            reconnect=True,
        )
        client.set_handler(on_event=on_event)
        call.respond("Greet the caller and ask what you can do.")
        await call.run()


app = AudioConnector(on_connect)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
