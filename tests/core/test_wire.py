"""`core/wire.py` against messages that are written out in tests/data/, so that no name agrees only with itself."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from vonage_audio_connector_server import AudioConnectorError
from vonage_audio_connector_server.core import peer, wire
from vonage_audio_connector_server.core.wire import Connected, TextEvent, encode_packet, first_message, parse_text
from vonage_audio_connector_server.errors import AudioConnectorJSONError
from vonage_audio_connector_server.models import AudioFormat

DATA = Path(__file__).parent.parent / "data"


def read_messages(name: str) -> dict[str, str]:
    text = (DATA / name).read_bytes().decode()
    lines = (line for line in text.split("\n") if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


FROM_ROUTER = read_messages("router_to_server.txt")
FROM_SERVER = read_messages("server_to_router.txt")

CONNECTED: dict[str, tuple[int, dict[str, Any]]] = {
    "connected": (16_000, {}),
    "connected-custom": (8_000, {"caller": "Zoë", "x-token": "abc"}),
    "connected-24k": (24_000, {}),
    "connected-event-first": (16_000, {"caller": "Ann"}),
    "connected-2022": (8_000, {"caller": "Ann"}),
}

L16 = "audio/l16;rate=16000"
OTHERS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "muted": (
        "websocket:media:update",
        {"event": "websocket:media:update", "method": "update", "active": False, "content-type": L16},
    ),
    "unmuted": (
        "websocket:media:update",
        {"event": "websocket:media:update", "method": "update", "active": True, "content-type": L16},
    ),
    "disconnected": (
        "websocket:disconnected",
        {"event": "websocket:disconnected", "method": "delete", "content-type": L16, "caller": "Ann"},
    ),
    "cleared": ("websocket:cleared", {"event": "websocket:cleared"}),
    "notify": ("websocket:notify", {"event": "websocket:notify", "payload": {"mark": 1}}),
    "dtmf-event": ("websocket:dtmf", {"event": "websocket:dtmf", "digit": "5", "duration": 260}),
    "dtmf-nested": (None, {"dtmf": {"digit": "5"}}),
    "dtmf-bare": (None, {"digit": "5", "duration": 260}),
}


def test_every_recorded_message_is_in_a_table() -> None:
    assert set(FROM_ROUTER) == set(CONNECTED) | set(OTHERS)
    assert set(FROM_SERVER) == {"clear-event", "clear-action", "clear-audio", "notify"}


@pytest.mark.parametrize("name", CONNECTED)
def test_first_message_tells_format_and_custom_keys(name: str) -> None:
    rate_hz, custom = CONNECTED[name]
    event = parse_text(FROM_ROUTER[name])
    assert isinstance(event, Connected)
    assert event.text == FROM_ROUTER[name]
    assert event.content_type == f"audio/l16;rate={rate_hz}"
    assert event.audio_format == AudioFormat(rate_hz)
    assert event.custom == custom


@pytest.mark.parametrize("name", OTHERS)
def test_other_messages_are_passed_on_whole(name: str) -> None:
    event_name, data = OTHERS[name]
    assert parse_text(FROM_ROUTER[name]) == TextEvent(FROM_ROUTER[name], data, event_name)


def test_first_message_is_written_as_the_router_does() -> None:
    assert first_message(AudioFormat(16_000), {}) == FROM_ROUTER["connected"]
    assert first_message(AudioFormat(24_000), {}) == FROM_ROUTER["connected-24k"]
    custom = first_message(AudioFormat(8_000), {"caller": "Zoë", "x-token": "abc"})
    assert custom == FROM_ROUTER["connected-custom"].replace("ë", r"\u00eb")  # JSON has two ways to write it


def test_commands_are_written_as_the_router_knows_them() -> None:
    assert FROM_SERVER["clear-event"] == wire.CLEAR_EVENT
    assert FROM_SERVER["clear-action"] == wire.CLEAR_ACTION
    assert (FROM_SERVER["clear-event"], FROM_SERVER["clear-action"]) == wire.DEFAULT_CLEAR_COMMANDS


def test_simulated_router_answers_as_the_router_does() -> None:
    assert FROM_ROUTER["cleared"] == peer.CLEARED
    router = peer.Peer(AudioFormat(), 0.0)
    assert router.receive_text(FROM_SERVER["notify"], 0.0) == [FROM_ROUTER["notify"]]


@pytest.mark.parametrize(
    ("content_type", "rate_hz"),
    [
        ("audio/l16;rate=16000", 16_000),
        ("AUDIO/L16;RATE=8000", 8_000),
        ("audio/l16; rate=24000", 24_000),
        ("audio/l16 ; rate = 16000 ", 16_000),
        ('audio/l16;rate="8000"', 8_000),
        ("audio/l16;channels=1;rate=8000", 8_000),
        ("audio/l16;rate=16000;channels=1", 16_000),
        ("audio/l16;rate=44100", 44_100),
        ("audio/l16", None),
        ("", None),
        ("audio/l16;rate=", None),
        ("audio/l16;rate=fast", None),
        ("audio/l16;rate=16000Hz", None),
        ("audio/l16;bitrate=16000", None),
        ("audio/l16;rate=0", None),
        ("audio/l16;rate=-16000", None),
        ("audio/l16;rate=11025", None),
        ("audio/l16;rate=160000", None),
        ("audio/l16;rate=16000000000", None),
    ],
)
def test_rate_of_a_content_type(content_type: str, rate_hz: int | None) -> None:
    event = parse_text(json.dumps({"event": "websocket:connected", "content-type": content_type}))
    assert isinstance(event, Connected)
    assert event.content_type == content_type
    assert event.audio_format == (AudioFormat(rate_hz) if rate_hz else None)


@pytest.mark.parametrize("stated", ["", ',"content-type":null', ',"content-type":16000', ',"content-type":["x"]'])
def test_connected_without_a_content_type_tells_no_format(stated: str) -> None:
    event = parse_text('{"event":"websocket:connected","a":1' + stated + "}")
    assert isinstance(event, Connected)
    assert event.content_type is None
    assert event.audio_format is None
    assert event.custom == {"a": 1}


def test_another_event_with_a_content_type_is_no_first_message() -> None:
    event = parse_text('{"event":"websocket:new","content-type":"audio/l16;rate=8000"}')
    assert isinstance(event, TextEvent)
    assert event.name == "websocket:new"


def test_an_event_that_is_no_text_has_no_name() -> None:
    event = parse_text('{"event":5,"content-type":"audio/l16;rate=8000"}')
    assert isinstance(event, TextEvent)
    assert event.name is None
    assert event.data == {"event": 5, "content-type": "audio/l16;rate=8000"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        '{"event":',
        "{'event': 'websocket:connected'}",
        "\ufeff{}",
        "null",
        "[]",
        '["event"]',
        '"websocket:connected"',
        "5",
        pytest.param("9" * 5_000, id="a number of 5,000 digits"),
        pytest.param('{"event":"websocket:connected","n":' + "9" * 5_000 + "}", id="an object with one"),
        pytest.param("[" * 100_000, id="100,000 open brackets"),
        pytest.param('{"a":' * 100_000, id="100,000 open braces"),
        pytest.param("[" * 100_000 + "]" * 100_000, id="100,000 nested arrays"),
    ],
)
def test_what_is_no_json_object_is_passed_on_as_it_is(text: str) -> None:
    assert parse_text(text) == TextEvent(text, None, None)


def test_huge_numbers_are_custom_values_like_others() -> None:
    event = parse_text('{"event":"websocket:connected","n":' + "9" * 4_000 + "}")
    assert isinstance(event, Connected)
    assert event.custom == {"n": int("9" * 4_000)}


def test_repr_shows_no_payload() -> None:
    first = parse_text('{"event":"websocket:connected","token":"secret"}')
    pressed = parse_text('{"event":"websocket:dtmf","digit":"secret"}')
    assert "secret" not in repr(first)
    assert "secret" not in repr(pressed)
    assert "websocket:dtmf" in repr(pressed)


@pytest.mark.parametrize("text", ['{"a": 1}', " [1,\n2]", '"text"', "5", "null", '{"rate":1e999}'])
def test_a_json_text_is_sent_as_it_is(text: str) -> None:
    assert encode_packet(text) is text


@pytest.mark.parametrize("value", [{"a": [1, None, "ë"]}, [], [{"b": 0.5}], {}])
def test_a_value_is_written_as_json(value: object) -> None:
    assert json.loads(encode_packet(value)) == value


NOT_JSON: dict[str, tuple[object, type[Exception]]] = {
    "plain text": ("secret", ValueError),
    "empty text": ("", ValueError),
    "cut off": ('{"pin": "secret"', ValueError),
    "two values": ('{"pin": "secret"} {}', ValueError),
    "NaN in a text": ('{"secret": NaN}', ValueError),
    "Infinity in a text": ('{"secret": -Infinity}', ValueError),
    "NaN": ({"secret": float("nan")}, ValueError),
    "infinity": (["secret", float("inf")], ValueError),
    "bytes": (b'"secret"', TypeError),
    "a set": ({"secret": {"secret"}}, TypeError),
    "an object": (object(), TypeError),
    "a tuple as key": ({("secret",): 1}, TypeError),
    "deep text": ("[" * 100_000, RecursionError),
    "a number of 5,000 digits": ('{"secret":' + "9" * 5_000 + "}", ValueError),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_no_json_is_refused_with_its_cause_and_without_its_content(name: str) -> None:
    packet, cause = NOT_JSON[name]
    with pytest.raises(AudioConnectorJSONError, match=r"^send_json_packet takes a JSON text") as caught:
        encode_packet(packet)
    assert isinstance(caught.value, AudioConnectorError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value.__cause__, cause)
    assert "secret" not in "".join(traceback.format_exception_only(caught.value))
    assert "secret" not in "".join(traceback.format_exception_only(caught.value.__cause__))
    assert len(str(caught.value)) < 300


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(AudioConnectorJSONError, match="Circular"):
        encode_packet(circle)


def test_a_text_that_utf8_can_not_carry_is_refused() -> None:
    with pytest.raises(AudioConnectorJSONError):
        encode_packet('"\ud800"')
