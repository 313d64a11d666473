"""Before the handshake is answered: who is let in, and how the others are turned away.

Nothing is made for a connection that is refused: no task, no `Connection`, no `Client`.
"""

from __future__ import annotations

import inspect
import logging
import uuid
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

import anyio
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Scope, Send

from ..close_codes import POLICY_VIOLATION
from ..config import Authorize
from ..connection_data import AudioConnectorConnectionData
from ..errors import AudioConnectorError
from ..runtime import is_being_cancelled
from ..sparing import warn
from .probe import HEADER, answer

AUTHORIZE_S = 5.0
"""How long `authorize` may take: the connect call fails unless the socket is up within 6 s (D)."""

FORBIDDEN = 403


class Refusal(NamedTuple):
    """Why somebody is not let in."""

    status: int  # of the HTTP answer
    reason: str  # for the log


class AudioConnectorRefusedError(AudioConnectorError, HTTPException):
    """`AudioConnector.connect` doesn't let this connection in.

    Left alone it becomes the answer to the handshake: Starlette and FastAPI answer with the status of every
    `HTTPException`.

    Attributes:
        status_code: 403: `authorize` said no; 503: all connections are taken, the server is stopping, or `authorize`
            took too long; 500: `authorize` failed.
    """


async def ask(authorize: Authorize, info: AudioConnectorConnectionData) -> object | Refusal:
    """Ask the program; returns what it says, which is true. Whatever goes wrong, they stay out."""
    try:
        with anyio.move_on_after(AUTHORIZE_S):
            said = authorize(info)
            if inspect.isawaitable(said):
                said = await said
            return said or Refusal(FORBIDDEN, "authorize said no")
    except anyio.get_cancelled_exc_class():
        if is_being_cancelled():
            raise
        _tell("authorize waited for a task that was cancelled: the connection is refused with HTTP 500")
        return Refusal(500, "authorize failed")
    except Exception:  # noqa: BLE001 (user code may raise anything, and strangers must not profit from it)
        _tell("authorize failed: the connection is refused with HTTP 500")
        return Refusal(500, "authorize failed")
    warn("authorize took more than %g s: the connection is refused with HTTP 503", AUTHORIZE_S)
    return Refusal(503, "authorize took too long")


def _tell(message: str) -> None:
    """Log the error that is being handled, but not for every stranger who can bring it about."""
    warn(message, level=logging.ERROR, exc_info=True)


async def refuse(scope: Scope, send: Send, status: int, headers: Mapping[str, str] | None = None) -> None:
    """Answer the handshake with an HTTP status.

    A close before the accept is a 403. Servers without the ASGI extension for other answers make one of every refusal.
    """
    if (status == FORBIDDEN and not headers) or "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
        return
    sent = [(b"content-length", b"0"), (b"connection", b"close")]
    sent += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "websocket.http.response.start", "status": status, "headers": sent})
    await send({"type": "websocket.http.response.body", "body": b""})


def mask_query(scope: Scope, authorize: Authorize) -> None:
    """Take the secret out of the query, which most ASGI servers log when the handshake is answered."""
    parameter = getattr(authorize, "parameter", None)
    query: bytes = scope.get("query_string", b"")
    if not isinstance(parameter, str) or not query:
        return
    pairs = []
    for pair in query.split(b"&"):
        name, equals, _ = pair.partition(b"=")
        secret = equals and unquote_plus(name.decode("latin-1")) == parameter
        pairs.append(name + b"=***" if secret else pair)
    scope["query_string"] = b"&".join(pairs)


def doctor_headers(info: AudioConnectorConnectionData, *, is_refused: bool = False) -> dict[str, str]:
    """What goes with the answer to a handshake of `doctor`; nothing with any other."""
    told = answer(info.uri, info.headers, is_refused=is_refused)
    return {} if told is None else {HEADER: told}


def acceptance(info: AudioConnectorConnectionData) -> Message:
    """What accepts a handshake."""
    headers = [(name.encode(), told.encode()) for name, told in doctor_headers(info).items()]
    return {"type": "websocket.accept", "headers": headers} if headers else {"type": "websocket.accept"}


def lost_upgrade(scope: Scope) -> ASGIApp | None:
    """What answers a handshake of `doctor` that came as an ordinary request; None: it is none."""
    if scope["type"] != "http" or answer("", Headers(scope=scope), is_refused=True) is None:
        return None
    return Response(status_code=426, headers={"upgrade": "websocket", HEADER: "upgrade=lost"})


def connection_data(scope: Scope) -> AudioConnectorConnectionData:
    """What is known of a connection before it is accepted."""
    headers = Headers(scope=scope)
    raw_path: bytes | None = scope.get("raw_path")  # optional in ASGI
    path = raw_path.decode("latin-1") if raw_path else quote(scope["path"])
    query = scope.get("query_string", b"").decode("latin-1")
    return AudioConnectorConnectionData(
        id=uuid.uuid4().hex,
        uri=f"{path}?{query}" if query else path,
        headers=headers,
        session_id=headers.get("x-opentok-ws-sessionid"),
        connection_id=headers.get("x-opentok-ws-connectionid"),
        conference_id=headers.get("x-opentok-ws-conferenceid"),
        peer=(scope.get("client") or (None,))[0],
    )
