"""A call answered by an agent of the OpenAI Agents SDK: its `RealtimeSession` hears the caller, and is heard.

    from agents.realtime import RealtimeAgent, RealtimeRunner
    from vonage_audio_connector_server.integrations.openai_agents import agent_session

    agent = RealtimeAgent(name="Assistant", instructions="You are on the phone.")

    async def on_connect(client):
        async with agent_session(client, RealtimeRunner(agent)) as session:
            await session.send_message("Greet the caller.")
            async for event in session:
                ...  # as in any program of the SDK; the sound goes its way by itself

It runs on asyncio, as the SDK does.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

import anyio
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.frames import Close

from .. import sparing
from ..close_codes import NORMAL
from ..errors import (
    AudioConnectorAudioError,
    AudioConnectorClosedError,
    AudioConnectorConfigError,
    AudioConnectorFullError,
    MissingExtraError,
)
from ..runtime import on_trio, single_error
from ._openai_caller import CallerAudio
from ._openai_errors import LOST, RealtimeClosedError, RealtimeError, api_error, closed_error
from ._openai_settings import PCM
from ._openai_tell import Teller, check_function
from ._openai_voice import Item, Transcript, Voice, transcript_of

try:
    from agents.realtime import (
        RealtimeModelListener,
        RealtimeModelSendRawMessage,
        RealtimePlaybackTracker,
        RealtimeRunner,
        RealtimeSession,
    )
except ImportError as exc:
    raise MissingExtraError("a call for the Agents SDK", "openai") from exc

if TYPE_CHECKING:
    from agents.realtime import RealtimeModelConfig, RealtimeModelEvent, RealtimePlaybackState

    from ..client import Client
    from ..results import UtteranceResult
    from ..steps import Handler

__all__ = ["RealtimeClosedError", "RealtimeError", "Transcript", "agent_session"]

logger = logging.getLogger("vonage_audio_connector_server")


@asynccontextmanager
async def agent_session(
    client: Client,
    runner: RealtimeRunner,
    *,
    context: object = None,
    model_config: RealtimeModelConfig | None = None,
    on_transcript: Handler | None = None,
) -> AsyncIterator[RealtimeSession]:
    """Open a session of an agent, joined to a call, for an `async with`: in the event loop of the call.

    The caller's sound goes to the session, and the agent's to the call, whatever the program does with the session's
    events. When the session says that the agent was interrupted the call is silent at once, and the session's playback
    tracker tells what was heard, by the playout clock. So does whatever else interrupts: `client.flush_buffer()`,
    `client.interrupt_on_speech()`, `session.interrupt()`.

    The session ends with the block. When the call ends the session is closed, and an `async for event in session` ends.

    Args:
        client: the call.
        runner: of the agent. A runner has one model, which has one connection: make one for each call.
        context: the SDK's, for its tools.
        model_config: the SDK's; the playback tracker is added. The audio formats must be 24 kHz PCM, as they are.
        on_transcript: called with a `Transcript` once an answer was heard, with the words that were; plain or coroutine
            function. What the caller said stands in the session's history.

    Raises:
        RealtimeClosedError: the session could not be opened, or has ended before the call. What has come of an answer
            is said to its end. The call goes on.
        AudioConnectorConfigError: a setting is wrong; inside of the block, by the session: an audio format.
        RuntimeError: this is not the event loop of the call.
    """
    call = client._call
    if get_ident() != call.thread_id or on_trio():
        raise RuntimeError("a session of an agent runs in the event loop of its call, on asyncio")
    config = cast("RealtimeModelConfig", dict(model_config or {}))
    if "playback_tracker" in config:
        raise AudioConnectorConfigError("model_config['playback_tracker'] must be left out: the call has its own")
    check_function("on_transcript", on_transcript)
    joined = _Joined(client, on_transcript)
    config["playback_tracker"] = HeardTracker(joined.voice)
    caller = CallerAudio(call)
    try:
        session = await runner.run(context=context, model_config=config)
        joined.model = session.model
        session.model.add_listener(joined)
        try:
            await session.enter()
        except LOST as exc:
            raise closed_error(exc) from exc
        try:
            with single_error():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_send, caller, session, joined)
                    tasks.start_soon(_close_with_call, client, caller, session)
                    yield session
                    joined.check_open()
                    tasks.cancel_scope.cancel()
        except ConnectionClosed as exc:  # of the session: nothing else in a program has this one's connection
            raise joined.closed(exc) from exc
        finally:
            with anyio.CancelScope(shield=True):
                await session.close()
    finally:
        caller.stop()
        joined.end()


async def _send(caller: CallerAudio, session: RealtimeSession, joined: _Joined) -> None:
    """Send what the caller says, until the connection is gone; then an `async for` over the session ends."""
    try:
        while not caller.is_stopped:
            pcm = caller.take()
            if pcm:
                await session.send_audio(pcm)
            else:
                await caller.wait()
    except ConnectionClosed as exc:  # versions before 0.21 tell it here alone, where the session has closed well
        joined.is_lost(exc)
        await session.close()
    except AssertionError:  # that is how the SDK says that the program has closed it
        logger.debug("the agent's session was closed by the program")


async def _close_with_call(client: Client, caller: CallerAudio, session: RealtimeSession) -> None:
    await client.wait_closed()
    caller.stop()
    await session.close()


class HeardTracker(RealtimePlaybackTracker):
    """Tells the session what was heard, by the playout clock of the call: the session cuts the conversation there.

    Args:
        voice: the agent's in the call.
    """

    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self._voice = voice

    def get_state(self) -> RealtimePlaybackState:
        """What is heard now, and how much of it has been; asked by the session."""
        item = self._voice.playing
        if item is None or item.is_cut:
            return {"current_item_id": None, "current_item_content_index": None, "elapsed_ms": None}
        return {
            "current_item_id": item.id,
            "current_item_content_index": item.content_index,
            "elapsed_ms": float(item.heard_ms),
        }


class _Joined(RealtimeModelListener):
    """Stands between the session's model and the call.

    Args:
        client: the call.
        on_transcript: of the program.

    Attributes:
        voice: the agent's.
        model: of the session.
    """

    def __init__(self, client: Client, on_transcript: Handler | None) -> None:
        self.voice = Voice(client, self._item_over)
        self.model: Any = None
        self._call = client._call
        self._teller = Teller(self._call)
        self._on_transcript = on_transcript
        self._running = ""  # the response that is being made
        self._lost: ConnectionClosed | None = None
        self._last_error: RealtimeError | None = None

    def closed(self, exc: Exception) -> RealtimeClosedError:
        """How the session ended."""
        return closed_error(exc, self._last_error, in_answer=bool(self._running))

    def is_lost(self, exc: ConnectionClosed) -> None:
        """The connection is gone; several may tell it."""
        if self._lost is None:
            self._lost = exc
            if self._call.is_open:
                logger.error("connection %s: %s", self._call.id, self.closed(exc))

    def check_open(self) -> None:
        """Raise `RealtimeClosedError` where the session has ended by itself and the program's loop has not told it."""
        if self._lost is not None and self._call.is_open:
            raise self.closed(self._lost) from self._lost

    def end(self) -> None:
        """The session is gone: what has come is said to its end."""
        if self.model is not None:
            self.model.remove_listener(self)
            self.model = None
        self.voice.forget()

    async def on_event(self, event: RealtimeModelEvent) -> None:
        """An event of the model; see `RealtimeModelListener`."""
        try:
            if event.type == "audio":
                self._audio(event.item_id, event.content_index, event.response_id, event.data)
            elif event.type == "audio_interrupted":
                await self._interrupted()
            elif event.type == "transcript_delta":
                self.voice.text(event.item_id, 0, event.response_id, event.delta)
            elif event.type == "raw_server_event":
                self._raw(event.data)
            elif event.type == "connection_status" and event.status == "disconnected":
                self.is_lost(ConnectionClosedOK(Close(NORMAL, ""), None))
            elif event.type == "exception" and isinstance(event.exception, ConnectionClosed):
                self.is_lost(event.exception)
        except AudioConnectorClosedError:
            logger.debug("connection %s: it has ended, and an answer with it", self._call.id)

    # Inside

    def _audio(self, item_id: str, content_index: int, response_id: str, pcm: bytes) -> None:
        try:
            self.voice.audio(item_id, content_index, response_id, pcm)
        except AudioConnectorFullError as exc:
            self.voice.drop_response(response_id)
            self.voice.end(response_id=response_id)
            logger.warning("connection %s: an answer was cut off, because too much of it waits: %s", self._call.id, exc)
        except AudioConnectorAudioError as exc:
            sparing.warn("connection %s: can't use an event of the Realtime API: %s", self._call.id, exc)

    def _raw(self, event: object) -> None:
        """What the SDK doesn't tell otherwise: where an item and a response end, and the formats; and its errors."""
        if not isinstance(event, Mapping):
            return
        match event:
            case {"type": "error", "error": dict(error)}:
                self._last_error = api_error(error)
                logger.warning("connection %s: %s", self._call.id, self._last_error)
            case {"type": "response.created", "response": {"id": str(response_id)}}:
                self._running = response_id
            case {"type": "response.output_item.done", "item": {"type": "message", "id": str(item_id)}}:
                self.voice.end(item_id=item_id)
            case {"type": "response.done", "response": {"id": str(response_id)}}:
                self.voice.end(response_id=response_id)
                if self._running == response_id:
                    self._running = ""
            case {"type": "session.updated", "session": {"audio": dict(audio)}}:
                for side in ("input", "output"):
                    if audio.get(side, {}).get("format", PCM) != PCM:
                        raise AudioConnectorConfigError(f"the agent's {side}_audio_format must be pcm16, or left out")

    async def _interrupted(self) -> None:
        """Fall silent. The session cuts the item that was being heard; what was not heard at all is cut here."""
        playing = self.voice.playing
        cut = self.voice.interrupt()
        self.voice.drop_response(self._running)
        for item in cut:
            if item is not playing:
                await self._truncate(item)

    async def _item_over(self, item: Item, result: UtteranceResult) -> None:
        """An item was heard, or never will be; a task of the call."""
        if result.interrupted and not item.is_cut and not self._call.is_over:
            self.voice.drop(item)  # by the program; the session doesn't know
            if self._running:
                await self._say({"type": "response.cancel"})
            await self._truncate(item)
        if result.text or result.duration_s:
            await self._teller.now(self._on_transcript, transcript_of(item, result))

    async def _truncate(self, item: Item) -> None:
        end = {"item_id": item.id, "content_index": item.content_index, "audio_end_ms": item.heard_ms}
        await self._say({"type": "conversation.item.truncate", "other_data": end})

    async def _say(self, message: Any) -> None:
        if self.model is not None:
            try:
                await self.model.send_event(RealtimeModelSendRawMessage(message=message))
            except LOST as exc:
                logger.debug("the agent's session takes no more: %s", type(exc).__name__)
