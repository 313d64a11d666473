"""TLS between a socket and a protocol, in memory, so that the poller reads here, too, and no connection holds much.

asyncio's own TLS transport keeps 256 KiB of buffers a connection, and costs as much as all the rest of a message.
Towards asyncio this is a protocol; towards what speaks on it, uvicorn's HTTP and then our WebSocket, a transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("vonage_audio_connector_server")

HANDSHAKE_S = 10.0
"""How long a peer may take for the TLS handshake."""


class TLSTransport(asyncio.Protocol, asyncio.Transport):
    """One connection.

    Args:
        context: of the server.
        protocol: what speaks on it, once the handshake is done.
        connections: of the server: it is among them as long as the handshake lasts, and told when the server stops.

    Attributes:
        fd: of the socket; -1 when it is gone.
    """

    def __init__(self, context: ssl.SSLContext, protocol: asyncio.BaseProtocol, connections: set[Any]) -> None:
        asyncio.Transport.__init__(self)
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._protocol: Any = protocol
        self._deliver: Callable[[bytes], object] = protocol.data_received  # type: ignore[attr-defined]
        self._connections: set[Any] = connections
        self._raw: Any = None
        self._timer: asyncio.TimerHandle | None = None  # until the handshake is done
        self._is_up = self._is_paused = False
        self.fd = -1

    # Towards asyncio, and the poller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        self._connections.add(self)
        self._raw = transport
        self._raw.set_write_buffer_limits(high=0)
        own = self._raw.get_extra_info("socket")
        self.fd = own.fileno()
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._raw.abort)

    def data_received(self, data: bytes) -> None:
        """The event loop's transport has read it."""
        self.receive(data)

    def receive(self, data: bytes) -> None:
        """Decipher what came, and pass it on."""
        self._incoming.write(data)
        try:
            is_over = not self._read()
        except ssl.SSLWantReadError:
            is_over = False
        except ssl.SSLError as exc:
            logger.debug("the TLS of a connection failed: %s", exc)
            is_over = True
        if self._outgoing.pending:
            self._write_raw(self._outgoing.read())
        if is_over:
            if self._is_up:
                self._protocol.eof_received()
            self._raw.close()

    def shutdown(self) -> None:
        """The server stops, in the middle of the handshake."""
        self._raw.abort()

    def _read(self) -> bool:
        """Decipher all that is whole; false where the peer has said that no more comes."""
        incoming, tls = self._incoming, self._tls
        if not self._is_up:
            tls.do_handshake()
            self._open()
        while waiting_bytes := incoming.pending or tls.pending():
            data = tls.read(waiting_bytes)  # of one record
            if not data:
                return False
            self._deliver(data)
        return True

    def _open(self) -> None:
        self._is_up = True
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._protocol.connection_made(self)

    def eof_received(self) -> bool:
        """The peer writes no more."""
        if self._is_up:
            self._protocol.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self.fd = -1
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._is_up:
            self._protocol.connection_lost(exc)
        self._protocol = None
        self._deliver = bytes

    def pause_writing(self) -> None:
        """The socket is backed up."""
        self._is_paused = True
        if self._is_up:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._is_paused = False
        if self._is_up:
            self._protocol.resume_writing()

    def leave_poller(self) -> None:
        """See `Polled`."""
        self._protocol.leave_poller()

    def _write_raw(self, data: bytes) -> None:
        """Write past the transport while it holds nothing; what the socket doesn't take is the transport's."""
        if self.fd >= 0 and not self._is_paused and os.name == "posix":
            try:
                sent = os.write(self.fd, data)
            except OSError:  # the transport meets it again
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._raw.write(data)

    # Towards what speaks

    def write(self, data: Any) -> None:
        """See `asyncio.Transport`."""
        self._tls.write(data)
        self._write_raw(self._outgoing.read())

    def deliver_to(self, function: Callable[[bytes], object]) -> None:
        """Give what comes to a function, and no longer to the protocol."""
        self._deliver = function

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.Transport`."""
        self._protocol = protocol
        self._deliver = protocol.data_received  # type: ignore[attr-defined]

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.Transport`."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.Transport`."""
        if name == "sslcontext":
            return self._context
        return self._tls if name == "ssl_object" else self._raw.get_extra_info(name, default)

    def close(self) -> None:
        """See `asyncio.Transport`."""
        if self._is_up and not self._raw.is_closing():
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # it says that no more comes, and waits for no answer
            if self._outgoing.pending:
                self._write_raw(self._outgoing.read())
        self._raw.close()

    def abort(self) -> None:
        """See `asyncio.Transport`."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return bool(self._raw.is_closing())

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        """See `asyncio.Transport`."""
        return bool(self._raw.is_reading())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.Transport`. It pauses as soon as the socket doesn't take all."""

    def get_write_buffer_size(self) -> int:
        """See `asyncio.Transport`."""
        return int(self._raw.get_write_buffer_size())

    def can_write_eof(self) -> bool:
        """See `asyncio.Transport`."""
        return False
