"""picows' private protocol class, taken for what it does best: it cuts frames out of bytes, and writes them.

It is private API, so its minor version is held here, and nobody else imports it. The request, the answer, the socket's
options, closing and the log are not its affair in our server: it gets stand-ins for them.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Protocol

from websockets.frames import CloseCode

_INSTALL = "PicowsProtocol needs picows 2.3 (2.3.1 or newer): pip install 'vonage-audio-connector-server[fast]'"
try:
    from picows import WSFrame as WSFrame  # by another name it is passed on
    from picows import WSListener as WSListener
    from picows import WSMsgType as WSMsgType
    from picows import WSTransport as WSTransport
    from picows import WSUpgradeResponse, WSUpgradeResponseWithListener
    from picows.picows import WSProtocol  # type: ignore[attr-defined]  # private, so the version is held below
    from picows.version import __version__ as _picows_version
except ImportError as exc:
    raise ImportError(_INSTALL) from exc
if _picows_version.split(".")[:2] != ["2", "3"]:
    raise ImportError(f"{_INSTALL}; {_picows_version} is installed")

logger = logging.getLogger("vonage_audio_connector_server")

READ_BYTES = 64 * 1024
"""The most that is read at once: picows doubles its buffer whenever a read fills it, and never shrinks it."""

_REASON_LETTERS = 100
"""A close frame holds 123 bytes of reason; picows' own are ASCII."""

REQUEST = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
"""What picows wants to see before it reads frames; the real request was answered by uvicorn."""


class Peer(Protocol):
    """The listener, as far as the stand-ins need it."""

    def on_parser_error(self, code: int, reason: str) -> None:
        """What came can't be read on from here."""


def make_parser(listener: Any, transport: asyncio.Transport, max_bytes: int) -> Parser:
    """A parser that gives frames to `listener`, a `WSListener` and a `Peer`; the transport doesn't know it yet."""
    parser = Parser(
        None,  # no host and path: those are a client's
        None,
        False,
        lambda request: WSUpgradeResponseWithListener(_ANSWERED, listener),
        _Log(listener),
        True,  # an exception in a callback ends the connection
        None,  # no time limit for the handshake
        False,  # no pings of its own
        None,
        None,
        1,  # and so no strategy for them, but it wants one
        False,  # and no pongs: not while the socket is backed up
        max_bytes,
        None,
        0,  # the smallest buffer
    )
    parser.connection_made(_Line(transport))
    return parser


class Parser(WSProtocol):  # type: ignore[misc]  # it has no stub
    """picows' protocol, which reads no more at once than it should, and tells of the end of what the peer writes."""

    __slots__ = ()

    def get_buffer(self, size_hint: int) -> memoryview:
        """Where to read to."""
        buffer: memoryview = WSProtocol.get_buffer(self, size_hint)
        return buffer[:READ_BYTES]

    def eof_received(self) -> bool:
        """The peer writes no more."""
        self.listener.eof_received()
        return False


class _Line:
    """The transport as picows sees it: what it does to socket options is asyncio's affair, and closing is ours."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else self._transport.get_extra_info(name, default)

    def fileno(self) -> int:
        """The number picows sends to; it takes the transport where that fails."""
        socket = self._transport.get_extra_info("socket")
        return -1 if socket is None else int(socket.fileno())

    def setsockopt(self, *args: object) -> None:
        pass

    def getsockopt(self, *args: object) -> int:
        return 0

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class _Log:
    """The logger that picows is given: it writes nothing, and passes on what picows refuses."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Peer) -> None:
        self._stream = stream

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # logging's name
        return False

    def debug(self, *args: object) -> None:
        pass

    info = debug

    def error(self, message: str, refused: tuple[int, str]) -> None:
        self._stream.on_parser_error(int(refused[0]), refused[1][:_REASON_LETTERS])

    def exception(self, message: str) -> None:
        """An exception in our own code."""
        logger.exception("a WebSocket connection failed")  # noqa: LOG004  # picows calls this in its `except`
        self._stream.on_parser_error(CloseCode.INTERNAL_ERROR, "")


class _Answered(WSUpgradeResponse):
    """picows' answer to the request: uvicorn's has been written."""

    def to_bytes(self) -> bytearray:
        return bytearray()


_ANSWERED = _Answered()
_ANSWERED.status = HTTPStatus.SWITCHING_PROTOCOLS
_ANSWERED.headers = {}  # type: ignore[assignment]  # picows puts the same accept key of its request there each time
