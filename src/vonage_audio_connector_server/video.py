"""`Video`: the name by which the SDK guide's programs start a server."""

from __future__ import annotations

from .asgi import DRAIN_S
from .config import AudioConnectorServerConfig
from .errors import AudioConnectorConfigError
from .server.handle import AudioConnectorServerHandle
from .server.launcher import start_server
from .server.until_signal import run_server


class Video:
    """Starts Audio Connector servers."""

    async def start_audio_connector_server(self, options: AudioConnectorServerConfig) -> AudioConnectorServerHandle:
        """Start a server in the running asyncio event loop; it listens, and `on_start` has run, when this returns.

        Signal handlers and logging stay the application's.

        Args:
            options: the settings; the name is the reference SDK's.

        Raises:
            AudioConnectorConfigError: `options` is no AudioConnectorServerConfig.
            AudioConnectorStartServerError: the host can't be resolved, the port can't be had, or `on_start` failed.
                The cause is kept, and nothing is left listening.
        """
        return await start_server(_checked(options))

    def run_audio_connector_server(self, options: AudioConnectorServerConfig, *, drain_s: float = DRAIN_S) -> None:
        """Serve until SIGINT or SIGTERM, on the fastest event loop that is installed (uvloop, if it is).

        Then new handshakes get HTTP 503, what is being said ends, and every connection is closed with 1012.

        Args:
            options: the settings; the name is the reference SDK's.
            drain_s: how long what is being said may take, 10 s by default; what goes on longer is cut off.

        Raises:
            AudioConnectorConfigError: `options` is no AudioConnectorServerConfig.
            AudioConnectorStartServerError: as `start_audio_connector_server` does; or this thread has an event loop.
        """
        run_server(_checked(options), drain_s)


def _checked(options: object) -> AudioConnectorServerConfig:
    if not isinstance(options, AudioConnectorServerConfig):
        raise AudioConnectorConfigError(f"options must be an AudioConnectorServerConfig, not {type(options).__name__}")
    return options
