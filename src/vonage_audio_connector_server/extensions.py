"""The names under which a server, or whoever calls an application in its place, puts things into an ASGI scope.

They stand in `scope["extensions"]`; a connector takes what it finds there.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

CALLS = "vonage_audio_connector_server.calls"
"""The `Calls` of a server of ours."""

LINK = "vonage_audio_connector_server.link"
"""The link that a call may take, so that its messages go past `receive` and `send`."""

RECORDER = "vonage_audio_connector_server.recorder"
"""A `Recorder` for the calls that have none by their settings; a `SoleRecorder` for all."""


def extension(scope: MutableMapping[str, Any], name: str) -> Any:
    """What a server of ours has put into a scope; None under any other."""
    return (scope.get("extensions") or {}).get(name)
