"""A stand-in of OpenAI's Realtime API: it speaks the documented events, hears by energy, answers with recorded speech.

Every event that it sends, and every one that it gets, is checked against the types of the openai package. It runs over
a real socket, with TLS, or over a pipe in memory, for tests on a virtual clock. It misbehaves on request: see `Answer`.
"""

from __future__ import annotations

import base64
import json
import math
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any, get_args

import anyio
import anyio.abc
import numpy as np
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel, ValidationError
from realtime_pipe import GoneError, Pipe, PipeEnd, Socket, WebSocket
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from vonage_audio_connector_server.runtime import single_error
from vonage_audio_connector_server.testing import recording

RATE_HZ = 24_000
BLOCK_BYTES = 2 * RATE_HZ // 50
DELTA_MS = 200
LOUD = 10 ** (-40 / 20) * 32_768
STARTS_BLOCKS = 3  # of 20 ms
SILENCE_MS = 500  # D: the default of `silence_duration_ms`
DETECTION = {"create_response": True, "interrupt_response": True, "silence_duration_ms": SILENCE_MS}  # D
KEY = "sk-stand-in-0123456789"

SPEECH = recording("librivox-2", RATE_HZ)
TEXT = "he was not an ill disposed young man"


def models_of(union: Any) -> dict[str, type[BaseModel]]:
    """The classes of a union of events, by their type."""
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(union)[0])}


SERVER_EVENTS, CLIENT_EVENTS = models_of(RealtimeServerEvent), models_of(RealtimeClientEvent)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model answers next.

    Attributes:
        pcm: its sound, 24 kHz; empty: it says nothing.
        text: its words.
        items: so many messages, each with the same.
        calls: the functions that it calls, with their arguments.
        speed: so much faster than real time it comes.
        starts_after_s: so long it thinks.
        late: so many pieces of the sound come after the item was truncated.
        dies_after_s: behind so much sound the connection is gone, without a close.
        closes: the session closes then instead, with this code.
        garbage: what is no event comes between the pieces.
        failed: the response fails, with this error.
    """

    pcm: bytes = field(default=SPEECH, repr=False)
    text: str = TEXT
    items: int = 1
    calls: Sequence[tuple[str, str]] = ()
    speed: float = 5.0
    starts_after_s: float = 0.05
    late: int = 0
    dies_after_s: float | None = None
    closes: int | None = None
    garbage: bool = False
    failed: dict[str, str] | None = None


@dataclass
class Truncation:
    """An item was cut.

    Attributes:
        item_id: which.
        end_ms: at this place.
        sent_ms: so much of it had been sent.
        at_s: when.
    """

    item_id: str
    end_ms: int
    sent_ms: float
    at_s: float


@dataclass
class Item:
    id: str
    role: str
    answer: Answer | None = None
    response_id: str = ""
    sent_bytes: int = 0
    cut_ms: int | None = None

    @property
    def sent_ms(self) -> float:
        return self.sent_bytes / 2 / RATE_HZ * 1000


class StandIn:
    """The API.

    Args:
        answers: one after the other; behind the last one, that again.
        refuses: the session's settings are refused with this error.
        silent: it takes the connection, and says nothing.
        status: it refuses every connection with this.
        lasts_s: each session is closed after so long.

    Attributes:
        sessions: those that there were.
    """

    def __init__(
        self,
        *answers: Answer,
        refuses: dict[str, str] | None = None,
        silent: bool = False,
        status: HTTPStatus | None = None,
        lasts_s: float = math.inf,
    ) -> None:
        self.sessions: list[Session] = []
        self.refuses, self.silent, self.status, self.lasts_s = refuses, silent, status, lasts_s
        self.takes_every_format = False
        self._answers: Iterator[Answer] = iter(answers)
        self._last = answers[-1] if answers else Answer()

    def next_answer(self) -> Answer:
        self._last = next(self._answers, self._last)
        return self._last

    @property
    def session(self) -> Session:
        """The last one."""
        return self.sessions[-1]

    async def serve(self, socket: Socket) -> None:
        session = Session(self, socket)
        self.sessions.append(session)
        await session.run()

    # Over a pipe

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncRealtimeConnection]:
        """What `openai.realtime.connect` returns, without a network; the openai package reads and writes it."""
        async with self.piped() as pipe:
            connection = AsyncRealtimeConnection(pipe)  # type: ignore[arg-type]
            try:
                yield connection
            finally:
                await connection.close()

    @asynccontextmanager
    async def piped(self) -> AsyncIterator[Pipe]:
        pipe = Pipe()
        with single_error():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.serve, PipeEnd(pipe))
                try:
                    yield pipe
                finally:
                    tasks.cancel_scope.cancel()

    # Over a socket

    @asynccontextmanager
    async def served(self, ssl_context: ssl.SSLContext | None) -> AsyncIterator[int]:
        """Serve it on a port of this machine."""

        async def serve_one(connection: ServerConnection) -> None:
            await self.serve(WebSocket(connection))

        def check(connection: ServerConnection, request: Request) -> Response | None:
            status = self.status
            if request.headers.get("Authorization") != f"Bearer {KEY}":
                status = HTTPStatus.UNAUTHORIZED
            return None if status is None else connection.respond(status, "")

        async with serve(serve_one, "127.0.0.1", 0, ssl=ssl_context, process_request=check, max_size=None) as server:
            (listening,) = server.sockets
            yield listening.getsockname()[1]


class Session:
    """One session.

    Attributes:
        received: the events that came, but for sound.
        heard: the sound that came.
        truncations: in their order.
        refused: the errors that it has told.
        is_over: the connection is gone.
    """

    def __init__(self, stand_in: StandIn, socket: Socket) -> None:
        self.received: list[dict[str, Any]] = []
        self.heard = bytearray()
        self.truncations: list[Truncation] = []
        self.refused: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.items: dict[str, Item] = {}
        self.is_over = False
        self._stand_in, self._socket = stand_in, socket
        self._numbers = count(1)
        self._running: tuple[str, anyio.CancelScope] | None = None
        self._idle = anyio.Event()
        self._loud = self._quiet = 0
        self._speaking_item = ""
        self._judged_bytes = 0

    async def run(self) -> None:
        try:
            async with anyio.create_task_group() as self._tasks:
                if not self._stand_in.silent:
                    await self.send("session.created", session={"type": "realtime", "id": self.new_id("sess")})
                if self._stand_in.lasts_s < math.inf:
                    self._tasks.start_soon(self._expire, self._stand_in.lasts_s)
                while True:
                    await self._handle(json.loads(await self._socket.recv()))
        except* (GoneError, ConnectionClosed):
            pass
        finally:
            self.is_over = True

    async def _expire(self, lasts_s: float) -> None:
        await anyio.sleep(lasts_s)
        await self._socket.close(1001, "expired")

    async def send(self, event_type: str, **fields: Any) -> None:
        event = {"type": event_type, "event_id": self.new_id("event"), **fields}
        SERVER_EVENTS[event_type].model_validate(event)
        await self._socket.send(json.dumps(event))

    def new_id(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers)}"

    def kinds(self) -> list[str]:
        """The types of what came."""
        return [event["type"] for event in self.received]

    @property
    def running(self) -> str | None:
        """The response that is being made."""
        return None if self._running is None else self._running[0]

    async def error(self, about: dict[str, Any], code: str, message: str = "no") -> None:
        told = {"type": "invalid_request_error", "code": code, "message": message, "event_id": about.get("event_id")}
        self.refused.append(told)
        await self.send("error", error=told)

    # What comes

    async def _handle(self, event: dict[str, Any]) -> None:
        if event["type"] == "input_audio_buffer.append":
            await self._hear(base64.b64decode(event["audio"], validate=True))
            return
        self.received.append(event)
        if self._stand_in.silent:
            return
        try:
            model = CLIENT_EVENTS[event["type"]].model_validate(event)
        except (KeyError, ValidationError) as exc:
            await self.error(event, "invalid_value", str(exc))
            return
        if model.model_extra:
            await self.error(event, "unknown_parameter", str(model.model_extra))
            return
        match event["type"]:
            case "session.update":
                await self._update(event)
            case "response.create":
                await self._create_response(event)
            case "response.cancel":
                running = self._running
                is_running = running is not None and not running[1].cancel_called
                if running is None or not is_running or event.get("response_id") not in (None, running[0]):
                    await self.error(
                        event, "response_cancel_not_active", "Cancellation failed: no active response found"
                    )
                else:
                    running[1].cancel()
            case "conversation.item.create":
                await self.add_item(Item(self.new_id("item"), "user"), event["item"])
            case "conversation.item.truncate":
                await self._truncate(event)
            case "conversation.item.retrieve":
                item = self.items[event["item_id"]]
                await self.send("conversation.item.retrieved", item=message_of(item, "completed"))

    async def _update(self, event: dict[str, Any]) -> None:
        refuses = self._stand_in.refuses
        formats = [event["session"].get("audio", {}).get(side, {}).get("format") for side in ("input", "output")]
        if not self._stand_in.takes_every_format and any(
            form not in (None, {"type": "audio/pcm", "rate": RATE_HZ}) for form in formats
        ):
            refuses = {"type": "invalid_request_error", "code": "invalid_value", "message": "a format that is none"}
        if refuses is not None:
            self.refused.append(refuses)
            await self.send("error", error=refuses | {"event_id": event.get("event_id")})
            return
        self.settings |= event["session"]
        caller = self.settings.setdefault("audio", {}).setdefault("input", {})
        caller["turn_detection"] = caller.get("turn_detection", {"type": "server_vad"})
        if caller["turn_detection"] is not None:
            caller["turn_detection"] = DETECTION | caller["turn_detection"]
        await self.send("session.updated", session=self.settings)

    async def _truncate(self, event: dict[str, Any]) -> None:
        item = self.items.get(event["item_id"])
        end_ms = event["audio_end_ms"]
        if item is None or item.role != "assistant" or end_ms > item.sent_ms:
            await self.error(event, "invalid_value", "no such audio")
            return
        item.cut_ms = end_ms
        self.truncations.append(Truncation(item.id, end_ms, item.sent_ms, anyio.current_time()))
        await self.send("conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=end_ms)
        if item.answer is not None:
            for _ in range(item.answer.late):  # it doesn't keep to what it has said
                await self._delta(item, item.answer.pcm[: 2 * RATE_HZ * DELTA_MS // 1000], 0)

    # Who speaks

    @property
    def _detection(self) -> dict[str, Any]:
        found: dict[str, Any] = self.settings.get("audio", {}).get("input", {}).get("turn_detection") or {}
        return found

    async def _hear(self, pcm: bytes) -> None:
        self.heard += pcm
        while len(self.heard) - self._judged_bytes >= BLOCK_BYTES:
            block = np.frombuffer(self.heard[self._judged_bytes : self._judged_bytes + BLOCK_BYTES], "<i2")
            self._judged_bytes += BLOCK_BYTES
            is_loud = float(np.sqrt(np.mean(np.square(block.astype(np.float64))))) > LOUD
            self._loud, self._quiet = (self._loud + 1, 0) if is_loud else (0, self._quiet + 1)
            at_ms = self._judged_bytes // (2 * RATE_HZ // 1000)
            if not self._speaking_item and self._loud >= STARTS_BLOCKS:
                self._speaking_item = self.new_id("item")
                await self.send(
                    "input_audio_buffer.speech_started", audio_start_ms=at_ms - 60, item_id=self._speaking_item
                )
                if self._running is not None and self._detection.get("interrupt_response", True):
                    self._running[1].cancel()
            elif self._speaking_item and self._quiet * 20 >= self._detection.get("silence_duration_ms", SILENCE_MS):
                await self._turn_ends(at_ms)

    async def _turn_ends(self, at_ms: int) -> None:
        item, self._speaking_item = Item(self._speaking_item, "user"), ""
        await self.send("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=item.id)
        await self.send("input_audio_buffer.committed", item_id=item.id)
        await self.add_item(item, {"type": "message", "role": "user", "content": [{"type": "input_audio"}]})
        if self.settings.get("audio", {}).get("input", {}).get("transcription"):
            usage = {"type": "duration", "seconds": 1.0}
            await self.send(
                "conversation.item.input_audio_transcription.completed",
                item_id=item.id,
                content_index=0,
                transcript="go forward ten meters",
                usage=usage,
            )
        if self._detection.get("create_response", True):
            if self._running is not None:
                await self._idle.wait()  # it was cancelled
            await self._create_response({})

    async def add_item(self, item: Item, content: dict[str, Any]) -> None:
        self.items[item.id] = item
        await self.send("conversation.item.added", item={"id": item.id, **content})

    # Answering

    async def _create_response(self, event: dict[str, Any]) -> None:
        if self._running is not None:
            await self.error(event, "conversation_already_has_active_response", "there is one already")
            return
        response_id, scope = self.new_id("resp"), anyio.CancelScope()
        self._running = response_id, scope
        self._idle = anyio.Event()
        await self.send("response.created", response={"id": response_id, "status": "in_progress", "output": []})
        self._tasks.start_soon(self._respond, response_id, scope, self._stand_in.next_answer())

    async def _respond(self, response_id: str, scope: anyio.CancelScope, answer: Answer) -> None:
        output: list[dict[str, Any]] = []
        details: dict[str, Any] | None = None
        status = "completed"
        with scope:
            await anyio.sleep(answer.starts_after_s)
            if answer.failed is not None:
                status, details = "failed", {"type": "failed", "error": answer.failed}
            else:
                items = answer.items if answer.pcm else 0
                output += [await self._speak(response_id, number, answer) for number in range(items)]
                for number, (name, arguments) in enumerate(answer.calls, items):
                    output += [await self._call_function(response_id, number, name, arguments)]
        if scope.cancelled_caught:
            status, details = "cancelled", {"type": "cancelled", "reason": "turn_detected"}
        self._running = None
        self._idle.set()
        response = {"id": response_id, "status": status, "status_details": details, "output": output}
        await self.send("response.done", response=response)

    async def _speak(self, response_id: str, number: int, answer: Answer) -> dict[str, Any]:
        item = Item(self.new_id("item"), "assistant", answer, response_id)
        of_item = {"response_id": response_id, "output_index": number}
        of_part = of_item | {"item_id": item.id, "content_index": 0}
        await self.send("response.output_item.added", **of_item, item=message_of(item, "in_progress"))
        await self.add_item(item, message_of(item, "in_progress"))
        await self.send("response.content_part.added", **of_part, part={"type": "audio", "transcript": ""})
        size = 2 * RATE_HZ * DELTA_MS // 1000
        pieces = [answer.pcm[at : at + size] for at in range(0, len(answer.pcm), size)]
        words = re.findall(r"\s*[^\s.!?,]+|[.!?,]", answer.text)  # the API's pieces are no words
        try:
            for at, piece in enumerate(pieces):
                spoken = words[len(words) * at // len(pieces) : len(words) * (at + 1) // len(pieces)]
                for word in spoken:
                    await self.send("response.output_audio_transcript.delta", **of_part, delta=word)
                await self._delta(item, piece, number)
                if answer.garbage:
                    await self._socket.send("{not json")
                    await self._socket.send('{"type": "response.output_audio.delta", "delta": 5}')
                    await self._socket.send(
                        json.dumps({"type": "response.output_audio.delta"} | of_part | {"delta": "A"})
                    )
                    await self._socket.send('["no event"]')
                if answer.dies_after_s is not None and item.sent_ms >= answer.dies_after_s * 1000:
                    if answer.closes is not None:
                        told = {"type": "invalid_request_error", "code": "session_expired"}
                        await self.send("error", error=told | {"message": "Your session hit the maximum duration."})
                        await self._socket.close(answer.closes, "expired")
                    else:
                        await self._socket.abort()
                await anyio.sleep(len(piece) / 2 / RATE_HZ / answer.speed)
            status = "completed"
        except anyio.get_cancelled_exc_class():
            status = "incomplete"
            raise
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await self.send("response.output_audio.done", **of_part)
                    await self.send("response.output_audio_transcript.done", **of_part, transcript=answer.text)
                    await self.send("response.output_item.done", **of_item, item=message_of(item, status))
                except (GoneError, ConnectionClosed):
                    pass
        return message_of(item, status)

    async def _delta(self, item: Item, pcm: bytes, number: int) -> None:
        item.sent_bytes += len(pcm)
        await self.send(
            "response.output_audio.delta",
            response_id=item.response_id,
            item_id=item.id,
            output_index=number,
            content_index=0,
            delta=base64.b64encode(pcm).decode(),
        )

    async def _call_function(self, response_id: str, number: int, name: str, arguments: str) -> dict[str, Any]:
        item_id, call_id = self.new_id("item"), self.new_id("call")
        item = {"id": item_id, "type": "function_call", "name": name, "call_id": call_id, "arguments": ""}
        of_item = {"response_id": response_id, "output_index": number}
        await self.send("response.output_item.added", **of_item, item=item | {"status": "in_progress"})
        of_call = of_item | {"item_id": item_id, "call_id": call_id}
        await self.send("response.function_call_arguments.delta", **of_call, delta=arguments)
        await self.send("response.function_call_arguments.done", **of_call, name=name, arguments=arguments)
        item |= {"arguments": arguments, "status": "completed"}
        await self.send("response.output_item.done", **of_item, item=item)
        return item


def message_of(item: Item, status: str) -> dict[str, Any]:
    content = [{"type": "output_audio", "transcript": item.answer.text}] if item.answer else []
    return {"id": item.id, "type": "message", "role": item.role, "status": status, "content": content}
