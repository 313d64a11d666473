"""An application that is called in a test: what it raised and nobody handled, the test gets, as it was raised.

A connector tells such an error to the log and closes the call with 1011, in a test as in production. The log has the
error itself; the context, which all that an application starts inherits, tells whose it is.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from ..extensions import RECORDER
from ..recording.log_lines import OF_A_CALL, logger
from .kept import NotesRecorder

_raised: ContextVar[list[Exception] | None] = ContextVar("raised", default=None)


class _Errors(logging.Filter):
    """Lets all pass, and keeps the errors of programs; see `log_lines.py` for why it is no handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        raised, error = _raised.get(), record.exc_info and record.exc_info[1]
        is_own = record.levelno >= logging.ERROR and str(record.msg).startswith(OF_A_CALL)
        if is_own and raised is not None and isinstance(error, Exception):
            raised.append(error)
        return True


_ERRORS = _Errors()


class Watched:
    """An ASGI application whose errors are kept.

    Args:
        app: the application.

    Attributes:
        errors: what it raised while it served calls.
        notes: what its side of the call noted.
    """

    def __init__(self, app: Any) -> None:
        self.errors: list[Exception] = []
        self.notes = NotesRecorder()
        self._app = app
        logger.addFilter(_ERRORS)  # it is there once, however often

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope."""
        _raised.set(self.errors)
        if scope["type"] == "websocket":
            scope["extensions"][RECORDER] = self.notes
        try:
            await self._app(scope, receive, send)
        except Exception as exc:
            if scope["type"] == "websocket" and exc not in self.errors:
                self.errors.append(exc)
            raise
