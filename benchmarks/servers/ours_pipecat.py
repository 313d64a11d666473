"""The bot of pipecat's row on our transport: this library as it is installed, and pipecat's pipeline."""

from __future__ import annotations

import asyncio

from vonage_audio_connector_server import AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.integrations.pipecat import VonageAudioConnectorParams, VonageAudioConnectorTransport

from .control import arguments, options, ready
from .pipecat_bot import run_bot

_, port, variant = arguments()
OPTIONS = options(variant)


async def on_connect(client: Client) -> None:
    params = VonageAudioConnectorParams(audio_in_10ms_chunks=int(OPTIONS.get("in", 4)))
    await run_bot(VonageAudioConnectorTransport(client, params))


async def main() -> None:
    config = AudioConnectorServerConfig(host="127.0.0.1", port=port, on_connect=on_connect)
    async with await Video().start_audio_connector_server(config):
        ready("asyncio")
        await asyncio.Event().wait()


asyncio.run(main())
