"""The module that defined the client: the only type with which a program could annotate it."""

from typing import TYPE_CHECKING

from ..._moved import moved

__all__ = ["AudioConnectorConnection"]

if TYPE_CHECKING:
    from vonage_audio_connector_server import Client as AudioConnectorConnection
else:
    __getattr__, __dir__ = moved(__name__, __all__)
