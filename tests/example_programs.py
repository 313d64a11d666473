"""The larger examples, imported as the modules they are: each of their models is loaded once for all tests."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from vonage_audio_connector_server import AudioConnectorServerConfig, Video

EXAMPLES = Path(__file__).parent.parent / "examples"

WORDS = {
    "librivox-1": "and mister john dashwood had then leisure to consider how much there might be prudently in his "
    "power to do for them",
    "librivox-2": "he was not an ill disposed young man",
    "librivox-3": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "librivox-4": "had he married a more amiable woman he might have been made still more respectable than he was",
    "librivox-5": "he might even have been made amiable himself",
}


def load_example(name: str) -> Any:
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module(name)


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an application on this event loop, on a real socket."""
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, app=app)
    async with await Video().start_audio_connector_server(config) as handle:
        yield f"ws://127.0.0.1:{handle.port}"


def words_of(text: str) -> list[str]:
    """Its words, as they are spoken."""
    text = text.lower().replace("mr.", "mister").replace("10", "ten").replace("-", " ")
    return re.sub(r"[^a-z' ]", " ", text).split()


async def until(question: Any, within_s: float = 10.0) -> None:
    with anyio.fail_after(within_s):
        while not question():  # noqa: ASYNC110 (it stands in a file, or in another process)
            await anyio.sleep(0.02)
