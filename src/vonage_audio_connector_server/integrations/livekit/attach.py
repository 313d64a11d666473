"""Joining an agent session to a call: its inputs and outputs, and the ends of both."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents import AgentSession, CloseEvent

from ...client import Client
from ...close_codes import INTERNAL_ERROR, NORMAL
from .audio_input import VonageAudioInput
from .audio_output import VonageAudioOutput
from .text_output import VonageTextOutput

_closing: set[asyncio.Task[None]] = set()  # asyncio holds tasks weakly


def attach(session: AgentSession[Any], client: Client, *, sample_rate_hz: int | None = None) -> None:
    """Let an agent session hear and speak in a call; then `await session.start(agent)`, without a room.

    It sets `session.input.audio`, `session.output.audio` and `session.output.transcription`; what was set as
    transcription before gets the text behind ours.
    When the call ends the session is closed (`session.aclose()`), at whatever point its start was; the call waits 5 s
    for that. When the session closes, by `session.shutdown()` for example, what is being said is heard to its end and
    the call is closed: with 1000, or with 1011 where the session has failed.

    Args:
        session: not started yet.
        client: the call.
        sample_rate_hz: of the frames that the session gets; None: that of the connection.

    Raises:
        AudioConnectorConfigError: it is called outside of the call's own event loop, or on trio.
        AudioConnectorAudioError: the rate is none.
        AudioConnectorClosedError: the call has ended.
        MissingExtraError: the extra `audio` is not installed.
    """
    audio_input = VonageAudioInput(client, sample_rate_hz=sample_rate_hz)
    audio_output = VonageAudioOutput(client)
    client.start_soon(_close_session, session, client)
    audio_input._on_end = lambda: _close_soon(session)
    session.input.audio = audio_input
    session.output.audio = audio_output
    session.output.transcription = VonageTextOutput(audio_output, session.output.transcription)

    def closed(event: CloseEvent) -> None:
        session.off("close", closed)
        if client._call.is_open:
            client.start_soon(_close_call, client, INTERNAL_ERROR if event.error is not None else NORMAL)

    session.on("close", closed)


async def _close_session(session: AgentSession[Any], client: Client) -> None:
    """The call ends: so does the session."""
    await client.wait_closed()
    await asyncio.shield(_close_soon(session))


def _close_soon(session: AgentSession[Any]) -> asyncio.Task[None]:
    # In a task of its own: an agent's farewell (`on_exit`) may take longer than a call waits for its tasks.
    task = asyncio.create_task(session.aclose())
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    return task


async def _close_call(client: Client, code: int) -> None:
    """The session has ended: so does the call, when all was heard."""
    client.resume()
    await client.drain()
    await client.disconnect(code)
