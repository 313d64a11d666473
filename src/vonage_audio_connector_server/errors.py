"""Every error that this library raises, or tells in its log. This file imports nothing of ours.

    AudioConnectorError
    ├── AudioConnectorConfigError (ValueError)        a setting is wrong; names the field
    ├── AudioConnectorStartServerError (RuntimeError) the server could not start; nothing is left listening
    ├── AudioConnectorAudioError (ValueError)         our caller's audio, or the frame it asks for, is not playable
    ├── AudioConnectorJSONError (ValueError)          our caller's text is not JSON
    ├── AudioConnectorClosedError (ConnectionError)   the connection has ended
    └── AudioConnectorProtocolError (ConnectionError) the peer broke the protocol; carries the close code to answer with

An optional part that is not installed raises `MissingExtraError` (an ImportError) with the install command.
"""


class AudioConnectorError(Exception):
    """The root of all errors of this library."""


class AudioConnectorConfigError(AudioConnectorError, ValueError):
    """A setting is wrong. The message names the field and says what it may be."""


class AudioConnectorStartServerError(AudioConnectorError, RuntimeError):
    """The server could not start. Its cause is in `__cause__`; nothing is left listening."""


class AudioConnectorAudioError(AudioConnectorError, ValueError):
    """The audio handed to us cannot be played as it is. None of it was taken."""


class AudioConnectorJSONError(AudioConnectorError, ValueError):
    """The packet handed to us is not JSON. Nothing was sent."""


class AudioConnectorClosedError(AudioConnectorError, ConnectionError):
    """The connection has ended, so nothing can be sent on it any more."""


class AudioConnectorProtocolError(AudioConnectorError, ConnectionError):
    """The peer broke the protocol and the connection was closed.

    Attributes:
        close_code: the WebSocket close code that the peer was answered with (RFC 6455 §7.4).
    """

    def __init__(self, message: str, *, close_code: int) -> None:
        super().__init__(message)
        self.close_code = close_code


class MissingExtraError(AudioConnectorError, ImportError):
    """An optional part of the library is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}': pip install 'vonage-audio-connector-server[{extra}]'")
