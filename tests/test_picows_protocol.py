"""What is special to `PicowsProtocol`, on a transport that writes down what is done to it, and on a clock of its own.

What it has in common with the other protocol classes is in `tests/websocket`, over real sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import socket
import struct
import sys
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from vonage_audio_connector_server import AudioConnectorConfigError, AudioConnectorServerConfig, Video
from vonage_audio_connector_server.direct import DIRECT
from vonage_audio_connector_server.errors import AudioConnectorStartServerError
from vonage_audio_connector_server.outcomes import CLOSED_BY_SERVER
from vonage_audio_connector_server.picows_protocol import PicowsProtocol
from vonage_audio_connector_server.server import _find_ws_protocol
from vonage_audio_connector_server.uvicorn_protocol import QuietSansIOProtocol

pytestmark = pytest.mark.anyio

PACKAGE = "vonage_audio_connector_server"
PARTS = ("picows_parser", "picows_stream", "picows_protocol")
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
REQUEST = (
    b"GET /call?secret=1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
INTERVAL_S, TIMEOUT_S = 20.0, 15.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0) -> bytes:
    """A client's frame, with the mask that changes nothing."""
    size = len(payload)
    length = bytes([128 | size]) if size < 126 else struct.pack("!BH", 254, size)
    return bytes([fin << 7 | reserved << 4 | opcode]) + length + bytes(4) + payload


def code(number: int, reason: str = "") -> bytes:
    return struct.pack("!H", number) + reason.encode()


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The server's frames in `data`: opcode and payload."""
    found = []
    while data:
        size, head = data[1], 2
        if size == 126:
            size, head = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, head = int.from_bytes(data[2:10]), 10
        found.append((data[0] & 15, data[head : head + size]))
        data = data[head + size :]
    return found


class Line(asyncio.Transport):
    """A transport that writes down what is done to it."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        super().__init__()
        self.protocol: Any = None
        self.written: list[bytes] = []
        self.backlog_bytes = 0
        self.closing = self.aborted = self.reads_paused = self.eof_written = False
        self._sock = sock

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" and self._sock is not None else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "nothing is written behind the end"
        if data:
            assert type(data) is bytes, "nobody else may change it"
            self.written.append(data)

    def writelines(self, list_of_data: Any) -> None:
        raise AssertionError("parts of a buffer that picows uses again")

    def get_write_buffer_size(self) -> int:
        return self.backlog_bytes

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def pause_reading(self) -> None:
        self.reads_paused = True

    def resume_reading(self) -> None:
        self.reads_paused = False

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def lose(self, exc: Exception | None = None) -> None:
        """The event loop tells that the socket is gone."""
        self.closing = True
        self.protocol.connection_lost(exc)
        self.protocol = None

    def receive(self, *parts: bytes) -> None:
        """Let the protocol read all of it at once, as far as its buffer goes."""
        data = b"".join(parts)
        while data:
            if not hasattr(self.protocol, "get_buffer"):
                self.protocol.data_received(data)
                return
            buffer = self.protocol.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]

    def frames(self) -> list[tuple[int, bytes]]:
        """What was written since the last call."""
        data = b"".join(self.written)
        self.written.clear()
        return frames(data)


class Clock:
    """The running event loop, with timers that the test runs."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.now_s = 0.0
        self.timers: list[tuple[float, asyncio.TimerHandle]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self.now_s + delay_s, callback, args, self.loop)
        self.timers.append((self.now_s + delay_s, handle))
        return handle

    def pass_s(self, seconds: float, *, blocked: bool = False) -> None:
        """Let time pass; the timers run when it has passed where the event loop was blocked."""
        end_s = self.now_s + seconds
        while True:
            self.timers = [timer for timer in self.timers if not timer[1].cancelled()]
            due_s, handle = min(self.timers, key=lambda timer: timer[0], default=(end_s + 1, None))
            if handle is None or due_s > end_s:
                break
            self.now_s = end_s if blocked else due_s
            self.timers.remove((due_s, handle))
            handle._run()
        self.now_s = end_s


class Call:
    """One connection, and the application on it: the test plays the application."""

    def __init__(self, protocol_class: type[QuietSansIOProtocol], sock: socket.socket | None, **settings: Any) -> None:
        self.clock = Clock()
        self.line = Line(sock)
        self.state = ServerState()
        self.over = asyncio.Event()
        self.scope: Any = None
        self.app_receive: Any = None
        self.app_send: Any = None
        self.fault: type[Exception] | None = None
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            log_config=None,
            **{
                "ws_ping_interval": INTERVAL_S,
                "ws_ping_timeout": TIMEOUT_S,
                "ws_per_message_deflate": False,
                **settings,
            },
        )
        config.load()
        protocol = protocol_class(config=config, server_state=self.state, app_state={}, _loop=self.clock)
        self.line.protocol = protocol
        protocol.connection_made(self.line)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.app_receive, self.app_send = scope, receive, send
        await self.over.wait()
        if self.fault is not None:
            raise self.fault

    async def ask(self, request: bytes = REQUEST) -> None:
        self.line.receive(request)
        await until(lambda: self.app_send is not None)
        assert await self.receive() == {"type": "websocket.connect"}

    async def accept(self, **more: Any) -> None:
        await self.app_send({"type": "websocket.accept", **more})

    async def receive(self) -> Any:
        async with asyncio.timeout(5):
            return await self.app_receive()

    async def send(self, payload: bytes | str) -> None:
        key = "text" if isinstance(payload, str) else "bytes"
        await self.app_send({"type": "websocket.send", key: payload})

    async def close(self, **more: Any) -> None:
        await self.app_send({"type": "websocket.close", **more})

    def write(self, *payloads: bytes | str) -> bool:
        waiting: deque[bytes | str] = deque(payloads)
        taken: bool = self.scope["extensions"][DIRECT].write(waiting)
        assert list(waiting) == ([] if taken else list(payloads)), "all or none"
        return taken


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  # what it waits for has no event
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def asked(
    protocol_class: type[QuietSansIOProtocol] = PicowsProtocol, sock: socket.socket | None = None, **settings: Any
) -> AsyncIterator[Call]:
    """A connection whose application may answer the handshake now."""
    call = Call(protocol_class, sock, **settings)
    await call.ask()
    try:
        yield call
    finally:
        call.over.set()
        if call.line.protocol is not None:
            call.line.lose()
        await until(lambda: not call.state.tasks)
        assert not call.state.connections


@contextlib.asynccontextmanager
async def accepted(
    protocol_class: type[QuietSansIOProtocol] = PicowsProtocol, sock: socket.socket | None = None, **settings: Any
) -> AsyncIterator[Call]:
    """A connection whose application has accepted."""
    async with asked(protocol_class, sock, **settings) as call:
        await call.accept()
        assert call.line.written.pop().startswith(b"HTTP/1.1 101")
        assert not call.line.written
        yield call


# The handover


async def test_the_handshake_is_let_go_once_it_is_answered() -> None:
    async with asked() as call:
        [handshake] = call.state.connections
        assert isinstance(handshake, PicowsProtocol)
        parts = [weakref.ref(part) for part in (handshake, handshake.conn, handshake.writable)]
        del handshake
        gc.disable()
        try:
            await call.accept()
            assert [part() for part in parts] == [None] * 3
        finally:
            gc.enable()
        assert len(call.state.connections) == 1
        assert hasattr(call.line.protocol, "get_buffer")


async def test_nothing_holds_a_connection_that_has_ended() -> None:
    gc.collect()
    gc.disable()
    try:
        call = Call(PicowsProtocol, None)
        await call.ask()
        await call.accept()
        call.line.receive(frame(BINARY, b"a"), frame(PING))
        assert (await call.receive())["bytes"] == b"a"
        stream = weakref.ref(next(iter(call.state.connections)))
        call.over.set()
        await until(lambda: not call.state.tasks)
        call.line.receive(frame(CLOSE, code(1000)))
        call.line.lose()
        call.app_send = call.app_receive = call.scope = None
        call.clock.timers.clear()
        await asyncio.sleep(0)
        assert stream() is None
    finally:
        gc.enable()


async def test_what_comes_before_the_accept_is_kept_and_no_more_is_read() -> None:
    early = [frame(TEXT, b"\xc3\xa9"), frame(BINARY, bytes(5000)), frame(PING, b"p")]
    data = b"".join(early)
    async with asked() as call:
        call.line.receive(data[:3])
        assert call.line.reads_paused
        call.line.receive(data[3:])
        await call.accept()
        assert call.line.reads_paused, "until the application has taken it"
        assert (await call.receive())["text"] == "é"
        assert (await call.receive())["bytes"] == bytes(5000)
        assert not call.line.reads_paused
        assert frames(call.line.written[-1]) == [(PONG, b"p")]


async def test_half_a_frame_before_the_accept_is_read_on() -> None:
    async with asked() as call:
        call.line.receive(frame(BINARY, b"abc")[:-1])
        await call.accept()
        assert not call.line.reads_paused
        call.line.receive(b"c")
        assert (await call.receive())["bytes"] == b"abc"


async def test_a_violation_before_the_accept_closes_behind_it() -> None:
    async with asked() as call:
        call.line.receive(b"\x83\x80\0\0\0\0")
        await call.accept()
        assert (await call.receive())["code"] == 1002
        assert [opcode for opcode, _ in frames(call.line.written[-1])] == [CLOSE]


async def test_deflate_is_not_negotiated() -> None:
    offer = REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    for protocol_class, negotiated in ((PicowsProtocol, False), (QuietSansIOProtocol, True)):
        call = Call(protocol_class, None, ws_per_message_deflate=True)
        await call.ask(offer)
        await call.accept()
        assert (b"permessage-deflate" in call.line.written[0]) is negotiated
        call.over.set()
        call.line.lose()
        await until(lambda call=call: not call.state.tasks)  # type: ignore[misc]


# Writing


async def test_a_message_goes_straight_to_the_socket_and_never_to_another_of_its_number() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        async with accepted(sock=ours) as call:
            await call.send(b"abc")
            assert frames(theirs.recv(100)) == [(BINARY, b"abc")]
            assert call.line.written == []
            call.line.closing = True  # the socket is still open
            with pytest.raises(ClientDisconnected):
                await call.send(b"no")
            assert not call.write(b"no")
            call.line.lose()
            with pytest.raises(ClientDisconnected):
                await call.send(b"no")
            with pytest.raises(ClientDisconnected):
                await call.close()
            assert not call.write(b"no")
            with pytest.raises(BlockingIOError):
                theirs.recv(1)


async def test_a_ping_behind_the_end_writes_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        async with accepted(sock=ours) as call:
            call.line.receive(frame(CLOSE, code(1000)), frame(PING, b"p"), frame(TEXT, b"x"), b"\xff\xff")
            call.line.receive(frame(PING, b"p"))
            assert call.line.frames() == [(CLOSE, code(1000))]
            with pytest.raises(BlockingIOError):
                theirs.recv(1)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 8192, 8193, 65_535, 65_536])
async def test_every_size_is_framed(size: int) -> None:
    async with accepted() as call:
        await call.send(bytes(size))
        await call.send("é" * (size // 2))
        assert call.write(bytes(size), "é" * (size // 2), b"")
        twice = [(BINARY, bytes(size)), (TEXT, "é".encode() * (size // 2))] * 2
        assert call.line.frames() == [*twice, (BINARY, b"")]


@pytest.mark.parametrize("protocol_class", [PicowsProtocol, QuietSansIOProtocol])
async def test_several_payloads_are_one_write(protocol_class: type[QuietSansIOProtocol]) -> None:
    async with accepted(protocol_class) as call:
        assert call.write(b"a", "é", b"", b"x" * 300)
        assert len(call.line.written) == 1
        assert call.line.frames() == [(BINARY, b"a"), (TEXT, "é".encode()), (BINARY, b""), (BINARY, b"x" * 300)]
        assert call.write("one")
        assert call.write()
        assert call.line.frames() == [(TEXT, b"one")]


@pytest.mark.parametrize("protocol_class", [PicowsProtocol, QuietSansIOProtocol])
async def test_a_text_that_cannot_be_encoded_writes_nothing(protocol_class: type[QuietSansIOProtocol]) -> None:
    async with accepted(protocol_class) as call:
        waiting: deque[bytes | str] = deque([b"a", "\ud800"])
        with pytest.raises(UnicodeEncodeError):
            call.scope["extensions"][DIRECT].write(waiting)
        assert len(waiting) == 2
        assert call.write(b"b")
        assert call.line.frames() == [(BINARY, b"b")]


@pytest.mark.parametrize("protocol_class", [PicowsProtocol, QuietSansIOProtocol])
async def test_a_direct_write_takes_nothing_where_it_would_have_to_wait(
    protocol_class: type[QuietSansIOProtocol],
) -> None:
    async with asked(protocol_class) as call:
        assert not call.write(b"before the accept")
        await call.accept()
        call.line.protocol.pause_writing()
        assert not call.write(b"backed up")
        call.line.protocol.resume_writing()
        assert call.write(b"yes")
        await call.close()
        assert not call.write(b"closed")
        call.line.lose()
        assert not call.write(b"lost")


async def test_senders_wait_while_the_socket_is_backed_up_and_keep_their_order() -> None:
    async with accepted() as call:
        call.line.protocol.pause_writing()
        senders = [asyncio.create_task(call.send(bytes([number]))) for number in range(3)]
        await until(lambda: not call.line.written and call.clock.loop is not None)
        await asyncio.sleep(0)
        senders[1].cancel()
        await asyncio.sleep(0)
        assert call.line.written == []
        call.line.protocol.resume_writing()
        await asyncio.wait(senders)
        assert call.line.frames() == [(BINARY, b"\0"), (BINARY, b"\2")]
        assert [sender.cancelled() for sender in senders] == [False, True, False]


@pytest.mark.parametrize("end", ["lost", "eof", "close frame", "violation"])
async def test_a_sender_that_waits_is_woken_by_the_end(end: str) -> None:
    async with accepted() as call:
        call.line.protocol.pause_writing()
        sender = asyncio.create_task(call.send(b"x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if end == "lost":
            call.line.lose(ConnectionResetError())
        elif end == "eof":
            call.line.protocol.eof_received()
        else:
            call.line.receive(frame(CLOSE) if end == "close frame" else frame(TEXT, b"\xff"))
        async with asyncio.timeout(5):
            with pytest.raises(ClientDisconnected):
                await sender


async def test_pings_of_a_peer_that_does_not_read_do_not_pile_up() -> None:
    async with accepted() as call:
        call.line.protocol.pause_writing()
        call.line.receive(*(frame(PING, bytes([number])) for number in range(100)))
        assert call.line.written == []
        call.line.protocol.resume_writing()
        assert call.line.frames() == [(PONG, b"\x63")]


# Reading


async def test_reading_pauses_for_an_application_that_does_not_keep_up() -> None:
    async with accepted() as call:
        call.line.receive(*[frame(BINARY, b"x")] * 16)
        assert not call.line.reads_paused
        call.line.receive(frame(BINARY, b"x"))
        assert call.line.reads_paused
        for _ in range(16):
            await call.receive()
        assert call.line.reads_paused
        await call.receive()
        assert not call.line.reads_paused
        call.line.receive(frame(BINARY, bytes(5000)))
        assert call.line.reads_paused, "a long one counts for many"
        await call.receive()
        assert not call.line.reads_paused


async def test_reading_does_not_pause_for_one_that_waits() -> None:
    async with accepted() as call:
        receiver = asyncio.create_task(call.receive())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.line.receive(frame(TEXT, bytes(60_000)))
        assert not call.line.reads_paused
        await receiver


async def test_a_flood_does_not_make_the_buffer_grow() -> None:
    async with accepted() as call:
        call.line.receive(frame(BINARY, bytes(1000)) * 20_000)  # 20 MB
        assert len(call.line.protocol.get_buffer(-1)) <= 64 * 1024


async def test_a_receive_that_is_cancelled_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with accepted() as call:
        receiver = asyncio.create_task(call.app_receive())
        await asyncio.sleep(0)
        call.line.receive(frame(TEXT, b"a"))
        receiver.cancel()  # after it was told that there is something
        await asyncio.wait([receiver])
        assert (await call.receive())["text"] == "a"
        receiver = asyncio.create_task(call.app_receive())
        await asyncio.sleep(0)
        receiver.cancel()
        call.line.receive(frame(TEXT, b"b"))  # before it knows
        await asyncio.wait([receiver])
        assert (await call.receive())["text"] == "b"
        receiver = asyncio.create_task(call.app_receive())
        await asyncio.sleep(0)
        receiver.cancel()
        await asyncio.wait([receiver])
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "wait", None)  # nobody else receives, so there is nobody to wait for
            receiver = asyncio.create_task(call.receive())
            await asyncio.sleep(0)
            call.line.receive(frame(TEXT, b"c"))
            assert (await receiver)["text"] == "c"
        assert call.line.frames() == []
        receiver = asyncio.create_task(call.app_receive())
        await asyncio.sleep(0)
        receiver.cancel()
        call.line.lose()
        await asyncio.wait([receiver])
        assert (await call.receive())["code"] == 1006


async def test_two_tasks_may_receive() -> None:
    async with accepted() as call:
        receivers = [asyncio.create_task(call.receive()) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        receivers[0].cancel()
        await asyncio.wait(receivers[:1])
        call.line.receive(frame(TEXT, b"a"), frame(TEXT, b"b"))
        assert {(await receiver)["text"] for receiver in receivers[1:]} == {"a", "b"}


async def test_the_disconnect_is_told_again_and_again() -> None:
    async with accepted() as call:
        call.line.receive(frame(TEXT, b"last"), frame(CLOSE, code(4001, "why")))
        assert (await call.receive())["text"] == "last"
        for _ in range(3):
            assert await call.receive() == {"type": "websocket.disconnect", "code": 4001, "reason": "why"}
        call.line.lose()
        assert (await call.receive())["code"] == 4001


async def test_an_error_of_our_own_is_told_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with accepted() as call:
        stream = type(next(iter(call.state.connections)))
        monkeypatch.setattr(stream, "_on_data", lambda *_, **__: 1 / 0)
        call.line.receive(frame(TEXT, b"secret"))
        assert (await call.receive())["code"] == 1011
        assert call.line.frames() == [(CLOSE, code(1011))]
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError
        assert "secret" not in record.getMessage()


# How it ends


@pytest.mark.parametrize("behind", [frame(CLOSE, code(1001)), b"\xff\xff", frame(TEXT, b"\xff"), frame(PING)])
@pytest.mark.parametrize("payload", [b"", code(1000), code(4999, "x")])
async def test_what_comes_behind_a_close_frame_does_not_count(payload: bytes, behind: bytes) -> None:
    async with accepted() as call:
        call.line.receive(frame(TEXT, b"a"), frame(CLOSE, payload), behind)
        assert (await call.receive())["text"] == "a"
        message = await call.receive()
        assert message["code"] == (int.from_bytes(payload[:2]) or 1005)
        assert CLOSED_BY_SERVER not in message
        assert call.line.frames() == [(CLOSE, payload)]
        assert call.line.closing


@pytest.mark.parametrize("number", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535])
async def test_a_close_code_that_no_peer_may_send_is_1002(number: int) -> None:
    async with accepted() as call:
        call.line.receive(frame(CLOSE, code(number)))
        message = await call.receive()
        assert (message["code"], message[CLOSED_BY_SERVER]) == (1002, True)
        assert [payload[:2] for _, payload in call.line.frames()] == [code(1002)]


@pytest.mark.parametrize("number", [*range(1000, 1004), *range(1007, 1015), 3000, 4999])
async def test_a_close_code_that_a_peer_may_send_is_echoed(number: int) -> None:
    async with accepted() as call:
        call.line.receive(frame(CLOSE, code(number, "é")))
        assert await call.receive() == {"type": "websocket.disconnect", "code": number, "reason": "é"}
        assert call.line.frames() == [(CLOSE, code(number, "é"))]


VIOLATIONS = [frame(opcode, b"wrong", reserved=bit) for opcode in (TEXT, BINARY, PING) for bit in (1, 2, 4)]
VIOLATIONS += [frame(3), frame(PING, fin=False), frame(CONTINUATION), frame(CLOSE, b"1"), b"\x82\x00"]


@pytest.mark.parametrize("wrong", VIOLATIONS)
async def test_a_violation_ends_reading_but_the_reason_is_not_cut_off(wrong: bytes) -> None:
    async with accepted() as call:
        call.line.receive(frame(TEXT, b"right"), wrong)
        assert (await call.receive())["text"] == "right"
        assert (await call.receive())["code"] == 1002
        assert call.line.eof_written
        assert not call.line.closing, "or the peer might be reset before it has read why"
        call.line.receive(bytes(1_000_000))
        assert len(call.line.frames()) == 1
        assert call.line.protocol.eof_received() is False
        assert call.line.closing


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_fragments_that_are_too_long_together_are_1009(opcode: int) -> None:
    async with accepted(ws_max_size=10) as call:
        call.line.receive(frame(opcode, bytes(5), fin=False), frame(CONTINUATION, bytes(5)))
        assert len((await call.receive())["text" if opcode == TEXT else "bytes"]) == 10
        call.line.receive(frame(opcode, bytes(5), fin=False), frame(CONTINUATION, bytes(6)))
        assert (await call.receive())["code"] == 1009


async def test_a_handshake_that_was_refused_is_over() -> None:
    async with asked() as call:
        await call.close()
        assert call.line.written.pop().startswith(b"HTTP/1.1 403")
        assert (await call.receive())["code"] == 1006
        with pytest.raises(RuntimeError):
            await call.send(b"x")


async def test_a_handshake_that_was_not_answered_is_over(caplog: pytest.LogCaptureFixture) -> None:
    async with asked() as call:
        call.over.set()
        await until(lambda: not call.state.tasks)
        assert call.line.written.pop().startswith(b"HTTP/1.1 500")
        assert "without completing handshake" in caplog.text
        with pytest.raises(ClientDisconnected):
            await call.send(b"x")
        assert (await call.receive())["code"] == 1006
        assert not call.write(b"x")


async def test_a_peer_that_stays_after_its_violation_is_aborted() -> None:
    async with accepted() as call:
        call.line.receive(b"\xff\xff")
        assert (await call.receive())["code"] == 1002
        call.clock.pass_s(9.9)
        assert not call.line.aborted
        call.clock.pass_s(0.2)
        assert call.line.aborted


async def test_a_peer_that_does_not_answer_a_close_is_aborted() -> None:
    async with accepted() as call:
        call.line.protocol.pause_writing()
        await call.close(code=4000, reason="enough")  # doesn't wait for a peer that doesn't read
        assert call.line.frames() == [(CLOSE, code(4000, "enough"))]
        call.line.receive(frame(TEXT, b"ignored"), frame(PING))
        assert await call.receive() == {"type": "websocket.disconnect", "code": 4000, "reason": "enough"}
        with pytest.raises(RuntimeError, match=r"after sending 'websocket\.close'"):
            await call.send(b"x")
        call.clock.pass_s(9.9)
        assert not call.line.closing
        call.clock.pass_s(0.2)
        assert call.line.aborted


async def test_a_close_that_is_answered_closes_the_socket() -> None:
    async with accepted() as call:
        call.line.receive(*[frame(BINARY, b"x")] * 20)
        assert call.line.reads_paused
        await call.close()
        assert not call.line.reads_paused, "or the answer would never be read"
        call.line.receive(frame(CLOSE, code(1000)))
        assert call.line.closing
        assert not call.line.aborted
        call.clock.pass_s(10.1)
        assert call.line.aborted, "what it can't take is not kept for ever"


async def test_the_end_of_what_the_peer_writes_is_a_loss() -> None:
    async with accepted() as call:
        assert call.line.protocol.eof_received() is False
        assert (await call.receive())["code"] == 1006
        assert call.line.closing
        with pytest.raises(ClientDisconnected):
            await call.send(b"x")
        await call.close()  # nothing is left to close
        assert call.line.frames() == []


@pytest.mark.parametrize(("fault", "number"), [(None, 1000), (ZeroDivisionError, 1011)])
async def test_an_application_that_ends_closes(
    fault: type[Exception] | None, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with accepted() as call:
        call.fault = fault
        call.over.set()
        await until(lambda: bool(call.line.written))
        assert call.line.frames() == [(CLOSE, code(number))]
        assert [record.exc_info[0] for record in caplog.records if record.exc_info] == ([fault] if fault else [])


async def test_a_server_that_stops_tells_both_sides() -> None:
    async with accepted() as call:
        [stream] = call.state.connections
        stream.shutdown()
        assert (await call.receive())["code"] == 1012
        assert call.line.frames() == [(CLOSE, code(1012))]
        assert call.line.closing
        call.clock.pass_s(10.1)
        assert call.line.aborted


# Keep-alive


async def test_a_peer_that_answers_is_pinged_every_interval() -> None:
    async with accepted() as call:
        for _ in range(3):
            call.clock.pass_s(INTERVAL_S - 1)
            assert call.line.frames() == []
            call.clock.pass_s(1)
            [(opcode, payload)] = call.line.frames()
            assert opcode == PING
            call.clock.pass_s(0)
            call.line.receive(frame(PONG, payload))
        assert len([1 for _, handle in call.clock.timers if not handle.cancelled()]) == 1


async def test_a_peer_that_answers_late_is_pinged_in_the_same_rhythm() -> None:
    async with accepted() as call:
        call.clock.pass_s(INTERVAL_S)
        [(_, payload)] = call.line.frames()
        call.clock.pass_s(TIMEOUT_S - 1)
        call.line.receive(frame(PONG, payload))
        call.clock.pass_s(INTERVAL_S - TIMEOUT_S)
        assert call.line.frames() == []
        call.clock.pass_s(1)
        assert [opcode for opcode, _ in call.line.frames()] == [PING]


@pytest.mark.parametrize("answer", [b"", frame(PONG), frame(PONG, b"else"), frame(TEXT, b"x")])
async def test_a_peer_that_does_not_answer_is_lost(answer: bytes) -> None:
    async with accepted() as call:
        call.clock.pass_s(INTERVAL_S + TIMEOUT_S - 0.1)
        call.line.receive(answer)
        call.line.frames()
        call.clock.pass_s(0.1)
        if answer.endswith(b"x"):
            assert (await call.receive())["text"] == "x"
        assert await call.receive() == {
            "type": "websocket.disconnect",
            "code": 1006,
            "reason": "no answer to a ping",
        }
        assert call.line.frames() == [(CLOSE, code(1011, "keepalive ping timeout"))]
        assert call.line.closing
        call.clock.pass_s(10.1)
        assert call.line.aborted


async def test_an_answer_that_we_did_not_read_is_not_the_peers_fault() -> None:
    async with accepted() as call:
        call.clock.pass_s(INTERVAL_S)
        [(_, payload)] = call.line.frames()
        call.line.receive(*[frame(BINARY, b"x")] * 17)
        assert call.line.reads_paused
        call.clock.pass_s(100 * TIMEOUT_S)
        assert call.line.frames() == []
        for _ in range(17):
            await call.receive()
        call.line.receive(frame(PONG, payload))
        call.clock.pass_s(INTERVAL_S)
        assert [opcode for opcode, _ in call.line.frames()] == [PING]


async def test_an_event_loop_that_was_blocked_reads_before_it_judges() -> None:
    async with accepted() as call:
        call.clock.pass_s(INTERVAL_S)
        call.line.frames()
        call.clock.pass_s(TIMEOUT_S + 5, blocked=True)
        assert call.line.frames() == []
        call.clock.pass_s(TIMEOUT_S)
        assert [opcode for opcode, _ in call.line.frames()] == [CLOSE]


async def test_no_interval_no_pings() -> None:
    async with accepted(ws_ping_interval=None) as call:
        assert call.clock.timers == []


# The choice of a class


@pytest.fixture
def reimported() -> Iterator[None]:
    """The module is imported anew in the test, and after it."""
    modules = {f"{PACKAGE}.{name}": sys.modules.pop(f"{PACKAGE}.{name}") for name in PARTS}
    yield
    sys.modules.update(modules)
    for name in PARTS:
        setattr(importlib.import_module(PACKAGE), name, modules[f"{PACKAGE}.{name}"])


@pytest.mark.usefixtures("reimported")
@pytest.mark.parametrize("state", ["missing", "another version"])
async def test_without_the_right_picows_one_sentence_tells_what_to_do(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state == "missing":
        monkeypatch.setitem(sys.modules, "picows", None)
    else:
        monkeypatch.setattr("picows.version.__version__", "2.4.0")
    with pytest.raises(ImportError, match=r"pip install 'vonage-audio-connector-server\[fast\]'") as caught:
        importlib.import_module(f"{PACKAGE}.picows_protocol")
    assert (caught.value.__cause__ is not None) == (state == "missing")
    assert ("2.4.0 is installed" in str(caught.value)) == (state != "missing")
    assert _find_ws_protocol("auto") is QuietSansIOProtocol
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, ws="picows")
    with pytest.raises(AudioConnectorStartServerError, match=r"server\[fast\]"):
        await Video().start_audio_connector_server(config)


async def test_each_name_is_a_class() -> None:
    assert _find_ws_protocol("auto") is PicowsProtocol
    assert _find_ws_protocol("picows") is PicowsProtocol
    assert _find_ws_protocol("websockets-sansio") is QuietSansIOProtocol


async def test_wsproto_is_uvicorns_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AudioConnectorStartServerError, match="pip install wsproto"):
        _find_ws_protocol("wsproto")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert _find_ws_protocol("wsproto") == "wsproto"


@pytest.mark.parametrize("ws", ["websockets", "", None, 1, ["auto"]])
async def test_another_name_is_refused(ws: Any) -> None:
    with pytest.raises(AudioConnectorConfigError, match="ws must be"):
        AudioConnectorServerConfig(host="localhost", port=0, ws=ws)


async def test_a_unix_socket_is_served_too(tmp_path: Any) -> None:
    """It knows none of the options of TCP."""

    async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "bytes": message["bytes"]})
        await send({"type": "websocket.close"})

    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no Unix sockets")
    path = os.fspath(tmp_path / "s")
    config = uvicorn.Config(app, uds=path, ws=PicowsProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    async with asyncio.timeout(10):
        await server.startup()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(frame(BINARY, b"abc"))
        assert frames(await reader.readexactly(5)) == [(BINARY, b"abc")]
        writer.close()
        await until(lambda: not server.server_state.connections)
        await server.shutdown()
