"""The form that the audio of a call has on the wire: binary messages, or JSON texts. It tells audio from other texts.

It sees one message at a time and remembers none.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorConfigError

TransportName = Literal["binary", "json"]


class AudioForm:
    """How the router writes frames, and what it takes for one.

    Args:
        transport: the JSON transport as the server has it; None: binary messages.

    Raises:
        AudioConnectorConfigError: `transport` is something else.
    """

    def __init__(self, transport: JSONTransport | None) -> None:
        if transport is not None and not isinstance(transport, JSONTransport):
            raise AudioConnectorConfigError(f"transport must be a JSONTransport, or None for binary, not {transport!r}")
        self._json = transport.mirrored() if transport is not None else None
        # Where audio may turn up by mistake: the two directions are easily mixed up, the sources do it as well.
        fields = {"audio"} if transport is None else {"audio", transport.receive_field}
        agreed = {self._json.receive_field} if self._json is not None else set()
        self._mistaken = [JSONTransport(name) for name in fields - agreed]

    @property
    def name(self) -> TransportName:
        """How the report calls it."""
        return "binary" if self._json is None else "json"

    def write(self, frame: bytes) -> bytes | str:
        """The message that carries a frame to the server."""
        return frame if self._json is None else self._json.encode(frame)

    def read(self, message: bytes | str) -> bytes | str | None:
        """The audio in a message of the server; a text that is no audio as it came; None for audio in a wrong form."""
        if isinstance(message, bytes):
            return message if self._json is None else None
        data = _load_object(message)
        if self._json is not None and self._json.receive_field in data:
            return self._json.decode(data)
        return None if any(mistaken.decode(data) for mistaken in self._mistaken) else message


def _load_object(text: str) -> dict[str, Any]:
    """The JSON object in a text; an empty one where there is none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
