"""The door of one connector: who is let in, and whether anybody is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from starlette.types import Scope

from .admission.gate import (
    FORBIDDEN,
    AudioConnectorRefusedError,
    Refusal,
    ask,
    connection_data,
    doctor_headers,
    mask_query,
)
from .admission.shared_secret import SharedSecret
from .admission.tokens import OneTimeTokens
from .calls import SERVERS, Calls
from .config import AudioConnectorConfig
from .connection_data import AudioConnectorConnectionData, place_of
from .extensions import CALLS, LINK, extension

logger = logging.getLogger("vonage_audio_connector_server")


class Door:
    """Lets connections in.

    Args:
        config: the settings of the connector.
        calls: its calls.
        on_refused: called with what is known of a connection that is not let in, and why.
    """

    def __init__(
        self,
        config: AudioConnectorConfig,
        calls: Calls,
        on_refused: Callable[[AudioConnectorConnectionData, Refusal], None],
    ) -> None:
        self._config = config
        self._calls = calls
        self._on_refused = on_refused
        # Of the server that has asked it last, if that is one of ours; before, it may be any of ours.
        self._servers: Collection[Calls] = SERVERS

    @property
    def is_draining(self) -> bool:
        """Whether the connector, or a server of it, has begun to stop."""
        return self._calls.is_draining or any(calls.is_draining for calls in self._servers)

    async def admit(self, scope: Scope) -> tuple[AudioConnectorConnectionData, object]:
        """What is known of a connection, and what `authorize` says; raises `AudioConnectorRefusedError`."""
        server_calls = extension(scope, CALLS)
        self._servers = () if server_calls is None else (server_calls,)
        link = extension(scope, LINK)
        if link is not None:
            link.be_quiet()
        info = connection_data(scope)
        identity: object = self._full(server_calls)
        authorize = self._config.authorize
        if authorize is None and server_calls is not None:
            server_calls.tell_open(", unless the application around it asks who comes")
        if identity is None and authorize is not None:
            mask_query(scope, authorize)
            identity = await ask(authorize, info)
            if not isinstance(identity, Refusal):
                identity = self._full(server_calls) or identity
        if isinstance(identity, Refusal):
            # The ready-made ones have told why.
            has_told = identity.status == FORBIDDEN and isinstance(authorize, (SharedSecret, OneTimeTokens))
            logger.log(
                logging.DEBUG if has_told else logging.INFO,
                "connection %s: refused with HTTP %d, %s: %s",
                info.id,
                *identity,
                place_of(info),
            )
            self._on_refused(info, identity)
            raise AudioConnectorRefusedError(identity.status, headers=doctor_headers(info, is_refused=True) or None)
        return info, identity

    def is_draining_for(self, server_calls: Calls | None) -> bool:
        """Whether the connector has begun to stop, or the server that asks."""
        return self._calls.is_draining or (server_calls is not None and server_calls.is_draining)

    def _full(self, server_calls: Calls | None) -> Refusal | None:
        """Why nobody is let in now, whoever it is."""
        if self.is_draining_for(server_calls):
            return Refusal(503, "the server is stopping")
        limit = self._config.max_connections
        if limit is not None and self._calls.places >= limit:
            return Refusal(503, f"all {limit} connections are taken")
        return None
