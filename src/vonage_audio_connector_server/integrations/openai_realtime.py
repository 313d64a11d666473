"""A call joined to an OpenAI Realtime session: what the caller says goes in, what the model says is heard.

    from openai import AsyncOpenAI
    from vonage_audio_connector_server.integrations.openai_realtime import RealtimeCall

    openai = AsyncOpenAI()

    async def on_connect(client):
        call = RealtimeCall(client, lambda: openai.realtime.connect(model="gpt-realtime"))
        call.respond("Greet the caller.")
        await call.run()

It runs on asyncio, as the connection of the openai package does.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.abc

from ..errors import AudioConnectorConfigError
from ..runtime import on_trio, single_error
from ..signatures import takes
from ..steps import Handler
from ._openai_caller import CallerAudio
from ._openai_conversation import SETTINGS, Conversation
from ._openai_errors import LOST, RealtimeClosedError, RealtimeError, RealtimeToolError, closed_error
from ._openai_link import Connect, Outbox, opened, read
from ._openai_settings import settings_of
from ._openai_tell import Teller, check_function
from ._openai_tools import Tools
from ._openai_voice import Transcript

if TYPE_CHECKING:
    from openai.resources.realtime.realtime import AsyncRealtimeConnection

    from ..client import Client

__all__ = ["RealtimeCall", "RealtimeClosedError", "RealtimeError", "RealtimeToolError", "Transcript"]

logger = logging.getLogger("vonage_audio_connector_server")

READY_S = 10.0
"""How long a session may take to open and to take its settings."""

WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long to wait before each attempt to open another session; behind the last one it is given up."""

STEADY_S = 10.0
"""A session that was ready for so long was a good one: the attempts are counted anew."""


class RealtimeCall:
    """One call, joined to a Realtime session. To be used in the event loop of the call.

    The caller's speech interrupts the model, unless the settings say `interrupt_response: False`: what is being said
    falls silent, and the conversation that the model keeps is cut at what was heard. So does whatever else interrupts:
    `client.flush_buffer()`, `client.interrupt_on_speech()`.

    `on_event`, `on_transcript` and `on_error` are plain or coroutine functions, called one at a time and in order; what
    they raise is an error of a handler, as elsewhere in a call.

    Args:
        client: the call.
        connect: opens a connection, each time it is called: `lambda: openai.realtime.connect(model=…)`.
        session: the settings of the session, as the API has them: `instructions`, `tools`, `audio`. The audio formats
            are added: 24 kHz PCM both ways.
        tools: functions, by the names that `session["tools"]` describes: plain or coroutine functions, called with what
            the model sends, by keyword. The model gets what they return, a text or what JSON can express, and answers.
        on_event: called with each event of the session, of the types in `openai.types.realtime`.
        on_transcript: called with each `Transcript`: of the assistant once it was heard, of the caller where
            `session["audio"]["input"]["transcription"]` is set.
        on_error: called with each `RealtimeError`. All of them stand in the log, too, as one line.
        reconnect: when the session ends, open another one with the same settings, up to five times in a row, after
            0.5, 1, 2, 4 and 8 s. It does not know what was said. The caller's last 5 s wait for it.

    Raises:
        AudioConnectorConfigError: a setting is wrong; the message names it.
    """

    def __init__(
        self,
        client: Client,
        connect: Connect,
        *,
        session: Mapping[str, Any] | None = None,
        tools: Mapping[str, Callable[..., object]] | None = None,
        on_event: Handler | None = None,
        on_transcript: Handler | None = None,
        on_error: Handler | None = None,
        reconnect: bool = False,
    ) -> None:
        if not takes(connect):
            raise AudioConnectorConfigError("connect must be a function: lambda: openai.realtime.connect(model=…)")
        for name, function in (("on_event", on_event), ("on_transcript", on_transcript), ("on_error", on_error)):
            check_function(name, function)
        self._settings = settings_of({} if session is None else session)
        functions = Tools({} if tools is None else tools, self._settings)
        self._client, self._call = client, client._call
        self._connect, self._reconnects = connect, reconnect
        self._on_event, self._on_error = on_event, on_error
        self._caller = CallerAudio(self._call)
        self._outbox = Outbox(self._caller)
        self._teller = Teller(self._call)
        self._conversation = Conversation(client, self._outbox, functions, self._teller, on_transcript, on_error)
        self._state: Literal["new", "running", "over"] = "new"
        self._ready_s = math.inf

    @property
    def is_ready(self) -> bool:
        """Whether a session is open and has taken its settings."""
        return self._conversation.is_ready

    async def run(self) -> None:
        """Join the two until the call ends; then the session is closed. Cancelling it closes the session, too.

        Raises:
            RealtimeClosedError: the session has ended, or could not be opened, and there will be no other. What has
                come of an answer is said to its end. The call goes on.
            RuntimeError: it has run already, or this is not the event loop of the call.
        """
        if get_ident() != self._call.thread_id or on_trio():
            raise RuntimeError("a Realtime session runs in the event loop of its call, on asyncio")
        if self._state != "new":
            raise RuntimeError("a RealtimeCall runs once")
        self._state = "running"
        try:
            with single_error():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._end_with_call, tasks.cancel_scope)
                    await self._stay_joined()
        finally:
            self._state = "over"
            self._caller.stop()
            self._conversation.lost()

    # What a program does

    def respond(self, instructions: str = "") -> None:
        """Let the model speak, when it has finished what it is saying; before the session is ready, as soon as it is.

        Args:
            instructions: for this answer alone, in the place of those of the session; empty: those.

        Raises:
            RealtimeClosedError: there is no session any more.
        """
        self._check()
        self._conversation.want({"instructions": instructions} if instructions else {})

    def send_text(self, text: str) -> None:
        """Add a text to the conversation, as if the caller had said it, and let the model answer.

        Raises:
            RealtimeClosedError: there is no session any more.
            AudioConnectorFullError: 256 events wait.
        """
        content = [{"type": "input_text", "text": text}]
        self.send({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
        self._conversation.want({})

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event of the API as it is; before the session is ready, as soon as it is.

        Raises:
            RealtimeClosedError: there is no session any more.
            AudioConnectorFullError: 256 events wait.
        """
        self._check()
        self._outbox.check_room()
        self._outbox.put(event)

    def interrupt(self) -> None:
        """Fall silent at once, as when the caller speaks; the model is told to stop, and what was heard."""
        if not self._call.is_over:
            self._conversation.interrupt()

    # Inside: one session after the other

    async def _end_with_call(self, scope: anyio.CancelScope) -> None:
        await self._client.wait_closed()
        scope.cancel()

    async def _stay_joined(self) -> None:
        attempt = 0
        while True:
            error = await self._talk()
            if self._call.clock() - self._ready_s >= STEADY_S:
                attempt = 0
            self._ready_s = math.inf
            self._conversation.lost()
            if not self._reconnects or error.is_final or attempt == len(WAITS_S):
                logger.error("connection %s: %s", self._call.id, error)
                self._teller.tell(self._on_error, error, is_vital=True)
                raise error
            self._conversation.report(error)
            await anyio.sleep(WAITS_S[attempt])
            attempt += 1

    async def _talk(self) -> RealtimeClosedError:
        """One session; returns how it ended."""
        conversation = self._conversation
        try:
            with anyio.fail_after(READY_S) as limit:
                async with opened(self._connect) as connection:
                    exc = await self._until_lost(connection, limit)
        except LOST as failed:
            exc = failed
        if isinstance(exc, RealtimeClosedError):
            return exc
        error = closed_error(exc, conversation.last_error, in_answer=conversation.responses.is_running)
        error.__cause__ = exc
        return error

    async def _until_lost(self, connection: AsyncRealtimeConnection, limit: anyio.CancelScope) -> Exception:
        """Send and receive until the connection is gone; returns why."""
        try:
            settings = {"type": "session.update", "session": self._settings, "event_id": SETTINGS}
            await connection.send(settings)  # type: ignore[arg-type]  # the API checks it
            while not self.is_ready:
                await self._receive(connection)
            limit.deadline = math.inf
            self._ready_s = self._call.clock()
            with single_error():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._outbox.send_to, connection)
                    while True:
                        await self._receive(connection)
        except LOST as exc:
            return exc
        raise AssertionError("a connection ends with an error")

    async def _receive(self, connection: AsyncRealtimeConnection) -> None:
        event, data = await read(connection, self._call.id)
        self._conversation.received(event)
        if self._on_event is not None:
            self._teller.tell(self._on_event, connection.parse_event(data))

    def _check(self) -> None:
        if self._state == "over":
            raise RealtimeClosedError("the call is joined to no Realtime session any more")
