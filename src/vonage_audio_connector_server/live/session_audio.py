"""The audio of one live session, from the connect call to the force-disconnect.

One task (`run`) does both, so that whoever cancels the program's own task can't come between them: what was started is
ended. Vonage bills a connection as long as it lasts (D), and the server's close ends it (C), so there are two ways to
end it, and both are gone.
"""

from __future__ import annotations

import logging
import math
import threading
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from ..admission.tokens import OneTimeTokens
from ..client import Client
from ..config import AudioConnectorConfig
from ..errors import AudioConnectorConfigError, AudioConnectorSessionError
from .api import REST_S, SessionAPI, Started, open_api
from .arrivals import HEADER, Arrival, Arrivals
from .credentials import Credentials
from .likely_cause import likely_cause
from .request import ConnectRequest, is_id

logger = logging.getLogger("vonage_audio_connector_server")

ARRIVE_S = 6.0
"""D: the connect call fails unless the socket is up within it."""

AGAIN_S = 0.1
"""How often connections that can't be told yet are looked at again."""

END_S = 10.0
"""How long the force-disconnect is tried."""

RETRY_S = 0.5
"""How long after a try that failed it is tried again."""

CLOSE_S = 2.0
"""How long the socket may take to close after the force-disconnect, before it is closed from here."""

_NOT_ENDED = (
    "session %s: the force-disconnect of connection %s failed, so it may go on and be billed, unless closing the "
    "socket ends it: %s"
)


class Connector(Protocol):
    """What is needed of an `AudioConnector`."""

    config: AudioConnectorConfig
    _arrivals: Arrivals


class SessionAudio:
    """The audio of a live session, which `start_session_audio` has started. To be used in its connector's event loop.

    Attributes:
        session_id: of the session.
        id: of the WebSocket, as Vonage's API names it; None: it names none.
        connection_id: of the connection in the session, as Vonage's API names it.
        client: the connection to the connector; None: no connector was named, so it can't be seen.
        end_error: why the force-disconnect failed, so that the connection may go on and be billed; None: it didn't.
    """

    def __init__(
        self,
        request: ConnectRequest,
        credentials: Credentials,
        connector: Connector | None,
        tokens: OneTimeTokens | None,
        for_s: float | None,
    ) -> None:
        self.session_id = request.session_id
        self.id: str | None = None
        self.connection_id = ""
        self.client: Client | None = None
        self.end_error: AudioConnectorSessionError | None = None
        self._request = request
        self._credentials = credentials
        self._arrivals = None if connector is None else connector._arrivals
        self._for_s = for_s
        uri, headers, token = request.uri, {}, None
        self._arrival = Arrival(request.session_id)
        if tokens is not None:
            uri = tokens.mint_uri(uri)
            token = uri.rpartition("=")[2]  # it stands at the end
            self._arrival.parameter, self._arrival.token = tokens.parameter, token
        elif connector is not None:
            headers = {HEADER: self._arrival.number}
        self._websocket = request.websocket(uri, headers)
        self._api: SessionAPI | None = None
        self._lock = threading.Lock()  # of the two that follow, which the thread of the connect call also uses
        self._answer: Started | None = None
        self._nobody_waits = False
        self._error: Exception | None = None
        self._finish = anyio.Event()
        self._ready = anyio.Event()  # it has been started, or was not
        self._over = anyio.Event()
        self._began_s = anyio.current_time()

    def __repr__(self) -> str:
        state = "ended" if self._over.is_set() else "on" if self._ready.is_set() else "starting"
        return f"<SessionAudio {self.session_id} {self.connection_id} {state}>"

    async def stop(self) -> None:
        """End it now by a force-disconnect; returns when that is done, after 13 s at most. Again it does nothing.

        Whether the force-disconnect failed, `end_error` tells. Cancelling it doesn't stop the stopping.
        """
        self._end_soon()
        await self._over.wait()

    async def wait_ended(self) -> None:
        """Wait until it has ended: by `stop`, by time, or because its socket has closed. Cancelling changes nothing.

        Without a `connector` nobody sees the socket: then only the first two end it.
        """
        await self._over.wait()

    # For whoever has made it

    def _end_soon(self) -> None:
        self._finish.set()
        self._arrival.changed.set()

    async def _wait_started(self) -> None:
        """Wait until the socket has come, or, without a connector, the connect call was answered.

        Raises:
            AudioConnectorSessionError: it was not started, or no socket has come; nothing of it is left.
            MissingExtraError: the extra `vonage` is not installed.
        """
        await self._ready.wait()
        if self._error is not None:
            await self._over.wait()  # what had begun is ended
            raise self._error

    async def _run(self) -> None:
        """Start it, stay, end it. Raises nothing but a cancellation, and ends it before."""
        if self._arrivals is not None:
            self._arrivals.expect(self._arrival)
        try:
            try:
                with anyio.CancelScope(shield=True):
                    await self._connect()
                await checkpoint()  # it may have been cancelled meanwhile
                if self._arrivals is not None:
                    await self._wait_socket()
            except Exception as exc:  # noqa: BLE001 (whoever waits for the start gets it)
                self._error = exc
            self._ready.set()
            if self._error is None:
                with anyio.move_on_after(self._for_s):
                    await self._stay()
        finally:
            with anyio.CancelScope(shield=True):
                await self._end()
            if self._error is None and not self._ready.is_set():
                self._error = AudioConnectorSessionError("it was stopped before it had begun")
            self._ready.set()
            self._over.set()

    # Inside

    async def _connect(self) -> None:
        """Make the connect call. Nobody may cancel it: what it has started must be known."""
        logger.info("session %s: starting its audio", self.session_id)
        # `REST_S` holds for each part of an answer; one that trickles in may take longer, and is not waited for.
        with anyio.move_on_after(REST_S * 2):
            self.id, self.connection_id = await anyio.to_thread.run_sync(
                self._connect_in_thread, abandon_on_cancel=True
            )
            self._arrival.connection_id = self.connection_id
            return
        with self._lock:
            self._nobody_waits = True
            if self._answer is not None:  # just now
                self.connection_id = self._answer.connection_id
        raise AudioConnectorSessionError(f"the connect call was not answered within {REST_S * 2} s: try again")

    def _connect_in_thread(self) -> Started:
        self._api = open_api(self._credentials)
        answer = self._api.connect(self.session_id, self._websocket)
        with self._lock:
            self._answer = answer
            if not self._nobody_waits:
                return answer
        try:
            self._disconnect_in_thread(answer.connection_id)
        except AudioConnectorSessionError as exc:
            logger.error(_NOT_ENDED, self.session_id, answer.connection_id, exc)
        return answer

    def _disconnect_in_thread(self, connection_id: str) -> None:
        assert self._api is not None
        self._api.disconnect(self.session_id, connection_id)

    async def _wait_socket(self) -> None:
        """Wait until the socket has come to the connector.

        Raises:
            AudioConnectorSessionError: it has not; the message tells the likely cause.
        """
        arrival = self._arrival
        with anyio.move_on_after(ARRIVE_S):
            while arrival.client is None and arrival.refusal is None and not self._finish.is_set():
                arrival.changed = anyio.Event()
                arrival.look_again()
                if arrival.client is None:
                    with anyio.move_on_after(AGAIN_S if arrival.strangers else None):
                        await arrival.changed.wait()
        if self._finish.is_set():
            raise AudioConnectorSessionError("it was stopped before its socket had come")
        arrival.take_the_likely_one()
        if arrival.client is None:
            what = f"no socket came within {ARRIVE_S:g} s" if arrival.refusal is None else "its socket was not let in"
            cause = await likely_cause(self._request.uri, arrival)
            raise AudioConnectorSessionError(f"the audio was started, but {what}: {cause}")
        self.client = arrival.client
        logger.info("session %s: its socket has come, connection %s", self.session_id, self.client.id)

    async def _stay(self) -> None:
        """Wait until it is to end, or its socket has closed."""
        while not self._finish.is_set() and not self._arrival.gone.is_set():
            self._arrival.changed = anyio.Event()
            await self._arrival.changed.wait()

    async def _end(self) -> None:
        """Force-disconnect what was started, and close the socket if that didn't."""
        client = self.client = self.client or self._arrival.client
        if self._arrivals is not None and client is None:
            self._arrivals.give_up(self._arrival)
        connection_id = self.connection_id
        if not connection_id and client is not None:  # the answer was lost, and the socket has come
            own_id = client.info().connection_id
            connection_id = own_id if own_id is not None and is_id(own_id) else ""
        if connection_id:
            await self._force_disconnect(connection_id)
        if client is not None:
            await self._close(client)
        if self._arrivals is not None and client is not None:
            self._arrivals.forget(self._arrival)

    async def _force_disconnect(self, connection_id: str) -> None:
        error: AudioConnectorSessionError | None = AudioConnectorSessionError(
            f"the force-disconnect was not answered within {END_S:g} s"
        )
        with anyio.move_on_after(END_S):
            while True:
                try:
                    await anyio.to_thread.run_sync(self._disconnect_in_thread, connection_id, abandon_on_cancel=True)
                    error = None
                    break
                except AudioConnectorSessionError as exc:
                    error = exc
                    if exc.status is not None and exc.status < 500 and exc.status != 429:
                        break  # it won't do the next time
                await anyio.sleep(RETRY_S)
        if error is None:
            lasted_s = anyio.current_time() - self._began_s
            logger.info("session %s: its audio was ended after %.1f s", self.session_id, lasted_s)
            return
        self.end_error = error
        logger.error(_NOT_ENDED, self.session_id, connection_id, error)

    async def _close(self, client: Client) -> None:
        with anyio.move_on_after(CLOSE_S):
            await self._arrival.gone.wait()
            return
        with anyio.move_on_after(1.0):
            await client.disconnect()


def check_for_s(for_s: object) -> None:
    """Refuse what is no number of seconds above 0.

    Raises:
        AudioConnectorConfigError: it is none.
    """
    is_number = isinstance(for_s, (int, float)) and not isinstance(for_s, bool)
    if for_s is not None and not (is_number and 0 < for_s < math.inf):  # type: ignore[operator]
        raise AudioConnectorConfigError(f"for_s must be a number of seconds above 0, or None, not {for_s!r}")
