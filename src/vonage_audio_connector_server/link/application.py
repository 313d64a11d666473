"""The ASGI application behind a connection of our own protocol class: its handshake, `receive` and `send`.

An application that takes the link (`scope["extensions"][LINK]`) sees the handshake and the end here, and so does a
middleware that wraps `receive` or `send`; the messages of the call go past it. Any other application gets and sends its
messages here, with back-pressure both ways.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import Any

from starlette.types import Message
from websockets.http11 import Request, Response

from ..close_codes import ABNORMAL, INTERNAL_ERROR, NORMAL, SERVICE_RESTART
from ..extensions import LINK
from ..results import ClosedBy
from .frames import FrameProtocol
from .handshake import denial, log_answer, make_scope, read_headers

logger = logging.getLogger("uvicorn.error")  # where an application's own errors are looked for under uvicorn

WAITING_MESSAGES = 16
SHORT_BYTES = 4096
"""Reading pauses where more messages than that wait for the application, or one that is longer than short."""


class DisconnectedError(ConnectionError):
    """The connection is over, and the application didn't end it: ASGI asks for an OSError."""


class ApplicationProtocol(FrameProtocol):
    """Runs the application, and is the `Receiver` of its connection until a call takes the link."""

    __slots__ = (
        "_denial",
        "_disconnect",
        "_drained",
        "_early",
        "_has_closed",
        "_inbox",
        "_is_quiet",
        "_is_read_paused",
        "_is_taken",
        "_request",
        "_response",
        "_scope",
        "_setup",
        "_waiter",
    )

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], loop: Any, max_bytes: int) -> None:
        super().__init__(loop, max_bytes)
        self._setup: Any = config, server_state, app_state  # until the request has come
        self._request: Request | None = None  # until it is answered
        self._response: Response | None = None  # the 101 that websockets has made
        self._denial: Message | None = None  # an answer with another status, which has begun
        self._scope: Any = None
        self._early = b""  # what the peer has sent before the accept
        self._is_taken = False  # a call has the link
        self._is_quiet = False  # the application logs by itself who came
        self._has_closed = False  # the application; nothing more can be sent
        self._disconnect: Message | None = None
        self._inbox: deque[Message] | None = deque(({"type": "websocket.connect"},))
        self._waiter: asyncio.Future[None] | None = None  # who receives
        self._drained: asyncio.Future[None] | None = None  # who sends
        self._is_read_paused = False

    # The handshake

    def _request_received(self, data: bytes) -> None:
        config, server_state, app_state = self._setup
        self._setup = None
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            assert isinstance(event, Request)
            self._request, self._response = event, self._websocket.accept(event)
            if self._response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                self._scope = make_scope(event, config, self._transport, app_state)
                self._scope["extensions"][LINK] = self
                task = self._loop.create_task(self._run(config.loaded_app, server_state.default_headers))
                server_state.tasks.add(task)
                task.add_done_callback(server_state.tasks.discard)
                return
            self._websocket.send_response(self._response)
        self._close_transport()  # it can't be accepted, or not even be read, and websockets has answered

    def be_quiet(self) -> None:
        """Log nothing of the handshake, because the application does."""
        self._is_quiet = True

    def _answer(self, message: Message, default_headers: list[tuple[bytes, bytes]]) -> None:
        """Take a message that answers the request, or a part of the answer."""
        kind = message["type"]
        if self._denial is not None:
            if kind != "websocket.http.response.body":
                raise RuntimeError(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
            self._denial["body"] += message.get("body", b"")
            if not message.get("more_body", False):
                self._refuse(denial(self._denial), self._denial["status"])
        elif kind == "websocket.accept":
            assert self._response is not None
            del self._response.headers["Date"]  # the default headers have it, if the server wants one
            self._response.headers.update(read_headers([*default_headers, *message.get("headers", ())]))
            if message.get("subprotocol"):
                self._response.headers["Sec-WebSocket-Protocol"] = message["subprotocol"]
            self._respond(self._response, "[accepted]")
            self._open()
        elif kind == "websocket.close":
            self._refuse(self._websocket.reject(HTTPStatus.FORBIDDEN, ""), 403)
        elif kind == "websocket.http.response.start":
            if not 200 <= message["status"] < 600:
                raise RuntimeError(f"Invalid HTTP status code '{message['status']}' in response.")
            self._denial = {**message, "body": b""}
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' "
                f"or 'websocket.http.response.start' but got '{kind}'."
            )

    def _respond(self, response: Response, told: object) -> None:
        if not self._is_quiet:
            log_answer(self._scope, told)
        self._request = self._response = None
        self._websocket.send_response(response)
        self._flush()

    def _refuse(self, response: Response, told: object) -> None:
        self._respond(response, told)
        self._has_closed = True
        self._end(ABNORMAL, "", "program")
        self._close_transport()

    def _fail_handshake(self) -> None:
        """Answer with 500, unless there is another answer."""
        if self._request is not None:
            self._refuse(self._websocket.reject(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error"), 500)

    # The application's side

    async def _run(self, app: Any, default_headers: list[tuple[bytes, bytes]]) -> None:
        """Run the application to its end, and then end the connection, if it hasn't."""
        code, scope = NORMAL, self._scope

        async def send(message: Message) -> None:
            await self._send(message, default_headers)

        try:
            result = await app(scope, self._receive, send)
        except DisconnectedError:
            pass
        except asyncio.CancelledError:  # the event loop ends, or the server lost its patience
            code = SERVICE_RESTART
            raise
        except BaseException:  # the end of a task that nobody awaits: it is told here, as uvicorn does
            code = INTERNAL_ERROR
            logger.exception("Exception in ASGI application\n")
        else:
            if self._request is not None:
                logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
        finally:
            del scope["extensions"][LINK]  # which holds the scope
            self._fail_handshake()
            if self._disconnect is None:
                self.close(code, "")

    async def _receive(self) -> Message:
        """The next message; after the end, the disconnect message again and again."""
        while not self._inbox:
            if self._disconnect is not None:
                return self._disconnect
            waiter = self._waiter
            if waiter is not None:  # a second task that receives: it doesn't cancel the first one's future
                await asyncio.wait([waiter])
                continue
            self._waiter = waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None
        message = self._inbox.popleft()
        if not self._inbox:
            if self._is_taken:
                self._inbox = None  # an empty deque takes 600 bytes
            self._resume_reading()
        return message

    async def _send(self, message: Message, default_headers: list[tuple[bytes, bytes]]) -> None:
        """Take a message of the application; waits while the socket is backed up.

        Raises:
            DisconnectedError: the connection is over, and the application didn't end it.
            RuntimeError: a message that has no place here.
        """
        kind = message["type"]
        while kind == "websocket.send" and self._is_paused and self._receiver is not None:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.wait([self._drained])  # several tasks may wait for it: none may cancel it
        if self._has_closed:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        if kind == "websocket.close" and self._is_taken:
            self._has_closed = True  # the call has closed: this is for who wraps `send`
        elif self._disconnect is not None:
            raise DisconnectedError("the connection is over")
        elif self._request is not None:
            self._answer(message, default_headers)
        elif kind == "websocket.close":
            self._has_closed = True
            self.close(message.get("code", NORMAL), message.get("reason") or "")
        elif kind == "websocket.send":
            payload: bytes | str | None = message.get("bytes")
            if payload is None:
                payload = message.get("text")
            if payload is not None:
                self.write([payload], None)
        else:
            raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")

    # As the receiver

    def audio_received(self, data: bytes) -> None:
        """See `Receiver`."""
        self._deliver({"type": "websocket.receive", "bytes": data}, len(data))

    def text_received(self, text: str) -> None:
        """See `Receiver`."""
        self._deliver({"type": "websocket.receive", "text": text}, len(text))

    def writable(self) -> None:
        """See `Receiver`."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    def lost(self, code: int, reason: str, by: ClosedBy) -> None:
        """See `Receiver`."""
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._wake()
        self.writable()

    def _deliver(self, message: Message, size_bytes: int) -> None:
        assert self._inbox is not None
        self._inbox.append(message)
        if self._waiter is not None:
            self._wake()
        elif len(self._inbox) > WAITING_MESSAGES or size_bytes > SHORT_BYTES:
            self._pause_reading()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():  # cancelled
            waiter.set_result(None)

    def _pause_reading(self) -> None:
        if not self._is_read_paused and not self._transport.is_closing():
            self._is_read_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_read_paused:
            self._is_read_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # For a subclass

    def _open(self) -> None:
        """The handshake was answered with 101."""
        raise NotImplementedError

    def _end(self, code: int, reason: str, by: ClosedBy) -> None:
        """Nothing is delivered any more: tell so, once."""
        raise NotImplementedError

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Write what websockets has made."""
        self._write_control(b"".join(self._websocket.data_to_send()))

    def _close_transport(self) -> None:
        """Close the socket, when all is written."""
        raise NotImplementedError
