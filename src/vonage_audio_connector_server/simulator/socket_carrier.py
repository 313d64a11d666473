"""A call over a real socket, on asyncio and trio: `websockets` without its I/O, on a stream of anyio's.

The router's manners: no redirect is followed, no proxy is asked, no extension and no subprotocol is offered.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.uri import WebSocketURI, parse_uri

from ..close_codes import ABNORMAL
from ..errors import AudioConnectorConfigError
from ..runtime import make_waiter
from .app_carrier import close_error
from .carrier import CONNECT_S, STUCK_S, DialError, Lost, Receiver
from .failures import explain

USER_AGENT = "vonage-audio-connector-simulator"

_READ_BYTES = 65_536
_MESSAGE_BYTES = 64 * 1024 * 1024  # half an hour of audio in one message is one wrong frame, no reason to hang up
_GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class SocketCarrier:
    """One WebSocket connection to a server.

    Args:
        url: `ws://` or `wss://`.
        headers: of the upgrade request, besides the usual ones.
        ssl_context: for `wss://`; None: the system's certificates.
        through: host and port to connect to in place of those of the url: a relay.
        user_agent: of the upgrade request.
        connect_s: how long the server may take to accept; None: as long as the router waits.
        on_control: called with each ping and pong of the server, and what it carries; it must not raise.

    Attributes:
        response: what the server has answered to the upgrade request; None: nothing yet.

    Raises:
        AudioConnectorConfigError: the url, or a header, can't be used.
    """

    def __init__(
        self,
        url: str,
        headers: Sequence[tuple[str, str]],
        ssl_context: ssl.SSLContext | None = None,
        through: tuple[str, int] | None = None,
        *,
        user_agent: str = USER_AGENT,
        connect_s: float | None = None,
        on_control: Callable[[Opcode, bytes], None] | None = None,
    ) -> None:
        self.response: Response | None = None
        self._connect_s = CONNECT_S if connect_s is None else connect_s
        self._on_control = on_control
        self._url = url
        self._uri = check_url(url, ssl_context)
        self._ssl_context = ssl_context
        self._through = through
        self._protocol = ClientProtocol(self._uri, max_size=_MESSAGE_BYTES)
        self._request = self._protocol.connect()
        self._request.headers["User-Agent"] = user_agent
        for name, value in headers:
            self._request.headers[name] = value
        self._stream: anyio.abc.ByteStream | None = None
        self._receiver: Receiver | None = None
        self._early: list[tuple[bytes | str, bool]] = []  # that came before there was a receiver
        self._parts: list[bytes] = []  # of a message whose end has not come
        self._is_text = False
        self._outbox: list[bytes] = []
        self._waiter: Any = make_waiter()
        self._lost: Lost | None = None
        self._is_accepted = False
        self._aborted: str | None = None  # why
        self._broken: str | None = None  # what the server did
        self._tasks: anyio.abc.TaskGroup | None = None

    @property
    def close_received(self) -> int | None:
        """The code of the server's close frame; None: none has come."""
        received = self._protocol.close_rcvd
        return None if received is None else int(received.code)

    async def connect(self, tasks: anyio.abc.TaskGroup) -> None:
        """See `Carrier`."""
        self._tasks = tasks
        try:
            with anyio.fail_after(self._connect_s):
                await self._open()
        except TimeoutError as exc:
            await self._close_stream()
            if isinstance(exc, OSError) and exc.errno is not None:  # the system's own
                raise DialError(explain(exc, self._url)) from exc
            raise DialError(f"the server did not accept the connection within {self._connect_s:g} s") from exc
        except (*_GONE, ssl.SSLError) as exc:
            await self._close_stream()
            raise DialError(explain(_cause(exc), self._url)) from exc
        except BaseException:  # cancelled
            await self._close_stream()
            raise
        error = self._protocol.handshake_exc
        if error is not None:
            await self._close_stream()
            raise DialError(explain(error, self._url)) from error
        self._flush()  # the server may have said more already
        tasks.start_soon(self._shielded, self._read)
        tasks.start_soon(self._shielded, self._write_on)

    def start(self, receiver: Receiver) -> None:
        """See `Carrier`."""
        self._receiver = receiver
        for message, is_fragmented in self._early:
            receiver.message_received(message, is_fragmented=is_fragmented)
        if self._lost is not None:
            receiver.lost(self._lost)

    def write(self, messages: Sequence[bytes | str]) -> None:
        """See `Carrier`."""
        protocol = self._protocol
        for message in messages:
            if protocol.state is not OPEN:
                return
            if isinstance(message, bytes):
                protocol.send_binary(message)
            else:
                protocol.send_text(message.encode())
        self._flush()

    def ping(self, payload: bytes) -> None:
        """Send a ping, behind what was written; its pong comes to `on_control`."""
        if self._protocol.state is OPEN:
            self._protocol.send_ping(payload)
            self._flush()

    def close(self, code: int, reason: str) -> None:
        """See `Carrier`."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            self._flush()

    def abort(self, reason: str) -> None:
        """See `Carrier`."""
        if self._aborted is None and self._lost is None:
            self._aborted = reason
            assert self._tasks is not None
            self._tasks.start_soon(self._shielded, self._reset)

    # Inside

    async def _shielded(self, function: Callable[[], Awaitable[None]]) -> None:
        """Who cancels the call wants it closed, and not cut off; all ends with the connection."""
        with anyio.CancelScope(shield=True):
            await function()

    async def _open(self) -> None:
        uri = self._uri
        host, port = self._through or (uri.host, uri.port)
        stream: anyio.abc.ByteStream = await anyio.connect_tcp(host, port)
        self._stream = stream
        if uri.secure:
            context = self._ssl_context or ssl.create_default_context()
            self._stream = stream = await TLSStream.wrap(
                stream, hostname=uri.host, ssl_context=context, standard_compatible=False
            )
        protocol = self._protocol
        protocol.send_request(self._request)
        await stream.send(b"".join(protocol.data_to_send()))
        while not self._is_accepted and protocol.handshake_exc is None:
            try:
                protocol.receive_data(await stream.receive(_READ_BYTES))
            except anyio.EndOfStream:
                protocol.receive_eof()
            self._take_events()

    async def _read(self) -> None:
        stream, protocol = self._stream, self._protocol
        assert stream is not None
        with suppress(*_GONE, ssl.SSLError):
            while True:
                protocol.receive_data(await stream.receive(_READ_BYTES))
                self._take_events()
                self._flush()
        with suppress(EOFError):  # websockets tells that the handshake never ended
            protocol.receive_eof()
        self._end()
        await self._close_stream()

    async def _write_on(self) -> None:
        stream = self._stream
        assert stream is not None
        while self._lost is None:
            while self._outbox:
                data, self._outbox = b"".join(self._outbox), []
                with anyio.move_on_after(STUCK_S) as limit, suppress(*_GONE, ssl.SSLError):
                    await stream.send(data)
                if limit.cancelled_caught:
                    self._end(Lost(ABNORMAL, "", None, f"the server read nothing for {STUCK_S:g} s", "lost"))
                    await self._reset()
                    return
            await self._waiter
            self._waiter.take()

    def _flush(self) -> None:
        data = [chunk for chunk in self._protocol.data_to_send() if chunk]
        if data:
            self._outbox += data
            self._waiter.wake()

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self.response = event
                self._is_accepted = True
                continue
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.PING, Opcode.PONG) and self._on_control is not None:
                self._on_control(event.opcode, bytes(event.data))
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._take_frame(event)

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        is_fragmented = len(self._parts) > 1
        data, self._parts = b"".join(self._parts), []
        message: bytes | str = data
        if self._is_text:
            try:
                message = data.decode()
            except UnicodeDecodeError as exc:
                self._broken = f"a text is no UTF-8: {exc.reason}"
                self._protocol.fail(CloseCode.INVALID_DATA, self._broken)
                return
        if self._receiver is None:
            self._early.append((message, is_fragmented))
        else:
            self._receiver.message_received(message, is_fragmented=is_fragmented)

    def _end(self, lost: Lost | None = None) -> None:
        if self._lost is None:
            self._lost = lost or self._how_it_ended()
            self._waiter.wake()
            if self._receiver is not None:
                self._receiver.lost(self._lost)

    def _how_it_ended(self) -> Lost:
        protocol = self._protocol
        received, sent = protocol.close_rcvd, protocol.close_sent
        if self._aborted is not None:
            return Lost(ABNORMAL, self._aborted, "simulator", kind="lost")
        if received is not None and (sent is None or protocol.close_rcvd_then_sent):
            return Lost(received.code, received.reason, "server", close_error(received.code, received.reason))
        if sent is None:
            return Lost(ABNORMAL, "", None, "the connection was lost without a close frame", "lost")
        if protocol.parser_exc is not None or self._broken is not None:
            error = f"the server broke the WebSocket protocol: {sent.reason or f'close code {sent.code}'}"
            return Lost(sent.code, sent.reason, "simulator", error, "protocol error")
        return Lost(sent.code, sent.reason, "simulator")

    async def _reset(self) -> None:
        """End the TCP connection by a reset."""
        stream = self._stream
        assert stream is not None
        with suppress(*_GONE):
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.aclose_forcefully(stream)
        self._end()

    async def _close_stream(self) -> None:
        if self._stream is not None:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)


def check_url(url: str, ssl_context: ssl.SSLContext | None) -> WebSocketURI:
    """The parts of an address that can be called.

    Raises:
        AudioConnectorConfigError: it can't be used.
    """
    if not isinstance(url, str) or not url.lower().startswith(("ws://", "wss://")):
        raise AudioConnectorConfigError(f"url must begin with ws:// or wss://, not {url!r}")
    if ssl_context is not None and not url.lower().startswith("wss://"):
        raise AudioConnectorConfigError(f"ssl_context is for wss://, and url is {url!r}")
    try:
        return parse_uri(url)
    except (InvalidURI, ValueError) as exc:
        raise AudioConnectorConfigError(f"url {url!r} can't be used: {exc}") from exc


def _cause(exc: BaseException) -> Exception:
    """What the system said, below what anyio makes of it."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    if isinstance(exc, (anyio.EndOfStream, anyio.BrokenResourceError)):
        return ConnectionResetError("the connection was closed")
    return exc if isinstance(exc, Exception) else OSError(str(exc))
