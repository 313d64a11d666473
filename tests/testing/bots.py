"""Programs that the tests of the test kit call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.testing import tone

OnConnect = Callable[[Client], Awaitable[None]]

SPOKEN_FRAMES = 3
QUIET_FRAMES = 10


def answering(answer: bytes, *, falls_silent: bool = True, greeting: bytes = b"") -> OnConnect:
    """A bot that answers what was said, 0.2 s after its end; it `falls_silent` 60 ms after somebody speaks."""

    async def on_connect(client: Client) -> None:
        spoken = quiet = 0

        def on_audio(frame: bytes) -> None:
            nonlocal spoken, quiet
            if any(frame):
                spoken, quiet = spoken + 1, 0
                if spoken == SPOKEN_FRAMES and falls_silent:
                    client.flush_buffer()
            else:
                quiet += 1
                if quiet == QUIET_FRAMES:
                    if spoken >= SPOKEN_FRAMES:
                        client.send_audio_buffer(answer, pad_last_frame=True)
                    spoken = 0

        client.set_handler(on_audio=on_audio)
        await client.wait_format()
        if greeting:
            client.send_audio_buffer(greeting, pad_last_frame=True)

    return on_connect


def greeting(duration_s: float = 1.0) -> OnConnect:
    """A bot that greets with a tone, and listens to nothing."""

    async def on_connect(client: Client) -> None:
        rate_hz = (await client.wait_format()).rate_hz
        client.send_audio_buffer(tone(duration_s, rate_hz), pad_last_frame=True)

    return on_connect


async def silent(client: Client) -> None:
    """A bot that does nothing at all."""


async def echo(client: Client) -> None:
    """A bot that says everything back."""

    async def on_audio(frame: bytes) -> None:
        await client.send_audio_buffer(frame)

    client.set_handler(on_audio=on_audio)


def listening(seen: list[Any]) -> OnConnect:
    """A bot that keeps the texts of its session."""

    async def on_connect(client: Client) -> None:
        client.set_handler(on_event=seen.append)

    return on_connect
