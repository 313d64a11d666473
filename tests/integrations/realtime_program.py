"""A program that joins its calls to the stand-in of the Realtime API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from realtime_stand_in import StandIn

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.integrations.openai_realtime import (
    RealtimeCall,
    RealtimeClosedError,
    RealtimeError,
    Transcript,
)
from vonage_audio_connector_server.testing import on_virtual_clock

virtual = on_virtual_clock(backends=("asyncio",))


class Program:
    """A program that joins its call to the stand-in, and keeps what it is told."""

    def __init__(self, stand_in: StandIn, **settings: Any) -> None:
        self.settings = {"on_transcript": self.transcripts.append, "on_error": self.errors.append} | settings
        self.stand_in = stand_in
        self.greets = True
        self.after: Callable[[Client], Awaitable[None]] | None = None

    @property
    def transcripts(self) -> list[Transcript]:
        return self.__dict__.setdefault("_transcripts", [])  # type: ignore[no-any-return]

    @property
    def errors(self) -> list[RealtimeError]:
        return self.__dict__.setdefault("_errors", [])  # type: ignore[no-any-return]

    @property
    def spoken(self) -> list[Transcript]:
        return [one for one in self.transcripts if one.role == "assistant"]

    async def on_connect(self, client: Client) -> None:
        self.client = client
        self.call = RealtimeCall(client, self.stand_in.connect, **self.settings)
        if self.greets:
            self.call.respond("Greet the caller.")
        try:
            await self.call.run()
        except RealtimeClosedError as exc:
            self.closed = exc
            if self.after is None:
                raise
            await self.after(client)


async def done(client: Client) -> None:
    """Nothing more is done."""
