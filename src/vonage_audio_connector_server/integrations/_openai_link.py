"""One connection to the Realtime API: events in, as they were read; events and the caller's audio out, in turn."""

from __future__ import annotations

import base64
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import InputAudioBufferAppendEvent

from .. import sparing
from ..errors import AudioConnectorFullError
from ._openai_caller import CallerAudio
from ._openai_errors import LOST

logger = logging.getLogger("vonage_audio_connector_server")

Connect = Callable[[], AbstractAsyncContextManager[AsyncRealtimeConnection]]
"""Opens a connection: `lambda: openai.realtime.connect(model="gpt-realtime")`."""

CLOSE_S = 2.0
"""How long a close may take."""

MOST_EVENTS = 256
"""So many events wait to be sent; then the oldest are dropped. Sound is no event, and waits elsewhere."""


class Outbox:
    """What is to be sent. It outlives a connection.

    Args:
        caller: whose sound is sent when no event waits.
    """

    def __init__(self, caller: CallerAudio) -> None:
        self._caller = caller
        self._events: deque[Mapping[str, Any]] = deque(maxlen=MOST_EVENTS)

    def check_room(self) -> None:
        """Make sure that there is room for an event of the program.

        Raises:
            AudioConnectorFullError: there is none.
        """
        if len(self._events) == MOST_EVENTS:
            raise AudioConnectorFullError(f"{MOST_EVENTS} events wait to be sent to the Realtime API")

    def put(self, event: Mapping[str, Any]) -> None:
        """Send an event, ahead of all sound."""
        self._events.append(event)
        self._caller.wake()

    def clear(self) -> None:
        """Forget what waits: it was for a session that is gone."""
        self._events.clear()

    async def send_to(self, connection: AsyncRealtimeConnection) -> None:
        """Send what there is and what comes, until the connection is gone: its reader tells why."""
        try:
            while True:
                while self._events:
                    await connection.send(self._events.popleft())  # type: ignore[arg-type]  # checked by the API
                pcm = self._caller.take()
                if pcm:
                    # A whole event costs a sixth of a dict, which is looked through.
                    audio = base64.b64encode(pcm).decode()
                    event = InputAudioBufferAppendEvent.model_construct(type="input_audio_buffer.append", audio=audio)
                    await connection.send(event)
                else:
                    await self._caller.wait()
        except LOST as exc:
            logger.debug("the connection to the Realtime API takes no more: %s", type(exc).__name__)


@asynccontextmanager
async def opened(connect: Connect) -> AsyncIterator[AsyncRealtimeConnection]:
    """A connection. Its end takes `CLOSE_S` at most, and is no error."""
    async with connect() as connection:
        try:
            yield connection
        finally:
            with anyio.move_on_after(CLOSE_S, shield=True):  # where the call has ended nobody waits any more
                try:
                    await connection.close()
                except LOST as exc:
                    logger.debug("the connection to the Realtime API ended by itself: %s", type(exc).__name__)


async def read(connection: AsyncRealtimeConnection, call_id: str) -> tuple[dict[str, Any], bytes]:
    """The next event, and as it came; what is none is passed over, with a line in the log."""
    while True:
        data = await connection.recv_bytes()
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(event.get("type"), str):
            return event, data
        sparing.warn("connection %s: the Realtime API sent %d bytes that are no event", call_id, len(data))


def text_in(event: Mapping[str, Any], name: str) -> str:
    """A text of an event.

    Raises:
        ValueError: there is none.
    """
    value = event.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def index_in(event: Mapping[str, Any]) -> int:
    """The content index of an event.

    Raises:
        ValueError: there is none.
    """
    value = event.get("content_index")
    if type(value) is not int:
        raise ValueError("content_index is no number")
    return value


def dict_in(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object in an event.

    Raises:
        ValueError: there is none.
    """
    value = event.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    return value
