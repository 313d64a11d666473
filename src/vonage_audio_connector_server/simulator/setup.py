"""What a simulated call is like: settings of the connect call, and of the router. Evidence as in docs/protocol.md."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorAudioError, AudioConnectorConfigError
from ..formats import FRAME_MS, AudioFormat
from .form import AudioForm
from .rules import RouterName, rules_of
from .twin import FIRST_MESSAGE_S, Silence, Twin
from .wav import RATES_HZ

CUSTOM_HEADERS_BYTES = 512
"""D: custom headers of a connect call are no longer than this together."""

FRAMES_MS = (10, 20)
"""The router's frames last 20 ms (D, V). Those of 10 ms are for trying what a server makes of them."""

_IDENTITY = ("x-opentok-ws-sessionid", "x-opentok-ws-connectionid", "x-opentok-ws-conferenceid")  # C
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_NOT_CUSTOM = ("content-type", "event")  # keys of the first message


def made_up_id() -> str:
    """The id of a session or a connection that there is not."""
    return f"simulated-{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The settings of one simulated call.

    Attributes:
        rate_hz: the sample rate of the call: 8000, 16000 or 24000.
        frame_ms: how long a frame lasts, 20 or 10. No message tells it.
        transport: None: audio is binary messages. Else it is JSON texts, and these are the settings as the *server*
            has them: the question comes in its `receive_field`, the answer goes out in its `send_field`.
        headers: custom headers of the connect call. They go into the upgrade request and, as custom keys, into the
            first message. `x-opentok-ws-sessionid` and its like replace the ones that are made up.
        router: what the router makes of what the server sends: `strict`, `wsbridge` or `lenient`; see `rules.py`.
        first_s: how long after the accept the first message comes.
        silence: what is sent while the caller says nothing: `frames` of silence, or `none` at all.
        connection_id: `x-opentok-ws-connectionid` of the upgrade request.
        repeats_header: a header comes twice in the upgrade request, as behind two proxies.

    Raises:
        AudioConnectorAudioError: the rate is none of the Audio Connector, or `frame_ms` is neither 10 nor 20.
        AudioConnectorConfigError: another value is wrong; the message names it.
    """

    rate_hz: int = 16_000
    frame_ms: int = FRAME_MS
    transport: JSONTransport | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    router: RouterName = "lenient"
    first_s: float = FIRST_MESSAGE_S
    silence: Silence = "frames"
    repeats_header: bool = False
    connection_id: str = field(default_factory=made_up_id)

    def __post_init__(self) -> None:
        if type(self.rate_hz) is not int or self.rate_hz not in RATES_HZ:
            raise AudioConnectorAudioError(f"rate_hz must be 8000, 16000 or 24000, not {self.rate_hz!r}")
        if type(self.frame_ms) is not int or self.frame_ms not in FRAMES_MS:
            raise AudioConnectorAudioError(f"frame_ms must be 10 or 20, not {self.frame_ms!r}")
        AudioForm(self.transport)
        rules_of(self.router)
        check_custom(self.headers)
        check_seconds("first_s", self.first_s)
        if self.first_s == math.inf:
            raise AudioConnectorConfigError("first_s must be a finite number of seconds: the call would never begin")
        if self.silence not in get_args(Silence):
            raise AudioConnectorConfigError(f"silence must be 'frames' or 'none', not {self.silence!r}")

    @property
    def audio_format(self) -> AudioFormat:
        """The format of the call."""
        return AudioFormat(self.rate_hz, self.frame_ms)

    def request_headers(self) -> list[tuple[str, str]]:
        """The headers of the upgrade request: session, connection and conference, made up where nobody names them."""
        given = {name.lower() for name in self.headers}
        ids = (made_up_id(), self.connection_id, made_up_id())
        made_up = [pair for pair in zip(_IDENTITY, ids, strict=True) if pair[0] not in given]
        repeated = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "198.51.100.9")]  # RFC 5737
        return made_up + list(self.headers.items()) + (repeated if self.repeats_header else [])

    def make_twin(self, origin_s: float) -> Twin:
        """The router's end of a connection that was accepted at this time."""
        return Twin(
            self.audio_format,
            origin_s,
            form=AudioForm(self.transport),
            rules=rules_of(self.router),
            custom=self.headers,
            first_s=self.first_s,
            silence=self.silence,
        )


def check_custom(headers: Mapping[str, str]) -> None:
    """Refuse custom headers that a connect call would not take.

    Raises:
        AudioConnectorConfigError: it would not.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _NOT_CUSTOM:
            raise AudioConnectorConfigError(f"headers: {name!r} can't be the name of a custom header")
        if not isinstance(value, str) or not value.isprintable():
            raise AudioConnectorConfigError(f"headers: the value of {name} must be one line of text")
    size_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
    if size_bytes > CUSTOM_HEADERS_BYTES:
        raise AudioConnectorConfigError(
            f"headers: together they are {size_bytes} bytes long; a connect call takes {CUSTOM_HEADERS_BYTES}"
        )


def check_seconds(name: str, value: float) -> None:
    """Refuse what is no number of seconds from 0 on.

    Raises:
        AudioConnectorConfigError: naming `name`.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= math.inf:  # NaN, too
        raise AudioConnectorConfigError(f"{name} must be 0 or more seconds, not {value!r}")
