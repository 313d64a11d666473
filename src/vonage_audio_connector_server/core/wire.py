"""Text messages and what they mean, both ways. Literal examples of every form stand in tests/data/.

Evidence marks as in docs/protocol.md: D documented for the Audio Connector, V documented for Vonage's Voice
WebSockets, C seen in code that Vonage published, I inferred.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import AudioConnectorJSONError
from ..models import AudioFormat

CLEAR_EVENT = '{"event":"websocket:cleared"}'
"""C: what the reference SDK's flush_buffer sends."""

CLEAR_ACTION = '{"action":"clear"}'
"""V: the Voice API's form, acknowledged with `websocket:cleared`."""

DEFAULT_CLEAR_COMMANDS = (CLEAR_EVENT, CLEAR_ACTION)
"""Sources disagree on the form, so both are sent; the router drops text that it doesn't know (C)."""

CONNECTED_EVENT = "websocket:connected"
_NOT_CUSTOM = ("content-type", "event")


@dataclass(frozen=True, slots=True)
class Connected:
    """The first message: how the audio comes, and the custom keys of the connect call.

    Attributes:
        text: the message as it came.
        content_type: such as `audio/l16;rate=16000`; None where the message states none.
        audio_format: what `content_type` says; None where it says no rate that we can play.
        custom: every other key of the message; they are flattened to the top level (C).
    """

    text: str = field(repr=False)
    content_type: str | None
    audio_format: AudioFormat | None
    custom: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TextEvent:
    """Any other text message, known or not, JSON or not. It never ends the connection.

    Attributes:
        text: the message as it came.
        data: the JSON object in it; None where it is none.
        name: its `event`; None where it has none.
    """

    text: str = field(repr=False)
    data: Mapping[str, Any] | None = field(repr=False)
    name: str | None


Event = Connected | TextEvent


def parse_text(text: str, *, connected: bool = False) -> Event:
    """Read one text message from the router. Never raises: what isn't known is a `TextEvent`.

    White space around the JSON is fine: the router's ancestor puts one space before each text (C). A text with
    a `content-type` and no `event` is a first message as well (C, 2022), unless that has come already (`connected`).
    """
    data = _load_object(text)
    if data is None:
        return TextEvent(text, None, None)
    name = data.get("event")
    content_type = data.get("content-type")
    if name == CONNECTED_EVENT or (name is None and isinstance(content_type, str) and not connected):
        stated = content_type if isinstance(content_type, str) else None
        return Connected(
            text=text,
            content_type=stated,
            audio_format=AudioFormat.from_content_type(stated) if stated else None,
            custom={key: value for key, value in data.items() if key not in _NOT_CUSTOM},
        )
    return TextEvent(text, data, name if isinstance(name, str) else None)


def first_message(audio_format: AudioFormat, custom: Mapping[str, Any]) -> str:
    """The router's first message, its leading space included (C)."""
    message = {"content-type": audio_format.content_type, "event": CONNECTED_EVENT, **custom}
    return " " + json.dumps(message, separators=(",", ":"))


def encode_packet(packet: object) -> str:
    """Check a JSON text, or write a JSON-able value as one.

    Raises:
        AudioConnectorJSONError: it is a text that is not JSON, or a value that JSON can't express.
    """
    try:
        if isinstance(packet, str):
            json.loads(packet, parse_constant=_refuse_constant)
            packet.encode()  # a lone surrogate has no UTF-8
            return packet
        return json.dumps(packet, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as exc:
        # The text itself stays out of the message: it may hold what must not be logged.
        raise AudioConnectorJSONError(
            f"send_json_packet takes a JSON text (or a dict or list that json.dumps can write): {exc}"
        ) from exc


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _load_object(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # RecursionError: thousands of nested brackets
        return None
    return data if isinstance(data, dict) else None
