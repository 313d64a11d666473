"""The module that defined the models, from which the README imported them."""

from typing import TYPE_CHECKING

from ..._moved import moved

__all__ = ["AudioConnectorConnectionData", "AudioConnectorServerConfig", "AudioConnectorServerHandle"]

if TYPE_CHECKING:
    from vonage_audio_connector_server import (
        AudioConnectorConnectionData,
        AudioConnectorServerConfig,
        AudioConnectorServerHandle,
    )
else:
    __getattr__, __dir__ = moved(__name__, __all__)
