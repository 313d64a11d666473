"""The lines of the library's log, for the calls that are being recorded.

A filter on the logger sees them, not a handler: where the program has set up no logging, a handler would silence the
warnings that Python then prints by itself. It lets all pass, and is there only while a call is recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

logger = logging.getLogger("vonage_audio_connector_server")

OF_A_CALL = "connection %s: "
"""So begins what concerns one call; its id is the first argument."""

MOST_CHARACTERS = 4000
"""Of a longer text the end is given: in a traceback it tells most."""

Listener = Callable[[int, str, bool], object]
"""Gets the level, the text and whether the line concerns this call alone, in whatever thread logs."""


class LogLines(logging.Filter):
    """Who listens, by connection id."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: dict[str, Listener] = {}
        self._lock = Lock()

    def add(self, call_id: str, listener: Listener) -> None:
        """Give it the lines about this call, and those that are about none, until `remove`."""
        with self._lock:
            self._listeners[call_id] = listener
            logger.addFilter(self)  # it is there once, however often

    def remove(self, call_id: str) -> None:
        """It gets no more."""
        with self._lock:
            self._listeners.pop(call_id, None)
            if not self._listeners:
                logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        is_own = isinstance(record.msg, str) and record.msg.startswith(OF_A_CALL)
        if is_own and isinstance(record.args, tuple) and record.args:
            own = self._listeners.get(str(record.args[0]))
            listeners = [] if own is None else [own]
        else:
            listeners = list(self._listeners.values())
        if listeners:
            text = text_of(record)
            for listener in listeners:
                listener(record.levelno, text, is_own)
        return True


def text_of(record: logging.LogRecord) -> str:
    """The line, and the traceback with it."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # its arguments don't fit, which the handlers tell
        text = str(record.msg)
    if record.exc_info and record.exc_info[1] is not None:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return shortened(text)


def shortened(text: str) -> str:
    """At most `MOST_CHARACTERS` of a text: its first line and its end."""
    if len(text) <= MOST_CHARACTERS:
        return text
    first = text.partition("\n")[0][: MOST_CHARACTERS // 4]
    return f"{first}\n…\n{text[len(first) - MOST_CHARACTERS :]}"


LOG_LINES = LogLines()
"""Of this process."""
