"""uvicorn's WebSocket protocol class, with a quieter log and true reports of how a connection ended.

Its log gets no traceback for a text that is not UTF-8, which is the peer's fault, no query of an address, which may
hold a secret, and no error for a handshake that was answered with an HTTP status.
"""

from __future__ import annotations

import logging
from collections.abc import MutableSequence
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.protocol import State

from .direct import DIRECT, Direct
from .outcomes import CLOSED_BY_SERVER

logger = logging.getLogger("vonage_audio_connector_server")


class _WithoutQuery(logging.LoggerAdapter[logging.Logger]):
    """A logger that leaves out what stands behind a question mark in any argument."""

    @property
    def level(self) -> int:
        return self.logger.level

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        super().log(level, msg, *(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in args), **kwargs)


class QuietSansIOProtocol(WebSocketsSansIOProtocol):
    """uvicorn's `websockets-sansio`; a text that is not UTF-8 closes with 1007 and one warning.

    The disconnect message tells more than uvicorn's: a connection that is lost, or answers no ping, ends with 1006, and
    one that uvicorn itself closes, because of what came, has `CLOSED_BY_SERVER`. The scope has `DIRECT`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger: Any = _WithoutQuery(self.logger, {})
        self.conn.debug = False  # or websockets would log headers and payloads at DEBUG

    async def run_asgi(self) -> None:
        """Run the application."""
        app = self.app

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            self.handshake_complete = self.handshake_complete or self.initial_response is not None

        self.app = answer
        direct = Direct(self.receive, self.send, self.write, self.loop.call_later)
        self.scope["extensions"][DIRECT] = direct  # type: ignore[assignment]  # a dict, says uvicorn
        try:
            await super().run_asgi()
        finally:  # what holds this object in a circle
            self.app = app
            del self.scope["extensions"][DIRECT]

    def write(self, payloads: MutableSequence[bytes | str]) -> bool:
        """Write all payloads, each as one message, in one go; see `Direct`.

        Returns:
            False where it took none: the socket is backed up, or the connection is not open.
        """
        if self.conn.state is not State.OPEN or not self.writable.is_set() or self.transport.is_closing():
            return False
        # All are encoded before the first is a frame: one that can't be leaves nothing half done.
        for payload, data in [
            (payload, payload.encode() if isinstance(payload, str) else payload) for payload in payloads
        ]:
            (self.conn.send_text if isinstance(payload, str) else self.conn.send_binary)(data)
        self.transport.write(b"".join(self.conn.data_to_send()))
        payloads.clear()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self.handshake_complete and self.conn.close_rcvd is None and not self.close_sent:
            self._disconnect(CloseCode.ABNORMAL_CLOSURE, "")
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """The peer has not answered a ping in time."""
        self._disconnect(CloseCode.ABNORMAL_CLOSURE, "no answer to a ping")
        super().keepalive_timeout()

    def handle_parser_exception(self) -> None:
        """What came breaks the protocol, and the connection is closed."""
        assert self.conn.close_sent is not None
        self._disconnect(self.conn.close_sent.code, self.conn.close_sent.reason, **{CLOSED_BY_SERVER: True})
        super().handle_parser_exception()

    def _disconnect(self, code: int, reason: str, **more: Any) -> None:
        """Tell the application before uvicorn does; what comes after the first message of this kind is not read."""
        message: Any = {"type": "websocket.disconnect", "code": int(code), "reason": reason, **more}
        self.queue.put_nowait(message)

    def send_receive_event_to_app(self) -> None:
        """Hand a whole message to the application, unless it is a text that can't be decoded."""
        if self.curr_msg_data_type == "text":
            try:
                str(b"".join(self.frames), "utf-8")
            except UnicodeDecodeError as exc:
                self.frames = []
                logger.warning("a text message was not UTF-8 (byte %d), closed with 1007", exc.start)
                self.conn.fail(CloseCode.INVALID_DATA, "invalid UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()
