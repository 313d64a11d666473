"""Joins a live session, says a greeting, and leaves it after a minute or with Ctrl-C.

python examples/howto/live_session.py SESSION_ID wss://bot.example.com/vonage
"""

import asyncio
import contextlib
import os
import secrets
import sys

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorServerConfig,
    Client,
    OneTimeTokens,
    Video,
    start_session_audio,
)


async def on_connect(client: Client) -> None:
    await client.play("examples/audio/go-forward-ten-meters.wav").wait()
    print("the greeting has been heard", flush=True)


connector = AudioConnector(on_connect, authorize=OneTimeTokens(secrets.token_bytes(32)))


async def main(session_id: str, uri: str) -> None:
    port = int(os.environ.get("PORT", "8765"))
    config = AudioConnectorServerConfig(host="127.0.0.1", port=port, app=connector)
    async with (
        await Video().start_audio_connector_server(config),
        start_session_audio(session_id, uri, connector=connector, for_s=60) as call,
    ):
        print("joined as connection", call.connection_id, flush=True)
        await call.wait_ended()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
