"""A Vonage call as a transport of pipecat: what a bot says and hears goes through a `Client`.

    async with connector.connect(websocket) as client:
        transport = VonageAudioConnectorTransport(client)
        pipeline = Pipeline([transport.input(), ..., transport.output()])

It has the frames and the events of pipecat's `FastAPIWebsocketTransport`. It needs the extra `pipecat`, and asyncio,
as pipecat does.
"""

from __future__ import annotations

from ...errors import MissingExtraError

try:
    import pipecat as _pipecat
except ImportError as exc:
    raise MissingExtraError("the transport for pipecat", "pipecat") from exc

from .incoming import VonageAudioConnectorInputTransport
from .outgoing import VonageAudioConnectorOutputTransport
from .transport import VonageAudioConnectorParams, VonageAudioConnectorTransport

__all__ = [
    "VonageAudioConnectorInputTransport",
    "VonageAudioConnectorOutputTransport",
    "VonageAudioConnectorParams",
    "VonageAudioConnectorTransport",
]

del _pipecat
