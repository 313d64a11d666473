"""An echo that only a guest with a token reaches: each token opens one connection, within ten minutes.

    python examples/guarded.py               # prints the address to connect to; listens on ws://localhost:8765

Another program can make the connect call: with the same AUDIO_CONNECTOR_KEY, it mints tokens that are valid here.
"""

import os
import secrets

from vonage_audio_connector_server import AudioConnectorServerConfig, Client, OneTimeTokens, Video

PORT = int(os.environ.get("PORT", "8765"))
KEY = os.environ.get("AUDIO_CONNECTOR_KEY") or secrets.token_hex(32)  # at least 32 bytes

tokens = OneTimeTokens(KEY, ttl_s=600)  # time to copy one by hand; a connect call uses it at once: 60 s are plenty


async def on_connect(client: Client) -> None:
    async def on_message(message: bytes | str) -> None:
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)

    client.set_handler(on_message=on_message)


def print_invitation() -> None:
    print("connect once to", tokens.mint_uri(f"ws://localhost:{PORT}/"), flush=True)


if __name__ == "__main__":
    Video().run_audio_connector_server(
        AudioConnectorServerConfig(
            host="localhost", port=PORT, on_connect=on_connect, on_start=print_invitation, authorize=tokens
        )
    )
