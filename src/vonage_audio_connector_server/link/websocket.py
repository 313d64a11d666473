"""Our own WebSocket protocol class for uvicorn (`ws=`): one connection, from its accept to the end of its socket.

`frames.py` reads and writes, `application.py` is what comes before the accept; here the connection is handed to a call,
kept alive, and ends, whoever ends it. Of uvicorn it uses how it makes this object (`config`, `server_state`,
`app_state`), and that it calls `shutdown()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from collections.abc import Callable
from typing import Any

from websockets.protocol import CLOSING, OPEN

from ..close_codes import ABNORMAL, INTERNAL_ERROR, SERVICE_RESTART
from ..results import ClosedBy
from ..sparing import warn
from .application import ApplicationProtocol
from .base import Receiver, Sink
from .frames import make_protocol
from .poller import Polled, Poller, poller_of
from .tls import TLSTransport

CLOSE_S = 10.0
"""How long the peer has to answer a close, and to take what is left."""

STALL_S = 10.0
"""A call whose socket takes nothing for this long is given up: the peer has stopped reading."""

LATE_S = 1.0
"""A timer that comes so late tells that the event loop was blocked: a pong may be there, but not read yet."""


class WebSocketProtocol(ApplicationProtocol):
    """One connection: asyncio's protocol, the ASGI server's end, and the `Link` of a call.

    For `uvicorn --ws vonage_audio_connector_server:WebSocketProtocol`; our own server takes it by itself. It serves any
    ASGI application; an `AudioConnector` gets its messages the short way. It never agrees on compression, whatever
    `ws_per_message_deflate` says.
    """

    __slots__ = (
        "_connections",
        "_ended_as",
        "_is_held",
        "_ping",
        "_ping_interval_s",
        "_ping_timeout_s",
        "_pinged_s",
        "_polled_fd",
        "_poller",
        "_stall_timer",
        "_timer",
        "_was_read_paused",
        "close_timeout",
    )

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        loop = _loop or asyncio.get_running_loop()
        max_bytes = sys.maxsize if config.ws_max_size is None else config.ws_max_size
        super().__init__(config, server_state, app_state, loop, max_bytes)
        self._connections: set[Any] = server_state.connections
        self._poller: Poller | None = None  # reads in the transport's stead
        self._polled_fd = -1  # there
        self._ping_interval_s: float | None = config.ws_ping_interval
        self._ping_timeout_s: float | None = config.ws_ping_timeout
        self._ping = b""  # that awaits its pong
        self._pinged_s = 0.0
        self._was_read_paused = False  # since the ping: the answer may be there, unread
        self._timer: asyncio.TimerHandle | None = None  # the next ping, the wait for a pong, or the end of a close
        self._stall_timer: asyncio.TimerHandle | None = None
        self._ended_as: tuple[int, str, ClosedBy] | None = None  # what was told of the end
        self._is_held = False  # until a call takes it
        self.close_timeout = CLOSE_S

    # asyncio's and uvicorn's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours; uvicorn has read the request."""
        self._transport = transport
        self._connections.add(self)

    def eof_received(self) -> bool:
        """The peer writes no more."""
        self._end(ABNORMAL, "", "network")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._end(ABNORMAL, "", "network")
        self._set_timer(None)
        self._connections.discard(self)

    def shutdown(self) -> None:
        """The server stops."""
        self._fail_handshake()
        if self._ended_as is None:
            self._websocket.send_close(SERVICE_RESTART)
            self._flush()
            self._end(SERVICE_RESTART, "", "server")
        self._close_transport()

    def pause_writing(self) -> None:
        """The transport holds bytes."""
        super().pause_writing()
        if self._is_taken and self._stall_timer is None:
            self._stall_timer = self._loop.call_later(STALL_S, self._stalled)

    def resume_writing(self) -> None:
        """The transport holds none any more."""
        if self._stall_timer is not None and not self._is_broken:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    # The link of a call

    @property
    def sink(self) -> Sink:
        """See `Link`."""
        return self

    def hold(self) -> None:
        """A call will take the link: until then nothing is read, for it would be the ASGI application's."""
        self._is_held = True
        self._pause_reading()

    def start(self, receiver: Receiver, max_message_bytes: int, tasks: object) -> None:
        """See `Link`. From here on sockets are read together, where that can be."""
        self._is_taken, self._is_held = True, False
        if self._ended_as is not None:
            self._loop.call_soon(receiver.lost, *self._ended_as)
            return
        self._resume_reading()
        if self._early:
            self._loop.call_soon(self._read_early)
        self._max_message_bytes = max_message_bytes
        self._give_to(receiver)
        self._websocket = make_protocol(max_message_bytes, state=OPEN)
        if self._is_paused:
            self.pause_writing()
        poller, transport = poller_of(self._loop), self._transport
        polled: Polled = transport if isinstance(transport, TLSTransport) else self
        fd = transport.fd if isinstance(transport, TLSTransport) else self._fd
        if poller is not None and fd >= 0 and not transport.is_closing():
            transport.pause_reading()
            if isinstance(transport, TLSTransport):
                transport.deliver_to(self.receive)
            self._poller, self._polled_fd = poller, fd
            poller.add(fd, polled)

    def close(self, code: int, reason: str) -> None:
        """See `Link`. The socket stays open until the peer has answered, `close_timeout` at most."""
        if self._ended_as is None:
            self._websocket.send_close(code, reason)
            self._flush()
            self._end(code, reason, "program")

    async def abandon(self, code: int, reason: str) -> None:
        """See `Link`."""
        self.close(code, reason)

    def leave_poller(self) -> None:
        """From here on the transport reads: it knows how to end."""
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.remove(self._polled_fd)
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # What comes, but for messages

    def _receive_closed(self, data: bytes) -> None:
        if self._setup is not None:
            self._request_received(data)
        elif self._request is not None:  # a hasty peer: what it sends waits until it is let in
            self._early += data
            self._pause_reading()
        elif self._websocket.state is CLOSING:  # up to the peer's close; after a violation nothing is read
            self._websocket.receive_data(data)
            self._websocket.events_received()
            if b"" in self._websocket.data_to_send():  # its word for: close the socket
                self._close_transport()

    def _ponged(self, payload: bytes) -> None:
        if payload and payload == self._ping:  # anything else is no answer
            self._ping = b""
            if self._ping_timeout_s is not None and self._ping_interval_s is not None:
                self._set_timer(max(0.0, self._pinged_s + self._ping_interval_s - self._loop.time()), self._send_ping)

    def _peer_closed(self, code: int, reason: str) -> None:
        self._turn.finish()  # what came before
        self._flush()  # the answer
        self._end(code, reason, "session")
        self._close_transport()

    def _violated(self) -> None:
        self._turn.finish()  # what came before
        closing = b"".join(self._websocket.data_to_send())
        self._websocket.receive_eof()  # it gets nothing more, and so it tells what it made
        sent = self._websocket.close_exc.sent
        self._write_control(closing)
        self._end(int(sent.code) if sent else ABNORMAL, sent.reason if sent else "", "library")
        if self._transport.can_write_eof():
            # The rest of what it sends is read: a socket that is closed before is reset, and the reason may be lost.
            with contextlib.suppress(OSError):  # reset already
                self._transport.write_eof()
        else:
            self._close_transport()

    # The beginning

    def _open(self) -> None:
        self._give_to(self)
        self._websocket = make_protocol(self._max_message_bytes, state=OPEN)  # without what the request needed
        own = self._transport.get_extra_info("socket")
        if own is not None:
            with contextlib.suppress(OSError):  # a UNIX socket
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so for its own sockets only
        self._open_writing()
        if self._ping_interval_s:
            self._set_timer(self._ping_interval_s, self._send_ping)
        if self._early:
            self._loop.call_soon(self._read_early)

    def _read_early(self) -> None:
        if not self._is_held:
            early, self._early = self._early, b""
            self._resume_reading()
            self.data_received(early)

    # Keep-alive

    def _send_ping(self) -> None:
        self._ping = random.randbytes(4)
        self._pinged_s = self._loop.time()
        self._was_read_paused = self._is_read_paused
        if self._ping_timeout_s is None:
            self._set_timer(self._ping_interval_s, self._send_ping)
        else:
            self._set_timer(self._ping_timeout_s, self._ping_unanswered)
        self._websocket.send_ping(self._ping)
        self._flush()

    def _ping_unanswered(self) -> None:
        now_s, timeout_s = self._loop.time(), self._ping_timeout_s
        assert timeout_s is not None
        if self._was_read_paused or now_s - self._pinged_s - timeout_s > LATE_S:
            self._was_read_paused = self._is_read_paused
            self._pinged_s = now_s
            self._set_timer(timeout_s, self._ping_unanswered)
            return
        self._websocket.fail(INTERNAL_ERROR, "keepalive ping timeout")
        self._flush()
        self._end(ABNORMAL, "no answer to a ping", "network")
        self._close_transport()

    def _pause_reading(self) -> None:
        super()._pause_reading()
        self._was_read_paused = True

    # The end

    def _end(self, code: int, reason: str, by: ClosedBy) -> None:
        if self._ended_as is not None:
            return
        self._ended_as = code, reason, by
        receiver = self._receiver
        self._give_to(None)
        self.leave_poller()
        self._resume_reading()
        self._set_timer(self.close_timeout, self._transport.abort)
        self.lost(code, reason, by)
        if receiver is not None and receiver is not self:
            receiver.lost(code, reason, by)
        self._is_broken = self._is_paused = True  # nothing is written any more, and what was written goes on
        self._request = self._response = None
        self._fd = -1
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _close_transport(self) -> None:
        self._flush()
        self._transport.close()
        self._set_timer(self.close_timeout, self._transport.abort)

    def _stalled(self) -> None:
        warn("the peer has read nothing for %g s: its connection is given up", STALL_S)
        self._end(ABNORMAL, f"the peer read nothing for {STALL_S:g} s", "network")
        self._transport.abort()

    def _set_timer(self, delay_s: float | None, function: Callable[[], object] = bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._loop.call_later(delay_s, function)
