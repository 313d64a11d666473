"""Settings, checked when they are made, so that a wrong one names its field before anything listens."""

from __future__ import annotations

import json
import math
import ssl as ssl_module
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from .connection_data import AudioConnectorConnectionData
from .core.json_audio import JSONTransport
from .core.pacer import DEFAULT_LEAD_S, MAX_LEAD_S, MIN_LEAD_S
from .core.playout import MAX_REWIND_S
from .core.session import MAX_QUEUED_S, WhenFull
from .core.wire import DEFAULT_CLEAR_COMMANDS
from .errors import AudioConnectorConfigError
from .formats import AudioFormat
from .recording.recorder import Recorder
from .signatures import takes

OnConnect = Callable[[Any], object]  # it gets the Client; plain or coroutine function
OnSession = Callable[[Any], object]  # it gets the VideoSession; plain or coroutine function
Hook = Callable[[], object]
Authorize = Callable[[AudioConnectorConnectionData], object]  # true, or an awaitable of it: let in
AudioTransport = Literal["auto", "binary", "json"] | JSONTransport
WebSocketImplementation = Literal["auto", "websockets-sansio", "wsproto"]

MAX_MESSAGE_BYTES = 64 * 1024
"""68 times the largest frame; the first message holds at most 512 bytes of custom headers (D)."""


@dataclass(kw_only=True)
class AudioConnectorConfig:
    """What `AudioConnector` and the server have in common.

    Attributes:
        on_connect: called with a `Client` for every connection, beside its receive loop.
        on_start: called once when the server has started; under another ASGI server, at lifespan start-up.
        on_stop: called once when the server has stopped; under another ASGI server, at lifespan shutdown.
        on_session_start: called with a `VideoSession` when the first connection of a Vonage Video session comes, beside
            its calls; plain or coroutine function. It may go on as long as the session.
        on_session_end: called with it when the last one has ended.
        rate_hz: the sample rate to assume where a connection tells none: 8000, 16000 or 24000.
        sample_rate_hz: the sample rate at which the program works: 8000 to 48000, a multiple of 50. Its messages are
            frames of 20 ms at that rate, and so is what it sends; the wire keeps its own. What comes is 2 to
            6 ms late by it; at a rate that is none of 8000, 16000, 24000, 32000 and 48000, up to 40 ms, 75 ms from
            8 kHz. It takes the extra `audio`. None: the program works at the connection's rate.
        lead_s: how far ahead of real time audio is sent, 0.04 to 15 seconds; 0.2 by default. More survives a longer
            stall of the event loop; less leaves less to be heard after an interruption.
        max_message_bytes: a longer inbound message closes its connection with 1009; 65,536 by default.
        clear_commands: the JSON texts that `flush_buffer` sends, in this order.
        authorize: called with what is known of a connection before it is accepted; what is false refuses it with HTTP
            403, what is true is the `identity` of its client. Plain or coroutine function, or a ready-made one:
            `SharedSecret`, `OneTimeTokens`. None lets everybody in.
        max_connections: how many connections are served at once; one more is refused with HTTP 503. None: no limit.
        audio_transport: how audio travels: `binary`, one frame a binary message; `json`, base64 in a text, or a
            `JSONTransport` where the connect call names other fields; `auto`, as the first frame of the session does.
            What is said before that goes out as binary: name it, if a greeting is to be heard over JSON.
        max_queued_s: seconds of audio that may wait to be sent; one call is accepted whole.
        when_full: what `send_audio_buffer` does beyond: `wait`, when awaited, until enough was sent, or `raise`
            `AudioConnectorFullError`.
        max_duration_s: a call that lasts longer is closed, because each costs money while it lasts. None: no limit.
        watchdog: tell in the log which line blocks the event loop for more than 0.1 s, and which gaps come from it. It
            costs a thread, and 20 callbacks a second while there are connections.
        recorder: keeps what the server saw of each call, for the case that it ends badly: a `FlightRecorder`. None:
            nothing is recorded.
        console: True: serve a page at `/console`, below the path of the connector, on which one talks to the program
            from a browser on this machine. Its link, with a token, is in the log. `anywhere`: from other machines,
            too, which takes TLS for the microphone.

    Raises:
        AudioConnectorConfigError: a value is wrong; the message names the field.
        MissingExtraError: `sample_rate_hz` takes the extra `audio`.
    """

    on_connect: OnConnect | None = None
    on_start: Hook | None = None
    on_stop: Hook | None = None
    on_session_start: OnSession | None = None
    on_session_end: OnSession | None = None
    rate_hz: int = 16_000
    sample_rate_hz: int | None = None
    lead_s: float = DEFAULT_LEAD_S
    max_message_bytes: int = MAX_MESSAGE_BYTES
    clear_commands: Sequence[str] = field(default=DEFAULT_CLEAR_COMMANDS)
    authorize: Authorize | None = None
    max_connections: int | None = None
    audio_transport: AudioTransport = "auto"
    max_queued_s: float = MAX_QUEUED_S
    when_full: WhenFull = "wait"
    max_duration_s: float | None = None
    watchdog: bool = True
    recorder: Recorder | None = None
    console: Literal[False, True, "anywhere"] = False

    def __post_init__(self) -> None:
        self._check(
            "on_connect",
            self.on_connect is None or takes(self.on_connect, "client"),
            "a function that takes one argument, the client",
        )
        for name in ("on_start", "on_stop"):
            hook = getattr(self, name)
            self._check(name, hook is None or takes(hook), "a function without arguments")
        for name in ("on_session_start", "on_session_end"):
            hook = getattr(self, name)
            self._check(name, hook is None or takes(hook, "session"), "a function that takes one argument, the session")
        is_rate = type(self.rate_hz) is int and self.rate_hz in (8_000, 16_000, 24_000)
        self._check("rate_hz", is_rate, "8000, 16000 or 24000")
        if self.sample_rate_hz is not None:
            self._check("sample_rate_hz", _is_program_rate(self.sample_rate_hz), "8000 to 48000, a multiple of 50")
            from .audio.resampler import require  # only then: it takes the extra `audio`

            require()
        check_lead_s("lead_s", self.lead_s)
        self._check(
            "max_message_bytes",
            isinstance(self.max_message_bytes, int) and self.max_message_bytes >= 1024,
            "a whole number of bytes, 1024 or more",
        )
        self._check(
            "clear_commands",
            isinstance(self.clear_commands, (list, tuple)) and all(map(_is_json_object, self.clear_commands)),
            "a list or tuple of JSON objects as texts",
        )
        self._check(
            "authorize",
            self.authorize is None or takes(self.authorize, "info"),
            "a function that takes one argument, what is known of the connection",
        )
        is_count = type(self.max_connections) is int and self.max_connections >= 1
        self._check("max_connections", self.max_connections is None or is_count, "a whole number from 1 on, or None")
        is_transport = isinstance(self.audio_transport, JSONTransport) or (
            isinstance(self.audio_transport, str) and self.audio_transport in ("auto", "binary", "json")
        )
        self._check("audio_transport", is_transport, "'auto', 'binary', 'json' or a JSONTransport")
        self._check("max_queued_s", _is_seconds(self.max_queued_s, 1.0), "a number of seconds, 1 or more")
        is_policy = isinstance(self.when_full, str) and self.when_full in ("wait", "raise")
        self._check("when_full", is_policy, "'wait' or 'raise'")
        is_limit = self.max_duration_s is None or _is_seconds(self.max_duration_s, 1.0)
        self._check("max_duration_s", is_limit, "a number of seconds, 1 or more, or None")
        self._check("console", self.console in (False, True, "anywhere"), "True, False or 'anywhere'")
        self._check("watchdog", isinstance(self.watchdog, bool), "True or False")
        is_recorder = isinstance(self.recorder, Recorder) and not isinstance(self.recorder, type)
        self._check("recorder", self.recorder is None or is_recorder, "a FlightRecorder, or what has its 'begin'")

    @property
    def transport(self) -> Literal["auto", "binary"] | JSONTransport:
        """How audio travels, `json` spelled out."""
        return JSONTransport() if self.audio_transport == "json" else self.audio_transport

    @property
    def audio_format(self) -> AudioFormat:
        """The format to assume where a connection tells none."""
        return AudioFormat(self.rate_hz)

    def _check(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise AudioConnectorConfigError(f"{name} must be {wanted}, not {getattr(self, name)!r}")


@dataclass(kw_only=True)
class AudioConnectorServerConfig(AudioConnectorConfig):
    """Settings of a server, besides those of `AudioConnectorConfig`.

    Attributes:
        host: the name or address to listen on; `localhost` listens on all its addresses.
        port: the port; 0 takes a free one, which the handle then tells.
        ssl: a server-side `SSLContext` for `wss://`; None for `ws://`.
        ws: what speaks WebSocket: `auto`, this library's own class; or one of uvicorn's, which are several times
            slower: `websockets-sansio`, or `wsproto`, if installed.
        app: an ASGI application with connectors in it, to be served instead of `on_connect`. They have their own
            settings; all their calls drain together when the server stops.

    Raises:
        AudioConnectorConfigError: a value is wrong; the message names the field.
    """

    host: str
    port: int
    ssl: ssl_module.SSLContext | None = None
    ws: WebSocketImplementation = "auto"
    app: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("host", isinstance(self.host, str) and bool(self.host.strip()), "a host name or address")
        if isinstance(self.port, str) and self.port.isdecimal() and len(self.port) <= 5:
            self.port = int(self.port)  # as it comes from the environment; the reference takes it, too
        self._check(
            "port",
            isinstance(self.port, int) and not isinstance(self.port, bool) and 0 <= self.port <= 65_535,
            "a number from 0 (any free port) to 65535",
        )
        is_tls = isinstance(self.ssl, ssl_module.SSLContext) and self.ssl.protocol != ssl_module.PROTOCOL_TLS_CLIENT
        self._check("ssl", self.ssl is None or is_tls, "a server's ssl.SSLContext or None")
        is_known = isinstance(self.ws, str) and self.ws in get_args(WebSocketImplementation)
        self._check("ws", is_known, "'auto', 'websockets-sansio' or 'wsproto'")
        if self.app is not None:
            self._check("app", takes(self.app, "scope", "receive", "send"), "an ASGI application or None")
            self._check_belongs_to_the_server()

    def _check_belongs_to_the_server(self) -> None:
        for entry in fields(AudioConnectorConfig):
            if entry.name not in ("on_start", "on_stop", "console") and getattr(self, entry.name) != entry.default:
                raise AudioConnectorConfigError(
                    f"{entry.name} is a setting of a connector: set it there, and not with app"
                )


def check_lead_s(name: str, lead_s: float) -> None:
    """Refuse a lead outside 0.04 to 15 seconds, or what is no number.

    Raises:
        AudioConnectorConfigError: naming `name`.
    """
    is_number = isinstance(lead_s, (int, float)) and not isinstance(lead_s, bool)
    if not is_number or not MIN_LEAD_S <= lead_s <= MAX_LEAD_S:
        raise AudioConnectorConfigError(f"{name} must be {MIN_LEAD_S} to {MAX_LEAD_S} seconds, not {lead_s!r}")


def check_rewind_s(rewind_s: float) -> None:
    """Refuse a rewind outside 0 to 1 seconds, or what is no number.

    Raises:
        AudioConnectorConfigError: it is.
    """
    if not _is_seconds(rewind_s, 0.0) or rewind_s > MAX_REWIND_S:
        raise AudioConnectorConfigError(f"rewind_s must be 0 to {MAX_REWIND_S:g} seconds, not {rewind_s!r}")


def shared_options(config: AudioConnectorConfig) -> dict[str, Any]:
    """The settings of `config` that `AudioConnector` takes."""
    return {entry.name: getattr(config, entry.name) for entry in fields(AudioConnectorConfig)}


def _is_program_rate(rate_hz: object) -> bool:
    """Whether 20 ms of it are whole samples."""
    return type(rate_hz) is int and 8_000 <= rate_hz <= 48_000 and rate_hz % 50 == 0


def _is_seconds(value: object, at_least: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and at_least <= value < math.inf


def _is_json_object(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(text.encode()) and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
