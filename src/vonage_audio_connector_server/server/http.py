"""Before a connection is a WebSocket: its request has to come in time, in the clear and under TLS."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..link.tls import TLSTransport

logger = logging.getLogger("vonage_audio_connector_server")

REQUEST_S = 10.0
"""How long the head of a request may take: the router gives up after 6 s (D), and who sends nothing holds a socket."""


class TimedHTTP(H11Protocol):
    """uvicorn's HTTP, which closes a connection whose request doesn't come."""

    def connection_made(self, transport: Any) -> None:
        """The socket is ours."""
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
        self._expect()

    def data_received(self, data: bytes) -> None:
        """A part of a request came, or all of it."""
        self._expect()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._expect_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._expect_no_more()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(REQUEST_S, self._expire)

    def _expect_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        logger.debug("no request came within %g s: the connection is closed", REQUEST_S)
        self.transport.close()


def make_http(context: ssl.SSLContext | None, **options: Any) -> asyncio.Protocol:
    """What uvicorn makes for each socket: HTTP, under TLS where there is a context."""
    http = TimedHTTP(**options)
    return http if context is None else TLSTransport(context, http, options["server_state"].connections)
