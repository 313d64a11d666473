"""A call's link over any ASGI server, and Starlette's TestClient: one task receives, one sends.

What comes is pushed into the call out of no task, as by our own protocol class, so that handlers are begun in place
there, too. On asyncio a message is given to the server's `send` at once, in the name of the sending task; only where
that waits, the task goes on with it. On trio the task always sends. A `send` that has begun is never cancelled and
never begun again, because servers differ in whether they write before they wait.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import anyio
from anyio.abc import TaskGroup
from starlette.websockets import WebSocketDisconnect

from ..close_codes import ABNORMAL, NO_STATUS, SERVICE_RESTART, TOO_BIG
from ..core.json_audio import JSONTransport
from ..results import ClosedBy
from ..runtime import (
    call_clock,
    let_others_run,
    make_waiter,
    native_loop,
    running_task,
)
from ..sparing import warn
from ..steps import DONE, Steps
from ..waiter import WOKEN, current_task, enter_task, leave_task
from .base import TURN_S, Outbox, Receiver, Sink, turn_of

logger = logging.getLogger("vonage_audio_connector_server")

Message = MutableMapping[str, Any]

IDLE_S = 0.005
"""Who waits this long for a message has read all that came, and the event loop has turned meanwhile."""

STALL_S = 10.0
"""A `send` that waits for this long ends the connection: the peer has stopped reading."""

TOLD_S = 1.0
"""After a `send` has failed, the server tells within this time how the connection ended, if it ever does."""

# What servers raise from `send` when the socket is gone: uvicorn an OSError, or a RuntimeError where it closed the
# connection by itself; memory streams (Starlette's TestClient) the anyio errors; Starlette's `WebSocket` its own.
GONE = (OSError, RuntimeError, anyio.BrokenResourceError, anyio.ClosedResourceError, WebSocketDisconnect)


class ASGILink:
    """The link of one accepted connection.

    Args:
        receive: of the ASGI server.
        send: of the ASGI server.
    """

    def __init__(self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._clock = call_clock()
        self._turn = turn_of(native_loop(), self._clock())
        self._receiver: Receiver | None = None  # while the connection is open
        self._max_message_bytes = 0
        self._scope = anyio.CancelScope()  # of the reading task, to be cancelled while it waits for a message
        self._is_receiving = False
        self._loop, _ = running_task()  # None on trio
        self._task: object = None  # that sends
        self._steps = Steps(copy_context(), send)
        self._waiter: Any = make_waiter()
        self._is_busy = True  # nothing can be sent now: until the task runs, and while it sends
        self._unsent: tuple[Outbox, JSONTransport | None] = ([], None)  # what the task has to send, on trio
        self._closing: tuple[int, str, ClosedBy] | None = None
        self._is_close_begun = False
        self._limit = anyio.CancelScope()  # of what is being sent

    @property
    def sink(self) -> Sink:
        """See `Link`."""
        return self

    def start(self, receiver: Receiver, max_message_bytes: int, tasks: TaskGroup) -> None:
        """See `Link`."""
        self._receiver = receiver
        self._max_message_bytes = max_message_bytes
        tasks.start_soon(self._read)
        tasks.start_soon(self._send_on)

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """See `Sink`."""
        if self._is_busy or self._closing is not None:
            return not outbox
        if self._loop is None:
            self._is_busy = True
            self._unsent = outbox, json_audio
            self._waiter.wake()
            return False
        while outbox:
            if not self._begin(_message(outbox.pop(0), json_audio)):
                return False
        return True

    def unsent_bytes(self) -> int:
        """See `Sink`."""
        return 0

    def close(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._close(code, reason, "program")

    async def abandon(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._receiver = None
        with suppress(*GONE):
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    # Receiving

    async def _read(self) -> None:
        clock, receive, turn = self._clock, self._receive, self._turn
        loop, task = running_task()
        with self._scope:
            while (receiver := self._receiver) is not None:
                asked_s = clock()
                self._is_receiving = True
                message = await receive()
                self._is_receiving = False
                now_s = clock()
                if now_s - asked_s > IDLE_S:
                    turn.began_s = now_s
                elif task is not None and now_s - turn.began_s > TURN_S:  # on trio every `receive` lets others
                    await let_others_run()
                    turn.began_s = clock()
                if self._closing is not None and message["type"] != "websocket.disconnect":
                    continue
                if task is not None:
                    leave_task(loop, task)
                try:
                    data = message.get("bytes")
                    if data is not None and len(data) <= self._max_message_bytes:
                        receiver.audio_received(data)
                    else:
                        self._receive_other(receiver, message)
                finally:
                    if task is not None:
                        enter_task(loop, task)

    def _receive_other(self, receiver: Receiver, message: Message) -> None:
        if message["type"] == "websocket.disconnect":
            code = message.get("code") or NO_STATUS
            # The session is a client: so 1012 comes from an ASGI server that stops.
            by: ClosedBy = {ABNORMAL: "network", SERVICE_RESTART: "server"}.get(code, "session")  # type: ignore[assignment]
            self._end(code, message.get("reason") or "", by)
            return
        text = message.get("text")
        size_bytes = len(message["bytes"] if text is None else text.encode())
        if text is not None and size_bytes <= self._max_message_bytes:
            receiver.text_received(text)
        else:
            warn(
                "a message of %d bytes came, %d are allowed: closed with %d",
                size_bytes,
                self._max_message_bytes,
                TOO_BIG,
            )
            self._close(TOO_BIG, "message too big", "library")

    def _end(self, code: int, reason: str, by: ClosedBy) -> None:
        """The connection is over."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(code, reason, by)
        self._is_busy = True
        if self._is_receiving:
            self._scope.cancel()
        self._waiter.wake()

    # Sending

    async def _send_on(self) -> None:
        """See through what was begun; on trio, send what waits."""
        _, self._task = running_task()
        self._free()
        while self._receiver is not None:
            await self._waiter
            rest = self._waiter.take()
            outbox, json_audio = self._unsent
            if rest is not WOKEN:
                await self._see_through(rest)
            if outbox and self._receiver is not None:
                await self._see_through(self._send_all(outbox, json_audio))
            if self._closing is not None and self._receiver is not None:
                code, reason, by = self._closing
                if not self._is_close_begun:
                    await self._see_through(self._send(_close_message(code, reason)))
                self._end(code, reason, by)
            self._free()

    async def _send_all(self, outbox: Outbox, json_audio: JSONTransport | None) -> None:
        """Send what waits, on trio; each message has its own time, in one scope, which is dear to enter there."""
        while outbox and self._receiver is not None:
            self._limit.deadline = self._clock() + STALL_S
            await self._send(_message(outbox.pop(0), json_audio))

    def _free(self) -> None:
        """Something can be sent again."""
        self._is_busy = False
        if self._closing is None and self._receiver is not None:
            self._receiver.writable()

    def _begin(self, message: Message) -> bool:
        """Give a message to the server, in the name of the sending task; false where that goes on with it."""
        loop, task, steps = self._loop, self._task, self._steps
        outer = current_task(loop)
        if outer is not None:
            leave_task(loop, outer)
        enter_task(loop, task)
        try:  # `Steps.begin` without a call of it, because this is done for every frame
            pending = steps.run(steps.send, message)
        except BaseException as exc:  # noqa: BLE001 (raised again by the task that sees it through)
            pending = steps.failed(exc, message)
        leave_task(loop, task)
        if outer is not None:
            enter_task(loop, outer)
        if pending is DONE:
            return True
        self._is_busy = True
        self._waiter.wake(self._steps.rest(pending))
        return False

    def _close(self, code: int, reason: str, by: ClosedBy) -> None:
        if self._closing is not None or self._receiver is None:
            return
        self._closing = code, reason, by
        if self._loop is None or self._is_busy:  # behind what is being sent
            self._is_busy = True
            self._waiter.wake()
            return
        self._is_close_begun = True
        if self._begin(_close_message(code, reason)):
            self._end(code, reason, by)

    async def _see_through(self, sending: Awaitable[None]) -> None:
        try:
            with anyio.move_on_after(STALL_S) as self._limit:
                await sending
        except Exception as exc:
            level = logging.DEBUG if isinstance(exc, GONE) else logging.ERROR
            logger.log(level, "a write failed: the connection is given up", exc_info=exc)
            with anyio.move_on_after(TOLD_S):
                while self._receiver is not None:
                    await self._waiter
                    self._waiter.take()
            self._end(ABNORMAL, "a write failed", "network")
        else:
            if self._limit.cancelled_caught:
                warn("the peer has read nothing for %g s: its connection is given up", STALL_S)
                self._end(ABNORMAL, f"the peer read nothing for {STALL_S:g} s", "network")


def _message(payload: bytes | str, json_audio: JSONTransport | None) -> Message:
    if isinstance(payload, str):
        return {"type": "websocket.send", "text": payload}
    if json_audio is None:
        return {"type": "websocket.send", "bytes": payload}
    return {"type": "websocket.send", "text": json_audio.encode(payload)}


def _close_message(code: int, reason: str) -> Message:
    return {"type": "websocket.close", "code": code, "reason": reason}
