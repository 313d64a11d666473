"""An agent of OpenAI's Agents SDK answers the phone, with a tool, and passes a caller on to another agent.

    OPENAI_API_KEY=... python examples/openai_agent.py           # listens on ws://localhost:8765

Needs the extra `openai`. OPENAI_BASE_URL is used where it is set, for example https://localhost:8443/v1.
"""

import os
import re
from typing import Any

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.integrations.openai_agents import RealtimeClosedError, Transcript, agent_session

MODEL = "gpt-realtime"
BASE_URL = os.environ.get("OPENAI_BASE_URL")


@function_tool
def opening_hours(weekday: str) -> str:
    """When the shop is open."""
    return "closed" if weekday.lower() == "sunday" else "9 to 18"


support = RealtimeAgent(name="Support", instructions="You help with broken things. Ask what is broken.")
reception = RealtimeAgent(
    name="Reception",
    instructions="You are on the phone of a shop. Answer in one or two short sentences.",
    tools=[opening_hours],
    handoffs=[support],
)


def told(transcript: Transcript) -> None:
    print(f"agent: {transcript.text}{' -' if transcript.interrupted else ''}", flush=True)


async def on_connect(client: Client) -> None:
    model_config: Any = {"initial_model_settings": {"model_name": MODEL}}
    if BASE_URL:
        model_config["url"] = re.sub("^http", "ws", BASE_URL) + f"/realtime?model={MODEL}"
    runner = RealtimeRunner(reception)  # one for each call
    try:
        async with agent_session(client, runner, model_config=model_config, on_transcript=told) as session:
            await session.send_message("[The phone rings. Greet the caller.]")
            async for event in session:
                if event.type in ("handoff", "tool_end"):
                    print(event.type, flush=True)
    except RealtimeClosedError as exc:
        print(f"error: {exc}", flush=True)
        await client.disconnect()


app = AudioConnector(on_connect)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
