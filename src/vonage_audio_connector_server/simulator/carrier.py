"""What carries the messages of a simulated call: a real socket, or an application in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import anyio.abc

from ..errors import AudioConnectorError

CONNECT_S = 6.0
"""D: the connect call fails unless the socket is up by then."""

CLOSE_S = 3.0
"""How long the server has to answer our close frame."""

STUCK_S = 10.0
"""A message that the server doesn't take for this long ends the call: it has stopped reading."""


class DialError(AudioConnectorError, ConnectionError):
    """There is no connection: nobody was there, or it was refused."""


@dataclass(frozen=True, slots=True)
class Lost:
    """How a connection ended.

    Attributes:
        code: the WebSocket close code; 1006 where the connection was lost; None where there was none.
        reason: beside it.
        by: who closed; None where nobody did.
        error: what was wrong, as a sentence; None where nothing was.
        kind: `closed` by a handshake; `lost`, without one; `protocol error`, of the server.
    """

    code: int | None
    reason: str = ""
    by: Literal["server", "simulator"] | None = None
    error: str | None = None
    kind: Literal["closed", "lost", "protocol error"] = "closed"


class Receiver(Protocol):
    """Who gets what the server sends."""

    def message_received(self, message: bytes | str, *, is_fragmented: bool = False) -> None:
        """A message came."""

    def lost(self, lost: Lost) -> None:
        """The connection is over; called once, last."""


class Carrier(Protocol):
    """A connection to a server, as its client."""

    async def connect(self, tasks: anyio.abc.TaskGroup) -> None:
        """Open it; what it needs runs in `tasks`.

        Raises:
            DialError: nobody was there, or the connection was refused.
        """

    def start(self, receiver: Receiver) -> None:
        """Give what comes, and what has come since the accept, to `receiver`."""

    def write(self, messages: Sequence[bytes | str]) -> None:
        """Send messages; they wait where the server doesn't take them."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake. `Receiver.lost` follows."""

    def abort(self, reason: str) -> None:
        """Drop the connection without a word, as the router does where the server breaks its rules."""
