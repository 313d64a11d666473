"""What is known of one connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .formats import AudioFormat

if TYPE_CHECKING:
    from starlette.datastructures import Headers


@dataclass(frozen=True, slots=True)
class AudioConnectorConnectionData:
    """What is known of one connection. A snapshot: ask `client.info()` again for what came since.

    Attributes:
        id: unique for every connection that this process accepts.
        session_id: `x-opentok-ws-sessionid` of the upgrade request, if it was there.
        connection_id: `x-opentok-ws-connectionid` of the upgrade request, if it was there.
        conference_id: `x-opentok-ws-conferenceid` of the upgrade request, if it was there.
        uri: path and query of the upgrade request, as they were sent. Left out of `repr`: a query may hold a token.
        headers: all headers of the upgrade request; case-insensitive, `headers.getlist(name)` has every
            value of a repeated one. Left out of `repr`, because headers carry secrets.
        peer: the address that connected: that of a proxy, where one stands in front and the ASGI server isn't told to
            believe its headers. None where the server doesn't know.
        custom: the custom keys of the first message; empty until it came. Left out of `repr`, too.
        audio_format: the negotiated format; None until it is known.
    """

    id: str
    uri: str = field(repr=False)
    headers: Headers = field(repr=False)
    session_id: str | None = None
    connection_id: str | None = None
    conference_id: str | None = None
    peer: str | None = None
    custom: Mapping[str, Any] = field(default_factory=dict, repr=False)
    audio_format: AudioFormat | None = None

    @property
    def sessionId(self) -> str | None:  # noqa: N802 (the reference SDK's name)
        """The reference SDK's name for `session_id`."""
        return self.session_id

    @property
    def connectionId(self) -> str | None:  # noqa: N802 (the reference SDK's name)
        """The reference SDK's name for `connection_id`."""
        return self.connection_id

    @property
    def conferenceId(self) -> str | None:  # noqa: N802 (the reference SDK's name)
        """The reference SDK's name for `conference_id`."""
        return self.conference_id

    def model_dump(self) -> dict[str, Any]:
        """The reference SDK's fields as a dict, as its pydantic model gave them. Uri and headers may hold secrets."""
        names = ("sessionId", "conferenceId", "uri", "connectionId", "customHeaders", "id")
        return {name: getattr(self, name) for name in names}

    @property
    def customHeaders(self) -> dict[str, str]:  # noqa: N802 (the reference SDK's name)
        """All headers as a plain dict, names in lower case; a repeated one's values joined by `, `."""
        return {name: ", ".join(self.headers.getlist(name)) for name in self.headers}


def place_of(info: AudioConnectorConnectionData) -> str:
    """What was asked for, without the query, which may hold a secret, and by whom: for the log."""
    return f"{info.uri.partition('?')[0]} from {info.peer or 'an unknown address'}"
