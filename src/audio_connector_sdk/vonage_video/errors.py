"""The old place of the errors; `VideoError` was the root of them."""

from typing import TYPE_CHECKING

from .._moved import moved

__all__ = ["AudioConnectorConfigError", "AudioConnectorStartServerError", "VideoError"]

if TYPE_CHECKING:
    from vonage_audio_connector_server import (
        AudioConnectorConfigError,
        AudioConnectorStartServerError,
    )
    from vonage_audio_connector_server import (
        AudioConnectorError as VideoError,
    )
else:
    __getattr__, __dir__ = moved(__name__, __all__)
