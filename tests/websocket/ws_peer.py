"""The peer of the WebSocket tests: it writes bytes, so that it can break every rule, and it may stop reading.

It imports nothing of the library and no WebSocket implementation.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import socket
import ssl
import struct
from dataclasses import dataclass, field

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NO_CODE = 1005  # RFC 6455 7.1.5: what stands for a close frame without a code
KERNEL_BYTES = 64 * 1024
"""The size that the buffers of the kernel are set to on both sides; Linux doubles it."""

_KEY = base64.b64encode(b"sixteen bytes...").decode()
_ACCEPT = base64.b64encode(hashlib.sha1(f"{_KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_DATA_SEGS_IN_OFFSET_BYTES = 152  # of tcpi_data_segs_in in Linux's struct tcp_info (linux/tcp.h)
ZERO_MASK = b"\0\0\0\0"  # a legal key, which leaves the payload as it is: large messages cost nothing to make


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x81\x42\xc3\x14",
    claimed_bytes: int | None = None,
) -> bytes:
    """One frame as a client writes it, or one that no client may write; `claimed_bytes`: a false length."""
    size = len(payload) if claimed_bytes is None else claimed_bytes
    head = bytes([fin << 7 | reserved << 4 | opcode])
    masked = 0 if mask is None else 128
    if size < 126:
        head += bytes([masked | size])
    elif size < 65_536:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += struct.pack("!BQ", masked | 127, size)
    if mask is None or mask == ZERO_MASK:
        return head + (mask or b"") + payload
    key = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)])
    return head + mask + (int.from_bytes(payload) ^ key).to_bytes(len(payload))


def close_payload(code: int | None = None, reason: str = "") -> bytes:
    return b"" if code is None else struct.pack("!H", code) + reason.encode()


def close_frame(code: int | None = None, reason: str = "") -> bytes:
    return frame(CLOSE, close_payload(code, reason))


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes

    @property
    def close(self) -> tuple[int, str]:
        """Code and reason of a close frame."""
        if not self.payload:
            return NO_CODE, ""
        return int.from_bytes(self.payload[:2]), self.payload[2:].decode()


@dataclass
class Answer:
    """What came back for the handshake: the head, its fields by lower-case name."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


class _Reader(asyncio.StreamReader):
    """What came before a reset can still be read; asyncio's own reader forgets it."""

    def set_exception(self, exc: BaseException) -> None:
        self.feed_eof()


class Peer:
    """One connection. Every wait is bounded by the test that runs it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None) -> Peer:
        sock = socket.socket()
        try:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, KERNEL_BYTES)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            loop, reader = asyncio.get_running_loop(), _Reader()
            protocol = asyncio.StreamReaderProtocol(reader)
            name = None if tls is None else "localhost"
            transport, _ = await loop.create_connection(lambda: protocol, sock=sock, ssl=tls, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    def request(self, *lines: str, path: str = "/") -> None:
        """Ask for a WebSocket, with further header lines."""
        head = [
            f"GET {path} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {_KEY}",
            "Sec-WebSocket-Version: 13",
            *lines,
        ]
        self.write("\r\n".join([*head, "", ""]).encode())

    async def answer(self) -> Answer:
        """Read the head of the answer to the request."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        fields = (line.partition(":") for line in lines[1:])
        answer = Answer(int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in fields})
        if answer.status == 101:
            assert answer.headers["sec-websocket-accept"] == _ACCEPT
            assert answer.headers["upgrade"].lower() == "websocket"
            assert answer.headers["connection"].lower() == "upgrade"
        return answer

    def write(self, *parts: bytes) -> None:
        """Write what may be any bytes, all in one go."""
        self.writer.write(b"".join(parts))

    async def frame(self) -> Frame:
        """Read one frame, which must be one that a server may write."""
        first, second = await self.reader.readexactly(2)
        assert first & 0b1111_0000 == 0b1000_0000, "a whole message, no reserved bits"
        assert second < 128, "a server must not mask"
        size = second
        if second == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            assert size > 125
        elif second == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            assert size > 65_535
        return Frame(first & 15, await self.reader.readexactly(size))

    async def message(self) -> bytes | str:
        """Read the next message; nothing else may come before it."""
        got = await self.frame()
        assert got.opcode in (TEXT, BINARY), got
        return got.payload.decode() if got.opcode == TEXT else got.payload

    async def closed(self) -> tuple[int, str]:
        """Read up to the close frame: its code and reason."""
        while (got := await self.frame()).opcode != CLOSE:
            pass
        return got.close

    async def finish(self) -> None:
        """Answer the server's close frame, where one comes, and read up to the end."""
        try:
            code, reason = await self.closed()
        except asyncio.IncompleteReadError:
            return
        self.write(close_frame(None if code == NO_CODE else code, reason))
        await self.ended()

    async def ended(self) -> bytes:
        """Read up to the end of the connection, however it comes: the bytes that came."""
        return await self.reader.read()

    @property
    def segments_in(self) -> int:
        """How many TCP segments with data came so far: at least one for each write of the server (TCP_NODELAY)."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int(struct.unpack_from("I", info, _DATA_SEGS_IN_OFFSET_BYTES)[0])

    def reset(self) -> None:
        """Vanish with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.writer.transport.abort()

    async def leave(self) -> None:
        """Close the socket, without a close frame where none was written."""
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # the server was faster
            await self.writer.wait_closed()

    @property
    def _socket(self) -> socket.socket:
        sock: socket.socket = self.writer.get_extra_info("socket")
        return sock
