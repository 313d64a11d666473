"""An accepted connection on picows: what ASGI and RFC 6455 ask of it, beyond single frames.

picows hands over one frame at a time. Order, UTF-8, total size, close codes, pings, time-outs and back-pressure are
seen to here.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging
import os
import random
import struct
import sys
from collections import deque
from collections.abc import Callable, Collection, MutableSequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.utils import ClientDisconnected
from websockets.exceptions import ProtocolError
from websockets.frames import Close, CloseCode, Frame, Opcode

from .direct import Take
from .outcomes import CLOSED_BY_SERVER
from .picows_parser import READ_BYTES, REQUEST, Parser, WSFrame, WSListener, WSMsgType, WSTransport, make_parser
from .sweeper import Sweeper

if TYPE_CHECKING:
    from .uvicorn_protocol import QuietSansIOProtocol as Handshake

logger = logging.getLogger("vonage_audio_connector_server")
uvicorn_logger = logging.getLogger("uvicorn.error")

_WAITING_MESSAGES = 16
_SHORT_BYTES = 4096
"""Reading pauses where so many messages wait for the application, or one that is longer than short."""

_COPIED_BYTES = 8192
"""Longer payloads picows would not copy, but leave parts of its own buffer to the transport: asyncio 3.12 and uvloop
may send them after they have changed."""

_STALL_S = 1.0
"""A timer that comes so late tells that the event loop was blocked: an answer may be there, but not read yet."""

_BINARY = WSMsgType.BINARY
_TEXT = WSMsgType.TEXT
_CONTINUATION = WSMsgType.CONTINUATION
_PING = WSMsgType.PING
_PONG = WSMsgType.PONG
_CLOSE = WSMsgType.CLOSE

Message = dict[str, Any]


class Stream(WSListener):
    """An accepted connection, and before that the queue of what the application receives.

    It is picows' listener. Where picows has done its part, before the socket is gone, it is the transport's protocol.
    """

    __slots__ = (
        "_app_closed",
        "_closing",
        "_connections",
        "_detached",
        "_drained",
        "_ended",
        "_fd",
        "_get_buffer",
        "_handshake",
        "_held",
        "_inbox",
        "_is_closing",
        "_loop",
        "_lost",
        "_max_bytes",
        "_owed_pong",
        "_parser",
        "_partial",
        "_partial_is_text",
        "_paused",
        "_ping",
        "_ping_interval_s",
        "_ping_timeout_s",
        "_pinged_s",
        "_read_paused",
        "_ready",
        "_send_frame",
        "_stalled",
        "_sweeper",
        "_take",
        "_taking",
        "_task",
        "_timer",
        "_transport",
        "_valid_bytes",
        "_waiter",
        "app_task",
        "close_timeout",
    )

    def __init__(self, handshake: Handshake) -> None:
        self._handshake: Handshake | None = handshake  # until the accept
        self._loop = handshake.loop
        self._connections = handshake.connections
        self.close_timeout = handshake.close_timeout  # for the peer to answer a close frame, and to take what is left
        self._max_bytes = sys.maxsize if handshake.config.ws_max_size is None else handshake.config.ws_max_size
        self._ping_interval_s = handshake.ping_interval
        self._ping_timeout_s = handshake.ping_timeout
        self._transport: Any = None
        self._parser: Any = None
        self._send_frame: Any = None  # picows' own: no call of this may come behind `_detach`
        self._is_closing: Callable[[], bool] = bool
        self._sweeper: Sweeper | None = None  # reads in the transport's stead, from `_fd`
        self._fd = -1
        self._get_buffer: Any = None
        self._held: list[bytes | str] | None = None  # messages that leave together at the end of a sweep

        self._ready = False  # a frame may be written now
        self._taking = False  # a frame may be a whole message
        self._paused = False  # writing
        self._drained: asyncio.Future[None] | None = None
        self._owed_pong: bytes | None = None

        self.app_task: tuple[asyncio.Task[None], Context] | None = None
        self._take: Take | None = None
        self._task: tuple[asyncio.Task[Any], Context] | None = None  # in whose name messages go to `_take`
        self._inbox: deque[Message] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._read_paused = False
        self._partial: bytearray | None = None  # of a message in fragments
        self._partial_is_text = False
        self._valid_bytes = 0  # of it, as UTF-8

        self._ended: Message | None = None  # the disconnect message
        self._closing = False  # nothing is written or delivered any more
        self._app_closed = False
        self._detached = False  # picows has done its part
        self._lost = False

        self._timer: asyncio.TimerHandle | None = None  # the next ping, the wait for a pong, or the end of a close
        self._ping: bytes | None = None  # that awaits its pong
        self._pinged_s = 0.0
        self._stalled = False  # reading was paused since the ping

    # The application's side

    async def run(self, app: Any, scope: Any) -> None:
        """Run the application to its end, and then end the connection, if it hasn't."""
        close = Close(CloseCode.NORMAL_CLOSURE, "")
        try:
            result = await app(scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:  # the end of a task that nobody awaits: it is told here, as uvicorn does
            uvicorn_logger.exception("Exception in ASGI application\n")
            close = Close(CloseCode.INTERNAL_ERROR, "")
        else:
            handshake = self._handshake
            if handshake is not None and not handshake.handshake_complete and handshake.initial_response is None:
                uvicorn_logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                uvicorn_logger.error("ASGI callable should return None, but returned '%s'.", result)
        self.app_task = self._task = self._take = None
        if self._handshake is not None:
            self._handshake.send_500_response()  # unless it was answered
            self._handshake.transport.close()
            self._handshake = None
            self.connection_lost(None)  # as good as lost
        elif not self._closing:
            self._close(close)

    async def receive(self) -> Message:
        """The next message; after the end, the disconnect message again and again."""
        inbox = self._inbox
        while not inbox:
            if self._ended is not None:
                return self._ended
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
        message = inbox.popleft()
        if self._read_paused and not inbox:
            self._resume_reading()
        return message

    async def send(self, message: Message) -> None:
        """Take a message of the application; waits while the socket is backed up.

        Raises:
            ClientDisconnected: the connection is over, and the application didn't end it.
            RuntimeError: a message that has no place here.
        """
        if self._ready and message["type"] == "websocket.send" and not self._is_closing():
            if self._held is not None:
                self._let_go()
            payload = message.get("bytes")
            if payload is not None:
                self._write(_BINARY, payload)
            else:
                text = message.get("text")
                if text is not None:
                    self._write(_TEXT, text.encode())
        elif self._handshake is not None:
            await self._handshake.send(message)  # type: ignore[arg-type]  # uvicorn's checks are as good as its types
        else:
            await self._send_later(message)

    async def _send_later(self, message: Message) -> None:
        kind = message["type"]
        while self._paused and not self._closing and kind == "websocket.send":
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.wait([self._drained])  # several tasks may wait for it: none may cancel it
        if self._lost:
            raise ClientDisconnected
        if self._app_closed:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        if kind == "websocket.close":
            if not self._closing:
                self._app_closed = True
                self._close(Close(message.get("code", CloseCode.NORMAL_CLOSURE), message.get("reason") or ""))
        elif kind != "websocket.send":
            raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")
        elif self._closing or self._is_closing():
            raise ClientDisconnected
        else:
            await self.send(message)

    def write(self, payloads: MutableSequence[bytes | str]) -> bool:
        """Write all payloads, each as one message, in one go; see `Direct`.

        Returns:
            False where it took none: the socket is backed up, or the connection is not open.
        """
        if not self._ready or self._is_closing():
            return False
        sweeper = self._sweeper
        if sweeper is None or not sweeper.is_reading:
            self._write_all(payloads)
        elif self._held is None:
            self._held = [*payloads]
            sweeper.held.append(self._let_go)
        else:
            self._held.extend(payloads)
        payloads.clear()
        return True

    def _let_go(self) -> None:
        """Write what was held back."""
        held, self._held = self._held, None
        if held is not None and not self._is_closing():
            self._write_all(held)

    def _write_all(self, payloads: Collection[bytes | str]) -> None:
        if len(payloads) == 1:
            (payload,) = payloads
            if isinstance(payload, str):
                self._write(_TEXT, payload.encode())
            else:
                self._write(_BINARY, payload)
            return
        parts = []
        for payload in payloads:
            if isinstance(payload, str):
                payload = payload.encode()
                parts.append(_header(Opcode.TEXT, len(payload)))
            else:
                parts.append(_header(Opcode.BINARY, len(payload)))
            parts.append(payload)
        self._transport.write(b"".join(parts))

    def _write(self, kind: Any, payload: bytes) -> None:
        size_bytes = len(payload)
        if size_bytes <= _COPIED_BYTES:
            self._send_frame(kind, payload)
        else:
            self._transport.write(b"".join((_header(kind.value, size_bytes), payload)))

    def listen(self, take: Take | None) -> None:
        """Give binary messages to `take` while the running task waits in `receive`; see `Direct`."""
        self._take, self._task = take, None
        task = asyncio.current_task()
        if take is not None and task is not None:
            if self.app_task is not None and task is self.app_task[0]:
                self._task = self.app_task
            elif sys.version_info >= (3, 12):
                self._task = task, task.get_context()

    # uvicorn's side

    def put_nowait(self, message: Message) -> None:
        """Take what uvicorn's handshake tells the application."""
        if message["type"] == "websocket.disconnect":
            self._end(message)
        else:
            self._deliver(message, 0)

    def open(self, early: bytes, sweeper: Sweeper | None) -> None:
        """Hand the socket to picows.

        Args:
            early: what the peer has sent already; reading is paused if it has.
            sweeper: who reads in the transport's stead, where that can be.
        """
        handshake = self._handshake
        assert handshake is not None
        self._handshake = None
        self._transport = transport = handshake.transport
        self._is_closing = transport.is_closing
        self._paused = not handshake.writable.is_set()
        self._parser = parser = make_parser(self, transport, self._max_bytes)
        self._send_frame = parser.transport.send
        transport.set_protocol(parser)
        socket = transport.get_extra_info("socket")
        if sweeper is not None and socket is not None and transport.get_extra_info("sslcontext") is None:
            transport.pause_reading()
            self._sweeper, self._fd = sweeper, socket.fileno()
            self._get_buffer = super(Parser, parser).get_buffer
            if not early:
                sweeper.add(self._fd, self._read)
        self._connections.add(self)  # type: ignore[arg-type]  # uvicorn asks for no more than shutdown()
        self._ready = not self._paused
        self._taking = True
        if self._ping_interval_s:
            self._set_timer(self._ping_interval_s, self._send_ping)
        self._feed(REQUEST)
        parser.transport.request.headers = None  # nobody reads it again
        if early:
            self._read_paused = True
            self._feed(early)
            if self._read_paused and not self._inbox:
                self._resume_reading()

    def _feed(self, data: bytes) -> None:
        while data and not self._detached:
            buffer = self._parser.get_buffer(-1)
            size_bytes = min(len(buffer), len(data))
            buffer[:size_bytes] = data[:size_bytes]
            self._parser.buffer_updated(size_bytes)
            data = data[size_bytes:]

    def _read(self) -> None:
        """The socket has something to read: give it to picows."""
        buffer = self._get_buffer(-1)
        if len(buffer) > READ_BYTES:
            buffer = buffer[:READ_BYTES]
        try:
            size_bytes = os.readv(self._fd, (buffer,))
        except BlockingIOError:
            return
        except OSError:  # the transport meets it again, as an error or as the end, and tells
            size_bytes = 0
        if size_bytes:
            self._parser.buffer_updated(size_bytes)
        else:
            self._leave_reading()

    def _leave_reading(self) -> None:
        """From here on the transport reads: it knows how to end."""
        sweeper, self._sweeper = self._sweeper, None
        self._get_buffer = None
        if sweeper is None or self._read_paused:
            return
        sweeper.remove(self._fd)
        if not self._is_closing():
            self._transport.resume_reading()

    def shutdown(self) -> None:
        """The server stops."""
        if not self._closing:
            self._say_close(Close(CloseCode.SERVICE_RESTART, ""))
            self._end(_disconnect(CloseCode.SERVICE_RESTART, ""))
        self._hang_up()

    # The peer's side: picows calls these

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame; the whole binary message comes first, as every 20 ms of audio is one."""
        if frame.msg_type is _BINARY and self._taking and frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3):
            data = frame.get_payload_as_bytes()
            waiter = self._waiter
            if self._task is not None and waiter is not None and not self._inbox and not waiter.done():
                task, context = self._task
                assert self._take is not None
                # The application takes it in the name of its task, which waits for it.
                asyncio._enter_task(self._loop, task)
                try:
                    if context.run(self._take, data):
                        return
                finally:
                    asyncio._leave_task(self._loop, task)
            self._deliver({"type": "websocket.receive", "bytes": data}, len(data))
        else:
            self._on_other_frame(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is gone, or `_detach` told picows so."""
        if not self._detached:
            self._detached = True
            self.connection_lost(None)

    def on_parser_error(self, code: int, reason: str) -> None:
        """What came can't be read on from here."""
        self._detach()
        self.pause_writing()
        self._loop.call_soon(self._refuse, code, reason)  # behind the frame before, as picows reads one ahead

    def pause_writing(self) -> None:
        """The socket is backed up."""
        self._paused = True
        self._ready = False

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        self._ready = not self._closing
        self._wake_senders()
        if self._owed_pong is not None and self._ready and not self._is_closing():
            self._send_frame(_PONG, self._owed_pong)
        self._owed_pong = None

    def eof_received(self) -> bool:
        """The peer writes no more."""
        self._end(_disconnect(CloseCode.ABNORMAL_CLOSURE, ""))
        self._hang_up()
        return False

    def data_received(self, data: bytes) -> None:
        """What comes behind the end is thrown away."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._end(_disconnect(CloseCode.ABNORMAL_CLOSURE, ""))
        self._lost = True
        self._leave_reading()
        self._set_timer(None)
        self._connections.discard(self)
        self._transport = self._parser = self._send_frame = None  # each holds this object, in a circle
        self._take = self._task = self._held = None
        self._is_closing = bool

    def _on_other_frame(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self._closing:
            if kind is _CLOSE:
                self._hang_up()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._refuse(CloseCode.PROTOCOL_ERROR, "reserved bits must be 0")
        elif kind is _PING:
            payload = frame.get_payload_as_bytes()
            if self._paused:
                self._owed_pong = payload  # the latest stands for all, or they would pile up
            elif not self._is_closing():
                self._send_frame(_PONG, payload)
        elif kind is _PONG:
            self._on_pong(frame.get_payload_as_bytes())
        elif kind is _CLOSE:
            self._on_close_frame(frame.get_payload_as_bytes())
        elif (kind is _CONTINUATION) == (self._partial is None):
            self._refuse(CloseCode.PROTOCOL_ERROR, "a fragment out of order")
        else:
            self._on_data(frame, is_text=kind is _TEXT or (kind is _CONTINUATION and self._partial_is_text))

    def _on_data(self, frame: WSFrame, *, is_text: bool) -> None:
        """A whole message, or a fragment in its place."""
        partial = self._partial
        if partial is None and is_text and frame.fin:
            try:
                self._deliver(
                    {"type": "websocket.receive", "text": frame.get_payload_as_utf8_text()}, frame.payload_size
                )
            except UnicodeDecodeError as exc:
                self._refuse_text(exc.start)
            return
        if partial is None:
            partial = self._partial = bytearray()
            self._partial_is_text = is_text
            self._valid_bytes = 0
            self._taking = False
        if len(partial) + frame.payload_size > self._max_bytes:
            self._refuse(CloseCode.MESSAGE_TOO_BIG, "message too big")
            return
        partial += frame.get_payload_as_bytes()
        if is_text:
            try:
                self._valid_bytes += codecs.utf_8_decode(partial[self._valid_bytes :], "strict", bool(frame.fin))[1]
            except UnicodeDecodeError as exc:
                self._refuse_text(self._valid_bytes + exc.start)
                return
        if frame.fin:
            self._partial = None
            self._taking = True
            content = {"text": partial.decode()} if is_text else {"bytes": bytes(partial)}
            self._deliver({"type": "websocket.receive", **content}, len(partial))

    def _refuse_text(self, byte: int) -> None:
        logger.warning("a text message was not UTF-8 (byte %d), closed with 1007", byte)
        self._refuse(CloseCode.INVALID_DATA, "invalid UTF-8")

    def _on_pong(self, payload: bytes) -> None:
        if payload != self._ping:
            return
        self._ping = None
        if self._ping_timeout_s is not None:  # otherwise the next ping is set already
            assert self._ping_interval_s is not None
            self._set_timer(max(0.0, self._pinged_s + self._ping_interval_s - self._loop.time()), self._send_ping)

    def _on_close_frame(self, payload: bytes) -> None:
        try:
            close = Close.parse(payload)
        except ProtocolError:
            self._refuse(CloseCode.PROTOCOL_ERROR, "invalid close frame")
        except UnicodeDecodeError:
            self._refuse(CloseCode.INVALID_DATA, "invalid UTF-8")
        else:
            self._on_close(close)

    def _on_close(self, close: Close) -> None:
        if not self._closing:
            self._say_close(close)
            self._end(_disconnect(close.code, close.reason))
        self._hang_up()

    def _deliver(self, message: Message, size_bytes: int) -> None:
        self._inbox.append(message)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():  # cancelled
                waiter.set_result(None)
        elif len(self._inbox) > _WAITING_MESSAGES or size_bytes > _SHORT_BYTES:
            self._pause_reading()

    def _wake_senders(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    def _pause_reading(self) -> None:
        if not self._read_paused and not self._closing:
            self._read_paused = self._stalled = True
            if self._sweeper is not None:
                self._sweeper.remove(self._fd)
            else:
                self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._transport is None or self._is_closing():
            return
        self._read_paused = False
        if self._sweeper is not None:
            self._sweeper.add(self._fd, self._read)
        else:
            self._transport.resume_reading()

    # Keep-alive

    def _set_timer(self, delay_s: float | None, callback: Callable[[], object] = bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._loop.call_later(delay_s, callback)

    def _send_ping(self) -> None:
        if self._is_closing():
            return
        self._ping = random.randbytes(4)
        self._pinged_s = self._loop.time()
        self._stalled = self._read_paused
        self._send_frame(_PING, self._ping)
        if self._ping_timeout_s is None:
            self._set_timer(self._ping_interval_s, self._send_ping)
        else:
            self._set_timer(self._ping_timeout_s, self._on_no_pong)

    def _on_no_pong(self) -> None:
        assert self._ping_timeout_s is not None
        late_s = self._loop.time() - self._pinged_s - self._ping_timeout_s
        if self._stalled or late_s > _STALL_S:  # the answer may be there, unread
            self._stalled = self._read_paused
            self._pinged_s = self._loop.time()
            self._set_timer(self._ping_timeout_s, self._on_no_pong)
            return
        self._say_close(Close(CloseCode.INTERNAL_ERROR, "keepalive ping timeout"))
        self._end(_disconnect(CloseCode.ABNORMAL_CLOSURE, "no answer to a ping"))
        self._hang_up()

    # The end

    def _close(self, close: Close) -> None:
        """Begin the closing handshake."""
        if self._is_closing():
            return
        self._say_close(close)
        self._end(_disconnect(close.code, close.reason))
        self._set_timer(self.close_timeout, self._transport.abort)

    def _refuse(self, code: int, reason: str) -> None:
        """What came breaks the protocol."""
        if not self._closing:
            self._say_close(Close(code, reason))
            self._end(_disconnect(code, reason, **{CLOSED_BY_SERVER: True}))
        self._hang_up(lingering=True)

    def _say_close(self, close: Close) -> None:
        payload = b"" if close.code == CloseCode.NO_STATUS_RCVD else close.serialize()
        frame = Frame(Opcode.CLOSE, payload).serialize(mask=False)
        self._let_go()
        if not self._is_closing():
            self._transport.write(frame)

    def _end(self, message: Message) -> None:
        """Nothing is delivered or written any more; the application gets what waits, and then this message."""
        self._closing = True
        self._ready = self._taking = False
        self._partial = None
        if self._ended is None:
            self._ended = message
            self._set_timer(None)
        if self._read_paused:
            self._resume_reading()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self._wake_senders()

    def _detach(self) -> None:
        """From here on picows reads no more, and can't write, not even to a socket that has got the same number."""
        if not self._detached:
            self._let_go()
            self._detached = True
            self._parser.connection_lost(None)
            self._transport.set_protocol(self)
            self._leave_reading()

    def _hang_up(self, *, lingering: bool = False) -> None:
        """Close the socket, unless it is gone."""
        if self._lost:
            return
        self._detach()
        if lingering and not self._is_closing() and self._transport.can_write_eof():
            # The rest of what it sends is read: a socket that is closed before is reset, and the reason may be lost.
            with contextlib.suppress(OSError):  # reset already
                self._transport.write_eof()
        else:
            self._transport.close()
        self._set_timer(self.close_timeout, self._transport.abort)


def _disconnect(code: int, reason: str, **more: Any) -> Message:
    return {"type": "websocket.disconnect", "code": int(code), "reason": reason, **more}


def _header(opcode: int, size_bytes: int) -> bytes:
    """The head of an unmasked frame that is a whole message."""
    first = 0x80 | opcode
    if size_bytes < 126:
        return bytes((first, size_bytes))
    if size_bytes < 65_536:
        return struct.pack("!BBH", first, 126, size_bytes)
    return struct.pack("!BBQ", first, 127, size_bytes)
