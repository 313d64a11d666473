"""The old place of the client. `AudioConnectorServer`, which stood beside it, is `Video`'s own affair now."""

from typing import TYPE_CHECKING

from ..._moved import moved
from . import audio_connector_connection as audio_connector_connection

__all__ = ["AudioConnectorConnection"]

if TYPE_CHECKING:
    from vonage_audio_connector_server import Client as AudioConnectorConnection
else:
    __getattr__, __dir__ = moved(__name__, __all__)
