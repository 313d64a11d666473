"""Which connection belongs to which connect call: told by the connector, waited for by whoever has made the call.

A one-time token in the address is proof. Where the connector takes none, a custom header with random digits is; it may
come with the request or in the first message (docs/protocol.md §1), so connections that can't be told yet are looked at
again. No clock but that of the process, and no I/O. To be used in the event loop of the connector.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

import anyio

from ..admission.gate import Refusal
from ..admission.shared_secret import query_values
from ..client import Client
from ..connection_data import AudioConnectorConnectionData
from ..runtime import in_background, let_others_run

logger = logging.getLogger("vonage_audio_connector_server")

HEADER = "audio-connector-call"
"""The custom header of a call without a token; ours, so it is short: all of them have 512 bytes."""

GIVEN_UP_S = 60.0
"""How long a connection that comes after all is closed at once: a token is valid for that long by default."""


@dataclass(eq=False, slots=True)
class Arrival:
    """One connection that is to come.

    Attributes:
        session_id: of the connect call.
        parameter: the name of the query parameter with the token.
        token: None: there is none.
        number: the value of the custom header, where there is no token.
        connection_id: what the connect call has answered; None: it has not yet.
        client: of the connection, once it has come.
        refusal: why it was not let in.
        strangers: connections that came meanwhile, and can't be told to be this one.
        refused_strangers: why such were not let in.
        changed: set whenever something of this has; whoever waits puts a new one in its place.
        gone: the connection has come and ended.
    """

    session_id: str
    parameter: str = "token"
    token: str | None = field(default=None, repr=False)
    number: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    connection_id: str | None = None
    client: Client | None = None
    refusal: Refusal | None = None
    strangers: list[Client] = field(default_factory=list)
    refused_strangers: list[Refusal] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)
    given_up_s: float | None = None

    def is_this(self, info: AudioConnectorConnectionData) -> bool:
        """Whether a connection is surely this one."""
        if self.token is not None:
            return self.token in query_values(info.uri, self.parameter)
        if self.number in info.headers.getlist(HEADER) or info.custom.get(HEADER) == self.number:
            return True
        return self.connection_id is not None and info.connection_id == self.connection_id

    def look_again(self) -> None:
        """Look at the strangers once more: their first message may have come, or the answer of the connect call."""
        if self.client is None:
            self._take([one for one in self.strangers if self.is_this(one.info())])

    def take_the_likely_one(self) -> None:
        """Where no proof came in time: the only connection of the same session is it, if there is no token to tell."""
        likely = [one for one in self.strangers if one.info().session_id == self.session_id]
        if self.client is None and self.token is None and len(likely) == 1:
            self._take(likely)

    def came(self, client: Client) -> bool:
        """A connection was let in; returns whether it is this one."""
        if self.client is None and self.is_this(client.info()):
            self._take([client])
            return True
        return False

    def _take(self, clients: list[Client]) -> None:
        if clients:
            self.client = clients[0]
            self.changed.set()


class Arrivals:
    """The connections that are to come to one connector, and those that have and go on."""

    def __init__(self) -> None:
        self._open: list[Arrival] = []

    def expect(self, arrival: Arrival) -> None:
        """Tell of this one, from now on."""
        self._forget_old()
        self._open.append(arrival)

    def forget(self, arrival: Arrival) -> None:
        """Nobody waits any more, and all is over."""
        if arrival in self._open:
            self._open.remove(arrival)

    def give_up(self, arrival: Arrival) -> None:
        """Nobody waits any more; if it comes after all it is closed, because it would be billed for nothing."""
        arrival.given_up_s = monotonic()

    def _forget_old(self) -> None:
        if self._open:
            now_s = monotonic()
            self._open = [one for one in self._open if one.given_up_s is None or now_s - one.given_up_s < GIVEN_UP_S]

    # For the connector

    def came(self, client: Client) -> None:
        """A connection was let in, and is served now."""
        self._forget_old()
        for arrival in self._open:
            if arrival.came(client):
                if arrival.given_up_s is not None:
                    in_background(partial(_close_late, client, arrival.session_id))
                return
        for arrival in self._open:
            if arrival.client is None:
                arrival.strangers.append(client)
                arrival.changed.set()

    def refused(self, info: AudioConnectorConnectionData, refusal: Refusal) -> None:
        """A connection was not let in."""
        for arrival in self._open:
            if arrival.client is None:
                if arrival.is_this(info):
                    arrival.refusal = refusal
                else:
                    arrival.refused_strangers.append(refusal)
                arrival.changed.set()

    def left(self, client: Client) -> None:
        """A connection has ended."""
        for arrival in self._open:
            if arrival.client is client:
                arrival.gone.set()
                arrival.changed.set()
            elif client in arrival.strangers:
                arrival.strangers.remove(client)


async def _close_late(client: Client, session_id: str) -> None:
    await let_others_run()  # it is about to be served
    logger.warning("session %s: its socket has come too late, connection %s: it is closed", session_id, client.id)
    await client.disconnect()
