"""The transport that a pipecat bot takes in the place of `FastAPIWebsocketTransport` and `VonageFrameSerializer`."""

from __future__ import annotations

from pipecat.transports.base_transport import BaseTransport, TransportParams
from pydantic import Field

from ...client import Client
from ...errors import AudioConnectorConfigError
from .incoming import VonageAudioConnectorInputTransport
from .outgoing import VonageAudioConnectorOutputTransport
from .shared_call import SharedCall

EVENTS = (
    "on_client_connected",
    "on_client_disconnected",
    "on_session_timeout",
    "on_client_muted",
    "on_client_unmuted",
)


class VonageAudioConnectorParams(TransportParams):
    """The settings of a `VonageAudioConnectorTransport`: pipecat's own, with audio both ways.

    The rates are those of the pipeline: audio is brought to the rate of the call, and from it. `audio_out_10ms_chunks`
    says in what pieces audio that was heard is passed on behind the output: 100 ms, at least 40; on the wire all frames
    last 20 ms. `audio_out_end_silence_secs` is not needed and not sent.

    Attributes:
        audio_in_enabled: audio of the call comes into the pipeline.
        audio_out_enabled: audio of the pipeline goes into the call.
        ignore_rtvi_messages: messages for pipecat's own clients (RTVI) are not sent into the call.
        session_timeout: seconds after which `on_session_timeout` is called; None: never.
    """

    audio_in_enabled: bool = True
    audio_out_enabled: bool = True
    audio_in_10ms_chunks: int = Field(default=4, ge=2, le=20)
    audio_out_10ms_chunks: int = Field(default=10, ge=4)
    ignore_rtvi_messages: bool = True
    session_timeout: float | None = None


class VonageAudioConnectorTransport(BaseTransport):
    """A call as a transport: `input()` and `output()` stand in a pipeline.

    Handlers of its events are called with the transport and the client, as `FastAPIWebsocketTransport` calls them with
    the transport and the WebSocket:

    - `on_client_connected`: the pipeline has started, and the format of the audio is known.
    - `on_client_disconnected`: the call has ended, and not by the pipeline: cancel it now.
    - `on_session_timeout`: `session_timeout` is over.
    - `on_client_muted`, `on_client_unmuted`: the caller's stream; while it is muted no audio comes.

    It takes the client's `on_audio` and `on_event`; other handlers stay the program's. An `EndFrame` closes the call
    when all before it was heard, a `CancelFrame` at once.

    Args:
        client: what `on_connect` or `connector.connect(websocket)` brings; the pipeline runs in the same event loop.
        params: the settings; None: audio both ways.
        input_name: of the input in pipecat's log.
        output_name: of the output.

    Raises:
        AudioConnectorConfigError: a setting that this transport can't keep; the message names it.
    """

    def __init__(
        self,
        client: Client,
        params: TransportParams | None = None,
        input_name: str | None = None,
        output_name: str | None = None,
    ) -> None:
        super().__init__(input_name=input_name, output_name=output_name)
        params = params or VonageAudioConnectorParams()
        _check(params)
        self.client = client
        call = SharedCall(client)
        self._input = VonageAudioConnectorInputTransport(
            self,
            call,
            params,
            self._call_event_handler,
            frame_s=getattr(params, "audio_in_10ms_chunks", 4) * 0.01,
            session_timeout_s=getattr(params, "session_timeout", None),
            name=input_name,
        )
        self._output = VonageAudioConnectorOutputTransport(
            call, params, ignores_rtvi=getattr(params, "ignore_rtvi_messages", True), name=output_name
        )
        for event in EVENTS:
            self._register_event_handler(event)

    def input(self) -> VonageAudioConnectorInputTransport:
        """What is heard: the first processor of a pipeline."""
        return self._input

    def output(self) -> VonageAudioConnectorOutputTransport:
        """What is said: behind it, frames come when they were heard."""
        return self._output


def _check(params: TransportParams) -> None:
    if params.audio_out_mixer is not None:
        raise AudioConnectorConfigError(
            "audio_out_mixer is not for this transport: client.mix(Mixer(file)) plays a sound bed, softer under speech"
        )
    if getattr(params, "audio_out_filter", None) is not None:
        raise AudioConnectorConfigError("audio_out_filter is not for this transport: filter before its output")
    if getattr(params, "audio_out_volume", 1.0) != 1.0:
        raise AudioConnectorConfigError("audio_out_volume is not for this transport: scale audio before its output")
    for name in ("audio_out_destinations", "video_out_destinations"):
        if getattr(params, name):
            raise AudioConnectorConfigError(f"{name} must be empty: a call has one voice and no picture")
    for name in ("audio_in_channels", "audio_out_channels"):
        if getattr(params, name) != 1:
            raise AudioConnectorConfigError(f"{name} must be 1: a call is mono")
