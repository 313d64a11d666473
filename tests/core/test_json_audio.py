"""The JSON audio transport: one end of it alone, and a session in each of its three modes."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

import pytest
from driving import first, make_session, sound
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.events import DTMF, Audio, Connected, UnknownEvent
from vonage_audio_connector_server.core.json_audio import JSONTransport
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.errors import AudioConnectorConfigError
from vonage_audio_connector_server.formats import AudioFormat

Mode = Literal["auto", "binary"] | JSONTransport
FRAME = sound(160)
BROKEN = ["AQD", "AQD/fwCA/v8", "AQD/ fwCA", "AQD/\n", "AQ==AQ==", "=", "AQD_", "é", "AQID", 5, None, ["AQD/"]]


def as_json(pcm: bytes, field: str = "audio", **static: Any) -> str:
    return json.dumps({field: base64.b64encode(pcm).decode(), **static})


# One end


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=50).map(lambda half: half + half), st.text(min_size=1), st.dictionaries(st.text(), st.text()))
def test_what_one_end_writes_the_other_reads(pcm: bytes, field: str, static: dict[str, str]) -> None:
    if field in ("event", "content-type"):
        return
    static.pop(field, None)
    ours = JSONTransport("in", field, static)
    text = ours.encode(pcm)
    assert text.isascii()
    assert json.loads(text) == {field: base64.b64encode(pcm).decode(), **static}
    assert ours.mirrored().decode(json.loads(text)) == pcm
    assert ours.mirrored() == JSONTransport(field, "in")


def test_one_field_serves_both_ways_unless_another_is_named() -> None:
    assert JSONTransport() == JSONTransport("audio", "audio")
    assert JSONTransport("pcm") == JSONTransport("pcm", "pcm")
    assert JSONTransport("pcm", "sound").mirrored() == JSONTransport("sound", "pcm")


@pytest.mark.parametrize("value", BROKEN)
def test_what_is_no_base64_of_whole_samples_is_no_audio(value: object) -> None:
    assert JSONTransport().decode({"audio": value}) is None


def test_no_field_is_no_audio_and_an_empty_one_is() -> None:
    assert JSONTransport().decode({"pcm": "AQD/fw=="}) is None
    assert JSONTransport().decode({"audio": ""}) == b""


@pytest.mark.parametrize(
    ("data", "audio"),
    [
        ({"audio": "AQD/"}, True),
        ({"audio": 5, "streamId": "s"}, True),
        ({"audio": "AQD/", "event": "websocket:connected"}, False),
        ({"audio": "AQD/", "event": None}, False),
        ({"audio": "AQD/", "content-type": "audio/l16;rate=8000"}, False),
        ({"pcm": "AQD/"}, False),
        ({}, False),
    ],
)
def test_audio_is_told_from_events_and_first_messages(data: dict[str, Any], audio: bool) -> None:
    assert JSONTransport().carries_audio(data) is audio


def test_static_fields_are_those_of_the_moment() -> None:
    fields = {"a": 1}
    transport = JSONTransport(send_static_fields=fields)
    fields["b"] = 2
    assert transport.send_static_fields == {"a": 1}
    assert transport.encode(b"") == '{"audio":"","a":1}'


def test_static_fields_stay_out_of_repr_and_of_the_mirror() -> None:
    transport = JSONTransport(send_static_fields={"token": "secret"})
    assert "secret" not in repr(transport)
    assert transport.mirrored().send_static_fields == {}
    assert transport != transport.mirrored()
    assert hash(transport) == hash(JSONTransport())  # a dict has no hash


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"receive_field": ""}, "receive_field must be a text that is not empty"),
        ({"receive_field": None}, "receive_field must be a text"),
        ({"receive_field": "event"}, "receive_field.*nor 'event'"),
        ({"receive_field": "content-type"}, "receive_field.*not 'content-type'$"),
        ({"send_field": ""}, "send_field must be a text that is not empty"),
        ({"send_field": "event"}, "send_field.*nor 'event'"),
        ({"send_field": 5}, "send_field.*not 5"),
        ({"send_static_fields": [1]}, "send_static_fields must be a dict"),
        ({"send_static_fields": {1: 2}}, "send_static_fields.*texts as keys"),
        ({"send_static_fields": {"audio": 2}}, "send_static_fields must not have the key 'audio'"),
        ({"receive_field": "in", "send_static_fields": {"in": 2}}, "must not have the key 'in'"),
        ({"send_static_fields": {"a": {1}}}, "send_static_fields must have values that JSON can express"),
        ({"send_static_fields": {"a": float("nan")}}, "send_static_fields must have values that JSON can express"),
    ],
)
def test_a_wrong_setting_is_named(arguments: dict[str, Any], hint: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match=hint):
        JSONTransport(**arguments)


def test_a_static_field_may_be_named_like_the_audio_that_comes_in() -> None:
    assert JSONTransport("in", "out", {"in": 1}).encode(b"") == '{"out":"","in":1}'


# A session: auto


def test_auto_settles_on_json_with_the_first_audio() -> None:
    session = make_session(8_000)
    assert session.sends is None
    assert session.text_received(as_json(FRAME, streamId="s")) == Audio(FRAME)
    sends = session.sends
    assert sends == JSONTransport()
    assert sends is not None
    assert sends.encode(FRAME) == '{"audio":"' + base64.b64encode(FRAME).decode() + '"}'
    assert session.text_received(as_json(FRAME)) == Audio(FRAME)
    session.audio_received(FRAME)  # nobody does that; it is audio, and changes nothing
    assert session.sends == JSONTransport()
    assert (session.frames_in, session.bytes_in, session.odd_frames_in) == (3, 960, 0)
    assert session.texts_in == 1  # the first message; audio is no text


def test_auto_settles_on_binary_with_the_first_audio() -> None:
    session = make_session(8_000)
    session.audio_received(FRAME)
    text = as_json(FRAME)
    assert session.text_received(text) == UnknownEvent(text, json.loads(text), None)
    assert session.sends is None
    assert (session.frames_in, session.odd_frames_in, session.texts_in) == (1, 0, 2)


def test_texts_do_not_settle_it() -> None:
    session = make_session(None)
    session.text_received(first(8_000))
    session.text_received('{"event":"websocket:dtmf","digit":"5","audio":"AQD/fw=="}')
    assert session.text_received('{"audio":"AQD"}') == UnknownEvent('{"audio":"AQD"}', {"audio": "AQD"}, None)
    assert (session.frames_in, session.odd_frames_in, session.texts_in) == (0, 1, 3)
    assert session.sends is None
    session.audio_received(FRAME)  # so it can still be binary
    assert session.sends is None
    assert isinstance(session.text_received(as_json(FRAME)), UnknownEvent)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_the_first_json_frame_tells_the_format_where_no_text_did(rate_hz: int) -> None:
    session = make_session(None)
    session.text_received(as_json(bytes(rate_hz // 25)))
    assert session.audio_format == AudioFormat(rate_hz)
    assert session.odd_frames_in == 0


@pytest.mark.parametrize("mode", ["auto", "binary", JSONTransport()])
@pytest.mark.parametrize("with_event", [True, False])
def test_a_first_message_with_a_custom_key_named_audio_is_no_audio(mode: Mode, with_event: bool) -> None:
    session = Session(0.0, transport=mode)
    data = {"content-type": "audio/l16;rate=8000", "audio": base64.b64encode(FRAME).decode()}
    if with_event:
        data["event"] = "websocket:connected"
    event = session.text_received(json.dumps(data))
    assert isinstance(event, Connected)
    assert event.custom == session.custom == {"audio": data["audio"]}
    assert session.audio_format == AudioFormat(8_000)
    assert (session.frames_in, session.odd_frames_in, session.texts_in) == (0, 0, 1)


# A session: binary, and JSON by configuration


def test_binary_takes_no_text_for_audio() -> None:
    session = Session(0.0, transport="binary")
    text = as_json(FRAME)
    assert session.text_received(text) == UnknownEvent(text, json.loads(text), None)
    assert (session.frames_in, session.odd_frames_in, session.texts_in) == (0, 0, 1)
    assert session.sends is None


def test_json_by_configuration_sends_json_from_the_start() -> None:
    transport = JSONTransport("in", "out", {"streamId": "s"})
    session = Session(0.0, transport=transport)
    assert session.sends is transport
    assert session.text_received(as_json(FRAME, "in")) == Audio(FRAME)
    other = as_json(FRAME, "audio")
    assert session.text_received(other) == UnknownEvent(other, json.loads(other), None)
    assert (session.frames_in, session.odd_frames_in, session.texts_in) == (1, 0, 1)
    session.audio_received(FRAME)
    assert session.sends is transport
    assert session.frames_in == 2


@pytest.mark.parametrize("mode", ["auto", JSONTransport()])
@pytest.mark.parametrize("value", BROKEN)
def test_broken_audio_is_an_unknown_event_and_counted(mode: Mode, value: object) -> None:
    session = Session(0.0, transport=mode)
    session.text_received(first(8_000))
    text = json.dumps({"audio": value})
    assert session.text_received(text) == UnknownEvent(text, {"audio": value}, None)
    assert (session.frames_in, session.bytes_in, session.odd_frames_in, session.texts_in) == (0, 0, 1, 2)
    assert session.text_received(as_json(FRAME)) == Audio(FRAME)


def test_a_json_frame_of_another_size_is_audio_and_odd() -> None:
    session = make_session(8_000)
    assert session.text_received(as_json(sound(100))) == Audio(sound(100))
    assert (session.frames_in, session.bytes_in, session.odd_frames_in) == (1, 200, 1)


def test_json_frames_of_10_ms_are_audio_and_odd() -> None:
    session = make_session(8_000)
    for _ in range(3):
        assert session.text_received(as_json(sound(80))) == Audio(sound(80))
    assert session.audio_format == AudioFormat(8_000)
    assert (session.frames_in, session.odd_frames_in) == (3, 3)


def test_other_texts_are_read_between_audio() -> None:
    session = make_session(8_000)
    session.text_received(as_json(FRAME))
    text = ' {"digit":"5","duration":260}'
    assert session.text_received(text) == DTMF(text, "5", 260)
    assert (session.frames_in, session.texts_in) == (1, 2)
