"""What a connect call asks for, checked before anything is sent. Names of fields as in docs/protocol.md §7."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..admission.tokens import MAX_URI_CHARACTERS
from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorConfigError

MIN_URI_CHARACTERS = 15
"""Seen in code, as `MAX_URI_CHARACTERS`."""

MAX_STREAMS = 50
"""D: so many streams of a session can be sent."""

_ID = re.compile(r"[0-9A-Za-z_~=.-]{1,255}")  # nothing of it has a meaning in a URL
_URI = re.compile(r"wss?://(?![/?])[!\"$-~]+", re.IGNORECASE)  # as in admission/tokens.py


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRequest:
    """The settings of one connect call.

    Attributes:
        session_id: of the session whose audio is wanted; it must be a routed one (D).
        uri: the public address of the server, `wss://…`. Left out of `repr`: its query may hold a secret.
        streams: ids of the streams that are wanted; empty: all of them, mixed.
        headers: custom headers, 512 bytes together (D). Left out of `repr`.
        rate_hz: 8000, 16000 or 24000.
        bidirectional: whether the session hears what the server sends.
        transport: None: audio is binary messages. Else it is JSON texts, with the names that the *server* gives them.

    Raises:
        AudioConnectorConfigError: a value can't be used; the message names it.
    """

    session_id: str
    uri: str = field(repr=False)
    streams: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    rate_hz: int = 16_000
    bidirectional: bool = True
    transport: JSONTransport | None = None

    def __post_init__(self) -> None:
        check_id("session_id", self.session_id)
        if not (isinstance(self.uri, str) and _URI.fullmatch(self.uri)):
            raise AudioConnectorConfigError(
                "uri must be a ws:// or wss:// address without a fragment (#), percent-encoded where it is not ASCII"
            )
        try:
            has_host = bool(urlsplit(self.uri).hostname) and urlsplit(self.uri).port != 0
        except ValueError:
            has_host = False
        if not has_host or not MIN_URI_CHARACTERS <= len(self.uri) <= MAX_URI_CHARACTERS:
            raise AudioConnectorConfigError(
                f"uri must name a host, and have {MIN_URI_CHARACTERS} to {MAX_URI_CHARACTERS} characters"
            )
        is_list = isinstance(self.streams, Sequence) and not isinstance(self.streams, (str, bytes))
        if not is_list or len(self.streams) > MAX_STREAMS:
            raise AudioConnectorConfigError(f"streams must be a list of ids of streams, {MAX_STREAMS} at most")
        for number, stream in enumerate(self.streams):
            check_id(f"streams[{number}]", stream)
        if not isinstance(self.headers, Mapping):
            raise AudioConnectorConfigError("headers must be a mapping of names to values")
        if type(self.rate_hz) is not int or self.rate_hz not in (8_000, 16_000, 24_000):
            raise AudioConnectorConfigError(f"rate_hz must be 8000, 16000 or 24000, not {self.rate_hz!r}")
        if not isinstance(self.bidirectional, bool):
            raise AudioConnectorConfigError("bidirectional must be True or False")
        if self.transport is not None and not isinstance(self.transport, JSONTransport):
            raise AudioConnectorConfigError("transport must be a JSONTransport or None")

    def websocket(self, uri: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """What the connect call takes under `websocket`, with what was added to the address and the headers.

        Raises:
            AudioConnectorConfigError: the headers can't be used.
        """
        from ..simulator.setup import check_custom  # the router's rule; a server without live sessions loads none of it

        all_headers = {**self.headers, **headers}
        check_custom(all_headers)
        websocket: dict[str, Any] = {"uri": uri, "audioRate": self.rate_hz}
        if self.streams:
            websocket["streams"] = list(self.streams)
        if all_headers:
            websocket["headers"] = all_headers
        if self.bidirectional:
            websocket["bidirectional"] = True
        if self.transport is not None:
            websocket["audioTransport"] = {
                "transport": "json",
                "encoding": "base64",
                # Named as the router sees it (C): what it sends is what the server receives.
                "audio_field": self.transport.receive_field,
                "receive_audio_field": self.transport.send_field,
            }
        return websocket


def check_id(name: str, value: object) -> None:
    """Refuse what is no id of a session, a stream or a connection: it becomes a part of a URL.

    Raises:
        AudioConnectorConfigError: naming `name`.
    """
    if not (isinstance(value, str) and _ID.fullmatch(value)) or set(value) == {"."}:
        raise AudioConnectorConfigError(f"{name} must be an id as Vonage gives it: letters, digits, '-', '_', '~', '='")


def is_id(value: object) -> bool:
    """Whether it could be one."""
    try:
        check_id("id", value)
    except AudioConnectorConfigError:
        return False
    return True
