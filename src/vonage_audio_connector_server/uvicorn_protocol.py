"""uvicorn's WebSocket protocol class, to which a text that is not UTF-8 is the peer's fault, not a traceback."""

from __future__ import annotations

import logging

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

logger = logging.getLogger("vonage_audio_connector_server")


class QuietSansIOProtocol(WebSocketsSansIOProtocol):
    """uvicorn's `websockets-sansio`; a text that is not UTF-8 closes with 1007 and one warning."""

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
