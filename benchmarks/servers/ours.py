"""This library, as its quickstart shows it; in variants, as its users write and install it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, FlightRecorder, Video

from ..frames import PLAY_S, Answers, answer, interrupts
from .control import COUNTS, arguments, options, ready, tls, wait_a_little

role, port, variant = arguments()
OPTIONS = options(variant)
LISTEN = OPTIONS.get("listen", "on_message")
SERVE = OPTIONS.get("serve", "alone")
ANSWER = answer(PLAY_S)
ANSWERS = Answers()
RECORDINGS = Path(tempfile.gettempdir()) / "vonage-audio-connector-benchmark"


async def on_connect(client: Client) -> None:
    generation = 0
    answered = False

    async def count(message: bytes | str) -> None:
        COUNTS["received"] += 1

    async def echo(message: bytes | str) -> None:
        COUNTS["received"] += 1
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)

    async def waiting_count(message: bytes | str) -> None:
        await wait_a_little()
        COUNTS["received"] += 1

    async def waiting_echo(message: bytes | str) -> None:
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
            client.flush_buffer()
            await client.send_audio_buffer(ANSWERS.after(generation, flushed_s))

    COUNTS["connected"] += 1
    handlers: dict[str, Any] = {"in": count, "echo": echo, "play": play, "barge-in": barge_in}
    if LISTEN == "waiting":
        handlers = {"in": waiting_count, "echo": waiting_echo}
    if LISTEN == "for":
        async for message in client:
            COUNTS["received"] += 1
            if role == "echo" and isinstance(message, bytes):
                await client.send_audio_buffer(message)
    elif LISTEN == "on_audio":
        client.set_handler(on_audio=handlers[role])
    else:
        client.set_handler(on_message=handlers[role])


def in_fastapi() -> Any:
    """The connector mounted, as in the guide."""
    from fastapi import FastAPI

    app = FastAPI()
    app.mount("/", AudioConnector(on_connect))
    return app


async def main() -> None:
    more: Any = {"app": in_fastapi()} if SERVE == "fastapi" else {"on_connect": on_connect}
    if OPTIONS.get("audio") == "json":
        more["audio_transport"] = "json"
    if "rate" in OPTIONS:
        more["sample_rate_hz"] = int(OPTIONS["rate"])
    if OPTIONS.get("recorder") == "on":
        shutil.rmtree(RECORDINGS, ignore_errors=True)  # the runner kills its servers, and so the last one's are there
        more["recorder"] = FlightRecorder(RECORDINGS)
    config = AudioConnectorServerConfig(host="127.0.0.1", port=port, ssl=tls(), **more)
    async with await Video().start_audio_connector_server(config):
        ready(loop_name())
        await asyncio.Event().wait()


async def main_of_uvicorn() -> None:
    """Plain uvicorn, with its own class for WebSockets."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(in_fastapi(), host="127.0.0.1", port=port, log_level="error", ws="websockets-sansio")
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    ready(f"{loop_name()}, websockets-sansio")
    await serving


def loop_name() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


program = main_of_uvicorn() if SERVE == "uvicorn" else main()
if OPTIONS.get("loop") == "uvloop":
    import uvloop

    uvloop.run(program)
else:
    asyncio.run(program)
