"""uvicorn's WebSocket protocol class, which keeps from its log what doesn't belong there, and tells a lost connection.

What doesn't belong there is a traceback for a text that is not UTF-8, which is the peer's fault, and the query of an
address, which may hold a secret.
"""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

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

    A connection that is lost without a close frame ends with 1006, and not with 1005 as one that was closed without
    a code.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger: Any = _WithoutQuery(self.logger, {})
        self.conn.debug = False  # or websockets would log headers and payloads at DEBUG

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self.handshake_complete and self.conn.close_rcvd is None and self.conn.close_sent is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": int(CloseCode.ABNORMAL_CLOSURE)})
        super().connection_lost(exc)

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
