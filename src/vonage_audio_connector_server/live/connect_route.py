"""`POST /connect`: the endpoint of Vonage's samples, which starts the audio of a session. Guarded; errors are JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..admission.gate import Refusal, ask, connection_data, mask_query
from ..admission.tokens import OneTimeTokens
from ..config import Authorize
from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorConfigError, AudioConnectorError, AudioConnectorSessionError
from ..signatures import takes
from .credentials import Credentials, NoCredentialsError, check_credentials, find_credentials
from .request import ConnectRequest
from .running import Running
from .session_audio import Connector, SessionAudio, check_for_s
from .start import make_session_audio

logger = logging.getLogger("vonage_audio_connector_server")

MAX_BODY_BYTES = 16_384
"""Of a request: 50 ids of streams and 512 bytes of headers are less."""

_STATUS = {400: 400, 404: 404, 409: 409, 429: 503}
"""How a refusal of Vonage's API is passed on; any other is a 502: not the fault of who asks."""

_FIELDS = {"sessionId": "session_id", "streams": "streams", "headers": "headers", "audioRate": "rate_hz"}
"""What a request may set, and how `start_session_audio` calls it."""


class RouteConnector(Connector, Protocol):
    """What is needed of an `AudioConnector`."""

    @property
    def draining(self) -> bool:
        """Whether it has begun to stop."""


def connect_route(
    connector: RouteConnector,
    running: Running,
    path: str,
    *,
    uri: str,
    authorize: Authorize | None,
    session_id: str | None = None,
    credentials: Credentials | None = None,
    bidirectional: bool = True,
    transport: JSONTransport | None = None,
    tokens: OneTimeTokens | None = None,
    for_s: float | None = None,
) -> Route:
    """See `AudioConnector.connect_route`."""
    if authorize is not None and not takes(authorize, "info"):
        raise AudioConnectorConfigError(
            "authorize must be asked who may start the audio of a session, which costs money: "
            'SharedSecret(…, header="authorization"), a function of one argument, or None if others guard the route'
        )
    ConnectRequest(session_id=session_id or "any", uri=uri, bidirectional=bidirectional, transport=transport)
    check_for_s(for_s)
    check_credentials(credentials)

    def make(**fields: Any) -> SessionAudio:
        settings: dict[str, Any] = {"session_id": session_id, "streams": (), "headers": None, "rate_hz": None}
        return make_session_audio(
            **(settings | fields),
            uri=uri,
            connector=connector,
            credentials=credentials or find_credentials(),
            bidirectional=bidirectional,
            transport=transport,
            tokens=tokens,
            for_s=for_s,
        )

    endpoint = _Endpoint(connector, make, running, authorize, session_id)

    async def connect(request: Request) -> Response:
        return await endpoint.answer(request)

    return Route(path, connect, methods=["POST"])


class _Endpoint:
    """What answers the requests.

    Args:
        connector: to which the sockets come.
        make: makes the audio of a session from what a request has set.
        running: keeps it.
        authorize: asked who may; None: everybody.
        session_id: where a request names none.
    """

    def __init__(
        self,
        connector: RouteConnector,
        make: Callable[..., SessionAudio],
        running: Running,
        authorize: Authorize | None,
        session_id: str | None,
    ) -> None:
        self._connector, self._make, self._running = connector, make, running
        self._authorize, self._session_id = authorize, session_id

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        if self._connector.draining:
            return _error(503, "the server is stopping")
        if self._authorize is not None:
            info = connection_data(request.scope)
            mask_query(request.scope, self._authorize)
            said = await ask(self._authorize, info)
            if isinstance(said, Refusal):
                return _error(said.status, "this request is not allowed to start the audio of a session")
        try:
            audio = self._make(**await self._settings(request))
        except _BadRequestError as exc:
            return _error(exc.status, str(exc))
        except NoCredentialsError as exc:
            logger.error("the audio of a session can't be started: %s", exc)
            return _error(500, "the server has no credentials for Vonage's API: its log says more")
        except AudioConnectorConfigError as exc:
            return _error(400, str(exc))
        return await self._start(audio)

    async def _settings(self, request: Request) -> dict[str, Any]:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _BadRequestError(413, f"the body must have {MAX_BODY_BYTES} bytes at most")
        fields: Any = {}
        if body:
            # A page of another site can send any other kind without being asked whether it may.
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise _BadRequestError(415, "the body must be JSON, and its content-type application/json")
            try:
                fields = json.loads(body)
            except (ValueError, RecursionError):
                raise _BadRequestError(400, "the body is no JSON") from None
        if not isinstance(fields, dict):
            raise _BadRequestError(400, "the body must be a JSON object")
        unknown = [name for name in fields if name not in _FIELDS]
        if unknown:
            raise _BadRequestError(400, f"the body may have {', '.join(_FIELDS)}, and nothing else")
        settings = {_FIELDS[name]: value for name, value in fields.items() if value is not None}
        if self._session_id is not None:
            settings.setdefault("session_id", self._session_id)
        if "session_id" not in settings:
            raise _BadRequestError(400, "sessionId is missing")
        return settings

    async def _start(self, audio: SessionAudio) -> Response:
        try:
            await self._running.start(audio)
        except AudioConnectorSessionError as exc:
            logger.warning("session %s: its audio was not started: %s", audio.session_id, exc)
            status = 504 if exc.status is None else _STATUS.get(exc.status, 502)
            return _error(status, str(exc))
        except AudioConnectorError as exc:  # a missing extra
            logger.error("session %s: its audio was not started: %s", audio.session_id, exc)
            return _error(500, str(exc))
        return JSONResponse({"id": audio.id, "connectionId": audio.connection_id, "sessionId": audio.session_id})


class _BadRequestError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=status)
