"""This library, as its quickstart shows it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from vonage_audio_connector_server import AudioConnectorServerConfig, Client, Video

from ..frames import PLAY_S, Answers, answer, interrupts
from .control import COUNTS, arguments, ready

role, port, variant = arguments()
loop_name, _, ws = variant.partition(",")
ANSWER = answer(PLAY_S)
ANSWERS = Answers()


async def on_connect(client: Client) -> None:
    generation = 0
    answered = False

    async def count(message: bytes | str) -> None:
        COUNTS["received"] += 1

    async def echo(message: bytes | str) -> None:
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
            client.flush_buffer()
            await client.send_audio_buffer(ANSWERS.after(generation, flushed_s))

    COUNTS["connected"] += 1
    client.set_handler(on_message={"in": count, "echo": echo, "play": play, "barge-in": barge_in}[role])


async def main() -> None:
    options: Any = {"ws": ws}  # a word of the command line, which the configuration checks
    config = AudioConnectorServerConfig(host="127.0.0.1", port=port, on_connect=on_connect, **options)
    async with await Video().start_audio_connector_server(config):
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        ready(f"{loop}, {ws}")
        await asyncio.Event().wait()


if loop_name == "uvloop":
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
