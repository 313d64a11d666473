"""What our server serves: an ASGI application, whose connectors have their calls drained together."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from ..calls import Calls
from ..extensions import CALLS


class ServedApp:
    """An ASGI application that tells its connectors whose calls theirs are.

    Args:
        app: the application.
        calls: of the server.
    """

    def __init__(self, app: ASGIApp, calls: Calls) -> None:
        self._app = app
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        scope.setdefault("extensions", {})[CALLS] = self._calls
        self._calls.enter()
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # The event loop ends, and the call has ended in order: uvicorn's own classes would log a traceback.
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                raise
        finally:
            self._calls.leave()
