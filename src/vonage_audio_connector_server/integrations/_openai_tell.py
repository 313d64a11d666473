"""What a program is told of a Realtime session: its functions are called one at a time, in order, as a call's own."""

from __future__ import annotations

import logging

import anyio

from .. import sparing
from ..call.call import Call
from ..errors import AudioConnectorConfigError
from ..signatures import takes
from ..steps import Handler, call

logger = logging.getLogger("vonage_audio_connector_server")

MOST_WAITING = 256
"""So many things wait to be told; then those that come are dropped, but for errors and transcripts."""


class Teller:
    """Calls the functions of one program, in tasks of the call: an error of theirs is that of a handler.

    Args:
        owner: the call.
    """

    def __init__(self, owner: Call) -> None:
        self._call = owner
        self._order = anyio.Lock()
        self._waiting = 0

    def tell(self, function: Handler | None, about: object, *, is_vital: bool = False) -> None:
        """Call a function soon; None: nobody wants to know. Where the call has ended nobody is told."""
        if function is None or not self._call.is_open:
            return
        if self._waiting >= MOST_WAITING and not is_vital:
            sparing.warn("connection %s: its on_event is behind: an event is dropped", self._call.id)
            return
        self._waiting += 1
        self._call.start_soon(self._told, (function, about))

    async def now(self, function: Handler | None, about: object) -> None:
        """Call a function in this task, when it is its turn."""
        if function is not None:
            self._waiting += 1
            await self._told(function, about)

    async def _told(self, function: Handler, about: object) -> None:
        try:
            async with self._order:
                await call(function, about)
        finally:
            self._waiting -= 1


def check_function(name: str, function: object) -> None:
    """Make sure that a function can be told something.

    Raises:
        AudioConnectorConfigError: it can't.
    """
    if function is not None and not takes(function, None):
        raise AudioConnectorConfigError(f"{name} must be a function of one argument, not {function!r}")
