"""What runs for one frame, traced on real sockets: the lists that docs/discussion/hot-path.md shows.

Each call costs every stream 50 times a second, so one more is noticed here, and is then either worth it or not.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import uvicorn
from conftest import FIRST_MESSAGE
from websockets.asyncio.client import connect

import vonage_audio_connector_server as package
from vonage_audio_connector_server import AudioConnector, Client, WebSocketProtocol

pytestmark = pytest.mark.anyio

SRC = f"{Path(package.__file__).parent}/"
PAGE = Path(__file__).parent.parent / "docs" / "discussion" / "hot-path.md"

MOST_IN = 7
MOST_OUT = 12


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def tracer(calls: list[str]) -> Callable[[FrameType, str, object], None]:
    def trace(frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(SRC):
            calls.append(f"{name.removeprefix(SRC)}: {frame.f_code.co_qualname}")

    return trace


async def trace(ws: Any, *, echoes: bool) -> list[str]:
    """What runs of ours for one frame: the shortest of some, for a machine that is busy makes others late."""
    calls: list[str] = []
    traced: list[list[str]] = []

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            calls.append("handler")
            if echoes and isinstance(message, bytes):
                await client.send_audio_buffer(message)

        client.set_handler(on_message=on_message)

    app = AudioConnector(on_connect, watchdog=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, ws=ws, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody)
            await asyncio.sleep(0.001)
        uri = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        async with connect(uri, compression=None, proxy=None, ping_interval=None) as peer:
            await peer.send(FIRST_MESSAGE)
            for _ in range(12):
                calls.clear()
                await asyncio.sleep(0.005)
                sys.setprofile(tracer(calls))
                await peer.send(bytes(640))
                await (peer.recv() if echoes else asyncio.sleep(0.01))
                sys.setprofile(None)
                if "handler" in calls:
                    traced.append(calls.copy())
        server.should_exit = True
        await serving
    return min(traced[2:], key=len)  # the first ones tell the format, and begin the schedule


def files(calls: list[str]) -> set[str]:
    return {call.partition(":")[0] for call in calls if call != "handler"}


def listed(title: str) -> list[str]:
    """The list on the page under this title."""
    found = re.search(rf"{re.escape(title)}\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"no list under {title!r}"
    return found[1].splitlines()


@pytest.mark.parametrize(
    ("ws", "title"), [(WebSocketProtocol, "On our class"), ("websockets-sansio", "Under plain uvicorn")]
)
async def test_a_frame_takes_few_calls_and_the_page_lists_them(ws: Any, title: str) -> None:
    frame_in = await trace(ws, echoes=False)
    assert len(frame_in) - 1 <= MOST_IN + 1, frame_in  # the last one looks whether anybody wants to write
    assert len(files(frame_in)) <= 5, frame_in
    echo = await trace(ws, echoes=True)
    frame_out = echo[echo.index("handler") + 1 :]
    assert len(frame_out) <= MOST_OUT, frame_out
    assert len(files(frame_out)) <= 6, frame_out
    assert echo == listed(title)
