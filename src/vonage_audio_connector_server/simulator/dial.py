"""Opening the connection as the router does. Evidence marks as in docs/protocol.md."""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidURI, WebSocketException

from ..errors import AudioConnectorConfigError, AudioConnectorError
from .failures import explain

CONNECT_S = 6.0
"""D: the connect call fails unless the socket is up by then."""

CUSTOM_HEADERS_BYTES = 512
"""D: custom headers of a connect call are no longer than this together."""

_IDENTITY = ("x-opentok-ws-sessionid", "x-opentok-ws-connectionid", "x-opentok-ws-conferenceid")  # C
_MESSAGE_BYTES = 64 * 1024 * 1024  # half an hour of audio in one message is one wrong frame, no reason to hang up
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_NOT_CUSTOM = ("content-type", "event")  # keys of the first message


class DialError(AudioConnectorError, ConnectionError):
    """There is no connection: nobody was there, or it was refused."""


async def dial(url: str, custom: Mapping[str, str], ssl_context: ssl.SSLContext | None) -> ClientConnection:
    """Open the connection.

    Raises:
        AudioConnectorConfigError: the url can't be used.
        DialError: nobody was there, or the connection was refused.
    """
    if not url.lower().startswith(("ws://", "wss://")):
        raise AudioConnectorConfigError(f"url must begin with ws:// or wss://, not {url!r}")
    if ssl_context is not None and not url.lower().startswith("wss://"):
        raise AudioConnectorConfigError(f"ssl_context is for wss://, and url is {url!r}")
    options: dict[str, Any] = {} if ssl_context is None else {"ssl": ssl_context}
    try:
        return await connect(
            url,
            additional_headers=_identity(custom) | dict(custom),
            user_agent_header="vonage-audio-connector-simulator",
            compression=None,
            proxy=None,  # a server on this machine is often what is tried
            open_timeout=CONNECT_S,
            ping_interval=None,  # whether the router pings is not known
            max_size=_MESSAGE_BYTES,
            max_queue=None,  # the router takes whatever comes; the model of its playout buffer tells how much that was
            **options,
        )
    except TimeoutError as exc:
        raise DialError(f"the server did not accept the connection within {CONNECT_S:g} s") from exc
    except InvalidURI as exc:
        raise AudioConnectorConfigError(f"url {url!r} can't be used: {exc}") from exc
    except (WebSocketException, OSError, EOFError) as exc:  # before ValueError, because a certificate error is both
        raise DialError(explain(exc, url)) from exc
    except ValueError as exc:
        raise AudioConnectorConfigError(f"url {url!r} can't be used: {exc}") from exc


def check_custom(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return custom headers that a connect call would take.

    Raises:
        AudioConnectorConfigError: it would not take them.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _NOT_CUSTOM:
            raise AudioConnectorConfigError(f"headers: {name!r} can't be the name of a custom header")
        if not isinstance(value, str) or not value.isprintable():
            raise AudioConnectorConfigError(f"headers: the value of {name} must be one line of text")
    size_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
    if size_bytes > CUSTOM_HEADERS_BYTES:
        raise AudioConnectorConfigError(
            f"headers: together they are {size_bytes} bytes long; a connect call takes {CUSTOM_HEADERS_BYTES}"
        )
    return headers


def _identity(custom: Mapping[str, str]) -> dict[str, str]:
    """Session, connection and conference, made up but where the user names them."""
    given = {name.lower() for name in custom}
    return {name: f"simulated-{uuid.uuid4().hex}" for name in _IDENTITY if name not in given}
