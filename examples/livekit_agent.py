"""An agent of LiveKit's answers a call. It needs no key: its ears, brain and voice are local (`livekit_parts.py`).

python examples/livekit_agent.py    # listens on ws://localhost:8765
"""

import os

from livekit.agents import Agent, AgentSession, ChatMessage, ConversationItemAddedEvent, function_tool
from livekit_parts import LocalSTT, LocalTTS, RuleLLM

from vonage_audio_connector_server import AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.integrations.livekit import attach


class Assistant(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You are on the phone. Answer in one to three short sentences.")

    async def on_enter(self) -> None:
        self.session.say("Hello. What can I do for you?")

    @function_tool
    async def hang_up(self) -> None:
        """End the call. Say goodbye first."""
        self.session.shutdown()


def show(event: ConversationItemAddedEvent) -> None:
    if isinstance(event.item, ChatMessage):
        print(f"{event.item.role}: {event.item.text_content}{' -' if event.item.interrupted else ''}", flush=True)


async def on_connect(client: Client) -> None:
    session = AgentSession(
        stt=LocalSTT(),
        llm=RuleLLM(),
        tts=LocalTTS(),
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {"min_delay": 0.3},
            "interruption": {"min_duration": 0.15},
        },
        use_tts_aligned_transcript=True,
        aec_warmup_duration=None,
        session_close_transcript_timeout=0.2,
    )
    session.on("conversation_item_added", show)
    attach(session, client)
    await session.start(Assistant())


if __name__ == "__main__":
    LocalSTT(), LocalTTS()  # so that the first caller need not wait for them
    port = int(os.environ.get("PORT", "8765"))
    config = AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect)
    Video().run_audio_connector_server(config)
