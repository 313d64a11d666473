"""`core/wire.py` against messages that are written out in tests/data/, so that no name agrees only with itself."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from vonage_audio_connector_server import AudioConnectorError
from vonage_audio_connector_server.core import wire
from vonage_audio_connector_server.core.events import (
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
from vonage_audio_connector_server.core.json_audio import JSONTransport
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.core.wire import encode_packet, first_message, notify_command, parse_text
from vonage_audio_connector_server.errors import AudioConnectorJSONError
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.simulator import router

DATA = Path(__file__).parent.parent / "data"


def read_messages(name: str) -> dict[str, str]:
    text = (DATA / name).read_bytes().decode()
    lines = (line for line in text.split("\n") if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


FROM_ROUTER = read_messages("router_to_server.txt")
FROM_SERVER = read_messages("server_to_router.txt")

PCM = b"\x01\x00\xff\x7f\x00\x80\xfe\xff"  # 1, 32767, -32768, -2
L16_8, L16_16, L16_24 = "audio/l16;rate=8000", "audio/l16;rate=16000", "audio/l16;rate=24000"

# What each text of the router is, but for its `text`, which is the line itself.
EVENTS: dict[str, Callable[[str], Event]] = {
    "connected": lambda text: Connected(text, L16_16, AudioFormat(16_000), {}),
    "connected-custom": lambda text: Connected(text, L16_8, AudioFormat(8_000), {"caller": "Zoë", "x-token": "abc"}),
    "connected-24k": lambda text: Connected(text, L16_24, AudioFormat(24_000), {}),
    "connected-event-first": lambda text: Connected(text, L16_16, AudioFormat(16_000), {"caller": "Ann"}),
    "connected-2022": lambda text: Connected(text, L16_8, AudioFormat(8_000), {"caller": "Ann"}),
    "connected-audio-key": lambda text: Connected(text, L16_16, AudioFormat(16_000), {"audio": "AQD/fwCA/v8="}),
    "connected-2022-audio-key": lambda text: Connected(text, L16_8, AudioFormat(8_000), {"audio": "on"}),
    "muted": lambda text: MediaUpdate(text, active=False),
    "unmuted": lambda text: MediaUpdate(text, active=True),
    "disconnected": lambda text: Disconnected(text, {"caller": "Ann"}),
    "cleared": Cleared,
    "notify": lambda text: Notified(text, {"mark": 1}),
    "notify-playback": lambda text: Notified(text, {"vonage_audio_connector_server.playback": 1}),
    "dtmf-event": lambda text: DTMF(text, "5", 260),
    "dtmf-nested": lambda text: DTMF(text, "5", None),
    "dtmf-bare": lambda text: DTMF(text, "5", 260),
    "audio": lambda text: Audio(PCM),
    "audio-space": lambda text: Audio(PCM),
    "audio-static": lambda text: Audio(PCM),
    "audio-field": lambda text: Audio(PCM),
}


def playback_command() -> str | bytes:
    session = Session(0.0)
    session.confirm(session.queue_audio(b"", 0.0, frame_bytes=640))
    return session.out.outbox[0]


# What our side writes for each text of the server.
WRITTEN: dict[str, Callable[[], str | bytes]] = {
    "clear-event": lambda: wire.CLEAR_EVENT,
    "clear-action": lambda: wire.CLEAR_ACTION,
    "clear-audio": lambda: encode_packet({"event": "clearAudio"}),  # only where the configuration names it
    "notify": lambda: notify_command({"mark": 1}),
    "notify-playback": playback_command,
    "audio": lambda: JSONTransport().encode(PCM),
    "audio-static": lambda: JSONTransport(send_static_fields={"streamId": "s-1", "priority": 1}).encode(PCM),
    "audio-field": lambda: JSONTransport("sound", "pcm").encode(PCM),
}


def test_every_recorded_message_is_in_a_table() -> None:
    assert set(FROM_ROUTER) == set(EVENTS)
    assert set(FROM_SERVER) == set(WRITTEN)


def test_every_kind_of_event_is_in_the_table() -> None:
    assert {type(make("")) for make in EVENTS.values()} == set(get_args(Event)) - {UnknownEvent}


@pytest.mark.parametrize("name", EVENTS)
def test_what_the_router_says(name: str) -> None:
    text = FROM_ROUTER[name]
    event = EVENTS[name](text)
    session = Session(0.0, transport=JSONTransport("pcm")) if name == "audio-field" else Session(0.0)
    assert session.text_received(text) == event
    if isinstance(event, Audio):  # where audio is binary, it is a text like any other
        assert parse_text(text) == UnknownEvent(text, json.loads(text), None)
    else:
        assert event.text == text
        assert parse_text(text) == event


@pytest.mark.parametrize("name", WRITTEN)
def test_what_our_side_writes(name: str) -> None:
    assert WRITTEN[name]() == FROM_SERVER[name]


def test_first_message_is_written_as_the_router_does() -> None:
    assert first_message(AudioFormat(16_000), {}) == FROM_ROUTER["connected"]
    assert first_message(AudioFormat(24_000), {}) == FROM_ROUTER["connected-24k"]
    custom = first_message(AudioFormat(8_000), {"caller": "Zoë", "x-token": "abc"})
    assert custom == FROM_ROUTER["connected-custom"].replace("ë", r"\u00eb")  # JSON has two ways to write it


def test_a_clear_is_written_in_two_of_its_three_forms() -> None:
    assert (FROM_SERVER["clear-event"], FROM_SERVER["clear-action"]) == wire.DEFAULT_CLEAR_COMMANDS
    session = Session(0.0)
    session.clear(0.0)
    assert list(session.out.outbox) == [FROM_SERVER["clear-event"], FROM_SERVER["clear-action"]]


@pytest.mark.parametrize("name", ["clear-event", "clear-action", "clear-audio"])
def test_simulated_router_answers_every_clear(name: str) -> None:
    assert FROM_ROUTER["cleared"] == router.CLEARED
    assert router.Router(AudioFormat(), 0.0).receive_text(FROM_SERVER[name], 0.0) == [FROM_ROUTER["cleared"]]


@pytest.mark.parametrize("name", ["notify", "notify-playback"])
def test_simulated_router_answers_a_notify_as_the_router_does(name: str) -> None:
    assert router.Router(AudioFormat(), 0.0).receive_text(FROM_SERVER[name], 0.0) == [FROM_ROUTER[name]]


# Forms between the rows


@pytest.mark.parametrize(
    ("text", "digit", "duration_ms"),
    [
        ('{"event":"websocket:dtmf","digit":"#","duration":0}', "#", 0),
        ('{"event":"websocket:dtmf","digit":"*"}', "*", None),
        ('{"event":"websocket:dtmf","dtmf":{"digit":"D","duration":90}}', "D", 90),
        ('{"digit":7}', "7", None),
        ('{"digit":"0","duration":"260"}', "0", None),
        ('{"digit":"0","duration":true}', "0", None),
    ],
)
def test_a_key_press(text: str, digit: str, duration_ms: int | None) -> None:
    assert parse_text(text) == DTMF(text, digit, duration_ms)


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"websocket:dtmf"}',
        '{"event":"websocket:dtmf","digit":"55"}',
        '{"event":"websocket:dtmf","digit":""}',
        '{"event":"websocket:dtmf","digit":true}',
        '{"event":"websocket:dtmf","digit":55}',
        '{"event":"websocket:dtmf","digit":["5"]}',
        '{"dtmf":"5"}',
        '{"dtmf":{}}',
        '{"event":"websocket:new","digit":"5"}',
        '{"event":"websocket:media:update"}',
        '{"event":"websocket:media:update","active":"false"}',
        '{"event":"websocket:media:update","active":0}',
        '{"event":"websocket:notify"}',
        '{"event":"Websocket:cleared"}',
        '{"action":"clear"}',
        '{"audio":"AQD/fwCA/v8="}',
        "{}",
    ],
)
def test_what_only_looks_like_an_event_is_unknown(text: str) -> None:
    data = json.loads(text)
    assert parse_text(text) == UnknownEvent(text, data, data.get("event"))


@pytest.mark.parametrize("payload", ["null", "1", '"a"', "[1]", "{}"])
def test_a_notify_has_any_payload(payload: str) -> None:
    text = '{"event":"websocket:notify","payload":' + payload + "}"
    assert parse_text(text) == Notified(text, json.loads(payload))


def test_only_the_first_text_with_a_content_type_alone_is_a_first_message() -> None:
    text = FROM_ROUTER["connected-2022"]
    assert parse_text(text, connected=True) == UnknownEvent(text, json.loads(text), None)
    again = FROM_ROUTER["connected"]
    assert isinstance(parse_text(again, connected=True), Connected)


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
    assert isinstance(event, UnknownEvent)
    assert event.name == "websocket:new"


def test_an_event_that_is_no_text_has_no_name() -> None:
    event = parse_text('{"event":5,"content-type":"audio/l16;rate=8000"}')
    assert isinstance(event, UnknownEvent)
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
    assert parse_text(text) == UnknownEvent(text, None, None)


def test_huge_numbers_are_custom_values_like_others() -> None:
    event = parse_text('{"event":"websocket:connected","n":' + "9" * 4_000 + "}")
    assert isinstance(event, Connected)
    assert event.custom == {"n": int("9" * 4_000)}


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"websocket:connected","token":"secret"}',
        '{"event":"websocket:disconnected","token":"secret"}',
        '{"event":"websocket:media:update","active":true,"secret":1}',
        '{"event":"websocket:cleared","token":"secret"}',
        '{"event":"websocket:notify","payload":"secret"}',
        '{"event":"websocket:dtmf","digit":"secret"}',
        '{"event":"websocket:new","token":"secret"}',
        "secret",
    ],
)
def test_repr_shows_no_payload(text: str) -> None:
    assert "secret" not in repr(parse_text(text))


def test_repr_shows_no_key_and_no_sound_but_what_it_is() -> None:
    assert repr(parse_text(FROM_ROUTER["dtmf-event"])) == "DTMF()"
    assert repr(Audio(PCM, 1.5)) == "Audio(at_s=1.5)"
    assert "websocket:new" in repr(parse_text('{"event":"websocket:new"}'))
    assert "rate=16000" in repr(parse_text(FROM_ROUTER["connected"]))


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


def test_a_notify_payload_that_is_no_json_is_refused_with_its_own_hint() -> None:
    for payload in (float("nan"), {"secret"}, b"secret"):
        with pytest.raises(AudioConnectorJSONError, match=r"^notify takes what json.dumps can write") as caught:
            notify_command(payload)
        assert "secret" not in str(caught.value)


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(AudioConnectorJSONError, match="Circular"):
        encode_packet(circle)


def test_a_text_that_utf8_can_not_carry_is_refused() -> None:
    with pytest.raises(AudioConnectorJSONError):
        encode_packet('"\ud800"')
