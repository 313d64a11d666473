"""The calls that end together: those of one connector, or those of all connectors of one server."""

from __future__ import annotations

import logging
from collections import deque
from weakref import WeakSet

import anyio

from .call.call import Call
from .call.questions import heard
from .close_codes import SERVICE_RESTART
from .results import CloseReport

logger = logging.getLogger("vonage_audio_connector_server")


ENDED = 20
"""So many close reports are remembered."""

SERVERS: WeakSet[Calls] = WeakSet()
"""The calls of each server of ours in this process that has not ended."""


class Calls:
    """They are counted, waited for, and drained.

    Attributes:
        live: those that are accepted.
        ended: how those ended that were, the newest last.
        places: how many those are, and those that are being let in.
        is_draining: nobody is let in any more.
        open_address: of a server that can be reached from outside, until it is told that a connector of it has no
            `authorize`.
    """

    def __init__(self) -> None:
        self.live: set[Call] = set()
        self.ended: deque[CloseReport] = deque(maxlen=ENDED)
        self.places = 0
        self.is_draining = False
        self.open_address: str | None = None
        self._all_gone: anyio.Event | None = None

    def tell_open(self, unless: str = "") -> None:
        """Warn, once, that whoever reaches the server is let in, `unless` something that can't be known."""
        if self.open_address is not None:
            logger.warning(
                "%s can be reached from outside and lets everybody in%s: set authorize, for example to SharedSecret(…)",
                self.open_address,
                unless,
            )
            self.open_address = None

    def enter(self) -> None:
        """Count one that is being let in, and then served; `leave` must follow."""
        self.places += 1

    def leave(self) -> None:
        """It is over."""
        self.places -= 1
        if not self.places and self._all_gone is not None:
            self._all_gone.set()
            self._all_gone = None

    async def wait_idle(self) -> None:
        """Wait until none is being served."""
        while self.places:
            self._all_gone = self._all_gone or anyio.Event()
            await self._all_gone.wait()

    async def drain(self, drain_s: float) -> None:
        """Let what is being said end, for `drain_s` at most, then close each with 1012; see `AudioConnector.drain`."""
        self.is_draining = True
        with anyio.move_on_after(drain_s):
            async with anyio.create_task_group() as retiring:
                for one in self.live:
                    retiring.start_soon(_retire, one)
        for one in list(self.live):
            one.close(SERVICE_RESTART, "server stops", by="server")


async def _retire(one: Call) -> None:
    """Let what is being said end, then close, because the server stops."""
    await one.waits.wait(heard(one))
    one.close(SERVICE_RESTART, "server stops", by="server")
