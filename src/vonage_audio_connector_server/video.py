"""`Video`: the name by which the SDK guide's programs start a server."""

from __future__ import annotations

from .config import AudioConnectorServerConfig
from .errors import AudioConnectorConfigError
from .server import AudioConnectorServerHandle, run_server, start_server


class Video:
    """Starts Audio Connector servers."""

    async def start_audio_connector_server(self, config: AudioConnectorServerConfig) -> AudioConnectorServerHandle:
        """Start a server in the running asyncio event loop; it listens, and `on_start` has run, when this returns.

        Signal handlers and logging stay the application's.

        Raises:
            AudioConnectorConfigError: `config` is no AudioConnectorServerConfig.
            AudioConnectorStartServerError: the host can't be resolved, the port can't be had, or `on_start` failed.
                The cause is kept, and nothing is left listening.
        """
        return await start_server(_checked(config))

    def run_audio_connector_server(self, config: AudioConnectorServerConfig) -> None:
        """Serve until SIGINT or SIGTERM, on the fastest event loop that is installed (uvloop, if it is).

        Raises:
            AudioConnectorConfigError: `config` is no AudioConnectorServerConfig.
            AudioConnectorStartServerError: as `start_audio_connector_server` does.
        """
        run_server(_checked(config))


def _checked(config: object) -> AudioConnectorServerConfig:
    if not isinstance(config, AudioConnectorServerConfig):
        raise AudioConnectorConfigError(f"config must be an AudioConnectorServerConfig, not {type(config).__name__}")
    return config
