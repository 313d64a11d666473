"""An agent of LiveKit's (`livekit-agents`) in a Vonage call, without a room. It needs the extra `livekit`, and asyncio.

    from livekit.agents import AgentSession
    from vonage_audio_connector_server.integrations.livekit import attach

    async def on_connect(client):
        session = AgentSession(stt=..., llm=..., tts=...)
        attach(session, client)
        await session.start(Assistant())

`attach` sets the session's inputs and outputs, and joins the ends of both. The parts can be used without it.
"""

from __future__ import annotations

from ...errors import MissingExtraError

try:
    import livekit.agents  # noqa: F401
except ModuleNotFoundError as exc:
    if exc.name not in ("livekit", "livekit.agents"):  # it is there, and lacks something itself
        raise
    raise MissingExtraError("The adapter to LiveKit Agents", "livekit") from exc

from .attach import attach
from .audio_input import VonageAudioInput
from .audio_output import VonageAudioOutput
from .text_output import VonageTextOutput

__all__ = ["VonageAudioInput", "VonageAudioOutput", "VonageTextOutput", "attach"]
