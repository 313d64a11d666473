"""The server end of Vonage's Audio Connector: live call audio in, perfectly timed audio out.

Importing this package changes nothing in the host program and loads neither starlette nor uvicorn; each public name
is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from .admission.gate import AudioConnectorRefusedError
    from .admission.shared_secret import SharedSecret
    from .admission.tokens import (
        MemoryReplayStore,
        OneTimeTokens,
        ReplayStore,
    )
    from .asgi import AudioConnector
    from .client import Client
    from .config import AudioConnectorServerConfig
    from .connection_data import AudioConnectorConnectionData
    from .core.events import (
        DTMF,
        Audio,
        Cleared,
        Connected,
        Disconnected,
        Event,
        MediaUpdate,
        Notified,
        UnknownEvent,
    )
    from .core.json_audio import JSONTransport
    from .errors import (
        AudioConnectorAudioError,
        AudioConnectorClosedError,
        AudioConnectorConfigError,
        AudioConnectorError,
        AudioConnectorFullError,
        AudioConnectorInterruptedError,
        AudioConnectorJSONError,
        AudioConnectorProtocolError,
        AudioConnectorSessionError,
        AudioConnectorStartServerError,
        MissingExtraError,
    )
    from .formats import AudioFormat
    from .link.websocket import WebSocketProtocol
    from .live.credentials import OpenTokProject, VonageApplication, find_credentials
    from .live.session_audio import SessionAudio
    from .live.start import start_session_audio
    from .participants import Participant
    from .playback import Playback
    from .recording.flight import FlightRecorder
    from .recording.recorder import Recorder
    from .results import (
        CloseReport,
        ConnectionStats,
        FlushResult,
        PlaybackResult,
        UtteranceResult,
    )
    from .server.handle import AudioConnectorServerHandle
    from .session_speech import SpeechSegment
    from .sessions import VideoSession
    from .utterance import Utterance
    from .video import Video

_MODULES = {
    "Audio": "core.events",
    "AudioConnector": "asgi",
    "AudioConnectorAudioError": "errors",
    "AudioConnectorClosedError": "errors",
    "AudioConnectorConfigError": "errors",
    "AudioConnectorConnectionData": "connection_data",
    "AudioConnectorError": "errors",
    "AudioConnectorFullError": "errors",
    "AudioConnectorInterruptedError": "errors",
    "AudioConnectorJSONError": "errors",
    "AudioConnectorProtocolError": "errors",
    "AudioConnectorRefusedError": "admission.gate",
    "AudioConnectorServerConfig": "config",
    "AudioConnectorServerHandle": "server.handle",
    "AudioConnectorSessionError": "errors",
    "AudioConnectorStartServerError": "errors",
    "AudioFormat": "formats",
    "Cleared": "core.events",
    "Client": "client",
    "CloseReport": "results",
    "Connected": "core.events",
    "ConnectionStats": "results",
    "DTMF": "core.events",
    "Disconnected": "core.events",
    "Event": "core.events",
    "FlightRecorder": "recording.flight",
    "FlushResult": "results",
    "JSONTransport": "core.json_audio",
    "MediaUpdate": "core.events",
    "MemoryReplayStore": "admission.tokens",
    "MissingExtraError": "errors",
    "Notified": "core.events",
    "OneTimeTokens": "admission.tokens",
    "OpenTokProject": "live.credentials",
    "Participant": "participants",
    "Playback": "playback",
    "PlaybackResult": "results",
    "Recorder": "recording.recorder",
    "ReplayStore": "admission.tokens",
    "SessionAudio": "live.session_audio",
    "SharedSecret": "admission.shared_secret",
    "SpeechSegment": "session_speech",
    "UnknownEvent": "core.events",
    "Utterance": "utterance",
    "UtteranceResult": "results",
    "Video": "video",
    "VideoSession": "sessions",
    "VonageApplication": "live.credentials",
    "WebSocketProtocol": "link.websocket",
    "find_credentials": "live.credentials",
    "start_session_audio": "live.start",
}

__all__ = [
    "DTMF",
    "Audio",
    "AudioConnector",
    "AudioConnectorAudioError",
    "AudioConnectorClosedError",
    "AudioConnectorConfigError",
    "AudioConnectorConnectionData",
    "AudioConnectorError",
    "AudioConnectorFullError",
    "AudioConnectorInterruptedError",
    "AudioConnectorJSONError",
    "AudioConnectorProtocolError",
    "AudioConnectorRefusedError",
    "AudioConnectorServerConfig",
    "AudioConnectorServerHandle",
    "AudioConnectorSessionError",
    "AudioConnectorStartServerError",
    "AudioFormat",
    "Cleared",
    "Client",
    "CloseReport",
    "Connected",
    "ConnectionStats",
    "Disconnected",
    "Event",
    "FlightRecorder",
    "FlushResult",
    "JSONTransport",
    "MediaUpdate",
    "MemoryReplayStore",
    "MissingExtraError",
    "Notified",
    "OneTimeTokens",
    "OpenTokProject",
    "Participant",
    "Playback",
    "PlaybackResult",
    "Recorder",
    "ReplayStore",
    "SessionAudio",
    "SharedSecret",
    "SpeechSegment",
    "UnknownEvent",
    "Utterance",
    "UtteranceResult",
    "Video",
    "VideoSession",
    "VonageApplication",
    "WebSocketProtocol",
    "__version__",
    "find_credentials",
    "start_session_audio",
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
