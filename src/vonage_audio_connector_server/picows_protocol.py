"""uvicorn's WebSocket protocol class on picows, which reads and writes frames in C: the fastest that our server has.

The handshake is uvicorn's. Once the application has accepted, the socket is picows' own, and all that was needed before
is let go. Per-message deflate is never negotiated: PCM grows under it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from .direct import DIRECT, Direct
from .picows_stream import Stream
from .sweeper import sweeper_of
from .uvicorn_protocol import QuietSansIOProtocol


class PicowsProtocol(QuietSansIOProtocol):
    """The handshake of a connection, up to the application's accept; a `Stream` is what comes after it.

    For `uvicorn --ws vonage_audio_connector_server.picows_protocol:PicowsProtocol`. Disconnect messages and log as
    `QuietSansIOProtocol`. It doesn't negotiate per-message deflate, whatever `ws_per_message_deflate` says.
    """

    def __init__(self, config: Any, server_state: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, server_state, *args, **kwargs)
        self.conn.available_extensions = []
        self._stream = Stream(self)
        self.queue = self._stream  # type: ignore[assignment]  # the application reads one queue, before and after
        self.on_task_complete = self.tasks.discard  # type: ignore[assignment,method-assign]  # the task outlives this object
        self._early = bytearray()
        self._sweeper = sweeper_of(server_state, self.loop)

    def data_received(self, data: bytes) -> None:
        """The request, and what a hasty peer sends before it has its answer."""
        if self.handshake_initiated:
            self._early += data
            self.transport.pause_reading()
        else:
            super().data_received(data)

    def run_asgi(self) -> Coroutine[Any, Any, None]:
        """Run the application."""
        stream, loop = self._stream, self.loop
        direct = Direct(stream.receive, stream.send, stream.write, loop.call_later, stream.listen)
        self.scope["extensions"][DIRECT] = direct  # type: ignore[assignment]  # a dict, says uvicorn
        # Its context is made here, because a task of CPython 3.11 doesn't tell it.
        context = copy_context()
        task = loop.create_task(stream.run(self.app, self.scope), context=context)
        stream.app_task = task, context
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return _started()

    def start_keepalive(self) -> None:
        """The handshake was answered with 101: uvicorn calls this right behind it."""
        self.connections.discard(self)
        self._stream.open(bytes(self._early), self._sweeper)
        self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone before the application has accepted."""
        super().connection_lost(exc)
        self._forget()

    def _forget(self) -> None:
        self.conn.parser.close()  # a generator that holds what holds it


async def _started() -> None:
    """Stands for the application's task, which has been started."""
