"""Listens, finds the end of what was said, and says it back; falls silent when it is interrupted.

A conversational assistant has this shape: put speech recognition, a language model and speech synthesis where `answer`
is, as examples/assistant.py does. Needs the extra `speech`, for a detector of voice.

    python examples/parrot.py                # listens on ws://localhost:8765
"""

import os

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.speech import SpeechEnded

try:
    import webrtcvad  # noqa: F401 (what `turns` takes by default)
except ImportError:
    raise SystemExit("parrot.py needs webrtcvad; in the checkout: pip install '.[speech]'") from None


def answer(question: bytes) -> bytes:
    return question


async def on_connect(client: Client) -> None:
    client.interrupt_on_speech()
    async for turn in client.turns():
        if isinstance(turn, SpeechEnded):
            client.send_audio_buffer(answer(turn.pcm), pad_last_frame=True)


app = AudioConnector(on_connect)

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8765"))
    Video().run_audio_connector_server(AudioConnectorServerConfig(host="localhost", port=port, on_connect=on_connect))
