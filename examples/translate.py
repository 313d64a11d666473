"""An interpreter: what is said in a call is spoken into the session in another language, sentence by sentence.

    OPENAI_API_KEY=... python examples/translate.py              # listens on ws://localhost:8765

The languages stand in the `uri` of the connect call: wss://HOST/?from=English&into=Spanish. For two people who talk
with each other make two connect calls, each with the stream of one of them, and with the languages the other way round:
what each of them says is heard by the other. Needs the extra `openai`. OPENAI_BASE_URL is used where it is set.
"""

import os
from typing import Any

from openai import AsyncOpenAI

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.integrations.openai_realtime import RealtimeCall, Transcript

MODEL = "gpt-realtime"
INSTRUCTIONS = (
    "You are an interpreter. Say in {into} what is said in {source}: all of it, and nothing else. Never answer a "
    "question, translate it. Where nothing is said, say nothing."
)


async def on_connect(client: Client) -> None:
    source, into = client.query_params.get("from", "English"), client.query_params.get("into", "Spanish")
    detection = {
        "type": "server_vad",
        "silence_duration_ms": 400,
        "interrupt_response": False,  # who goes on speaking doesn't silence the interpreter
        "create_response": False,  # each turn is translated below, even while the one before it is being spoken
    }
    session: dict[str, Any] = {
        "instructions": INSTRUCTIONS.format(source=source, into=into),
        "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}, "turn_detection": detection}},
    }

    def on_event(event: Any) -> None:
        if event.type == "input_audio_buffer.committed":  # somebody has finished a sentence
            call.respond()

    def told(transcript: Transcript) -> None:
        print(f"{source if transcript.role == 'caller' else into}: {transcript.text}", flush=True)

    async with AsyncOpenAI() as openai:
        call = RealtimeCall(
            client,
            lambda: openai.realtime.connect(model=MODEL),
            session=session,
            on_event=on_event,
            on_transcript=told,
            reconnect=True,
        )
        await call.run()


app = AudioConnector(on_connect)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
