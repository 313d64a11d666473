"""The old place of the server's configuration and handle, and of what is known of a connection."""

from typing import TYPE_CHECKING

from ..._moved import moved
from . import audio_connector as audio_connector

__all__ = ["AudioConnectorConnectionData", "AudioConnectorServerConfig", "AudioConnectorServerHandle"]

if TYPE_CHECKING:
    from vonage_audio_connector_server import (
        AudioConnectorConnectionData,
        AudioConnectorServerConfig,
        AudioConnectorServerHandle,
    )
else:
    __getattr__, __dir__ = moved(__name__, __all__)
