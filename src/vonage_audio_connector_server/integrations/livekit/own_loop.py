"""Where an agent session lives: LiveKit Agents runs on asyncio, and its inputs and outputs are no threads' affair."""

from __future__ import annotations

from threading import get_ident

from ...client import Client
from ...errors import AudioConnectorConfigError
from ...runtime import has_loop, on_trio


def check_own_loop(client: Client) -> None:
    """Make sure that this is the event loop of the call, and asyncio's.

    Raises:
        AudioConnectorConfigError: it is another one.
    """
    if get_ident() != client._call.thread_id or not has_loop():
        raise AudioConnectorConfigError("an agent session joins a call in the call's own event loop, as in on_connect")
    if on_trio():
        raise AudioConnectorConfigError("LiveKit Agents runs on asyncio: serve the call on asyncio, not on trio")
