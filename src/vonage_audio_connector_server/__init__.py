"""The server end of Vonage's Audio Connector: live call audio in, perfectly timed audio out.

Importing this package changes nothing in the host program and loads neither starlette nor uvicorn; each public name
is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from .app import AudioConnector
    from .client import Client
    from .config import AudioConnectorServerConfig
    from .errors import (
        AudioConnectorAudioError,
        AudioConnectorClosedError,
        AudioConnectorConfigError,
        AudioConnectorError,
        AudioConnectorJSONError,
        AudioConnectorProtocolError,
        AudioConnectorStartServerError,
        MissingExtraError,
    )
    from .models import AudioConnectorConnectionData, AudioFormat, ConnectionStats
    from .server import AudioConnectorServerHandle
    from .video import Video

_MODULES = {
    "AudioConnector": "app",
    "AudioConnectorAudioError": "errors",
    "AudioConnectorClosedError": "errors",
    "AudioConnectorConfigError": "errors",
    "AudioConnectorConnectionData": "models",
    "AudioConnectorError": "errors",
    "AudioConnectorJSONError": "errors",
    "AudioConnectorProtocolError": "errors",
    "AudioConnectorServerConfig": "config",
    "AudioConnectorServerHandle": "server",
    "AudioConnectorStartServerError": "errors",
    "AudioFormat": "models",
    "Client": "client",
    "ConnectionStats": "models",
    "MissingExtraError": "errors",
    "Video": "video",
}

__all__ = [
    "AudioConnector",
    "AudioConnectorAudioError",
    "AudioConnectorClosedError",
    "AudioConnectorConfigError",
    "AudioConnectorConnectionData",
    "AudioConnectorError",
    "AudioConnectorJSONError",
    "AudioConnectorProtocolError",
    "AudioConnectorServerConfig",
    "AudioConnectorServerHandle",
    "AudioConnectorStartServerError",
    "AudioFormat",
    "Client",
    "ConnectionStats",
    "MissingExtraError",
    "Video",
    "__version__",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
