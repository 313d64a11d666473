"""The reference SDK 0.1.1, as its guide shows it. Its logging, which is at DEBUG by default, is quietened."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from audio_connector_sdk.vonage_video import Video
from audio_connector_sdk.vonage_video.models.audio_connector import AudioConnectorServerConfig

from ..frames import PLAY_S, Answers, answer, interrupts
from .control import COUNTS, arguments, options, ready, tls, wait_a_little

role, port, variant = arguments()
WAITS = options(variant).get("listen") == "waiting"
ANSWER = answer(PLAY_S)
ANSWERS = Answers()
logging.getLogger().setLevel(logging.ERROR)


async def on_connect(client: Any) -> None:
    generation = 0
    answered = False

    async def count(message: bytes | str) -> None:
        if WAITS:
            await wait_a_little()
        COUNTS["received"] += 1

    async def echo(message: bytes | str) -> None:
        if WAITS:
            await wait_a_little()
        COUNTS["received"] += 1
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)

    async def play(message: bytes | str) -> None:
        nonlocal answered
        if isinstance(message, bytes) and not answered:
            answered = True
            await client.send_audio_buffer(ANSWER)

    async def barge_in(message: bytes | str) -> None:
        nonlocal generation
        if isinstance(message, bytes):
            if not interrupts(message):
                await client.send_audio_buffer(message)
                return
            generation += 1
            flushed_s = time.monotonic()
            await client.flush_buffer()
            await client.send_audio_buffer(ANSWERS.after(generation, flushed_s))

    COUNTS["connected"] += 1
    client.set_handler(on_message={"in": count, "echo": echo, "play": play, "barge-in": barge_in}[role])


async def main() -> None:
    config = AudioConnectorServerConfig(host="127.0.0.1", port=port, ssl=tls(), on_connect=on_connect)
    await Video().start_audio_connector_server(config)
    ready("asyncio, websockets")
    await asyncio.Event().wait()


asyncio.run(main())
