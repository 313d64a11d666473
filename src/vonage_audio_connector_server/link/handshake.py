"""The opening handshake: uvicorn's request as an ASGI scope, an ASGI answer as a response of `websockets`."""

from __future__ import annotations

import email.utils
import logging
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from starlette.types import Message, Scope
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

logger = logging.getLogger("uvicorn.error")


def make_scope(request: Request, config: Any, transport: Any, state: dict[str, Any]) -> Scope:
    """The ASGI scope of a request; `config` is uvicorn's, `state` that of its lifespan."""
    raw_path, _, query = request.path.partition("?")
    subprotocols = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
    return {
        "type": "websocket",
        "asgi": {"version": config.asgi_version, "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if transport.get_extra_info("sslcontext") else "ws",
        "server": _address(transport.get_extra_info("sockname")),
        "client": _address(transport.get_extra_info("peername")),
        "root_path": config.root_path,
        "path": config.root_path + unquote(raw_path),
        "raw_path": (config.root_path + raw_path).encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode(), _bytes(value)) for name, value in request.headers.raw_items()],
        "subprotocols": [name for token in subprotocols.split(",") if (name := token.strip())],
        "state": state.copy(),
        "extensions": {"websocket.http.response": {}},
    }


def read_headers(pairs: list[tuple[bytes, bytes]]) -> Headers:
    """ASGI's headers as websockets has them."""
    return Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs])


def denial(message: Message) -> Response:
    """The response that an ASGI application has given instead of an accept; `message` has its whole body, too."""
    headers, body = read_headers(list(message.get("headers", ()))), message["body"]
    headers.setdefault("Date", email.utils.formatdate(usegmt=True))
    headers.setdefault("Connection", "close")
    headers.setdefault("Content-Length", str(len(body)))
    headers.setdefault("Content-Type", "text/plain; charset=utf-8")
    try:
        phrase = HTTPStatus(message["status"]).phrase
    except ValueError:
        phrase = ""
    return Response(message["status"], phrase, headers, body)


def log_answer(scope: Scope, told: object) -> None:
    """As uvicorn does, but for the query, which may hold a secret."""
    host, port = scope["client"] or ("", "")
    logger.info('%s:%s - "WebSocket %s" %s', host, port, quote(scope["path"]), told)


def _bytes(value: str) -> bytes:
    """A header's value as it came: websockets reads it as latin-1 from 17.0 on, before with surrogates."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("ascii", "surrogateescape")


def _address(name: Any) -> tuple[str, int | None] | None:
    """Host and port, or the path of a UNIX socket."""
    if isinstance(name, tuple):
        return str(name[0]), int(name[1])
    return (name, None) if isinstance(name, str) and name else None
