"""The values that users hold, and the settings that they make."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from starlette.datastructures import Headers

from vonage_audio_connector_server import AudioConnectorError
from vonage_audio_connector_server.config import (
    AudioConnectorConfig,
    AudioConnectorServerConfig,
    check_lead_s,
    shared_options,
)
from vonage_audio_connector_server.connection_data import AudioConnectorConnectionData
from vonage_audio_connector_server.core.wire import DEFAULT_CLEAR_COMMANDS
from vonage_audio_connector_server.errors import (
    AudioConnectorClosedError,
    AudioConnectorConfigError,
    AudioConnectorProtocolError,
    MissingExtraError,
)
from vonage_audio_connector_server.formats import AudioFormat

# AudioFormat


@pytest.mark.parametrize(
    ("rate_hz", "samples", "size_bytes"), [(8_000, 160, 320), (16_000, 320, 640), (24_000, 480, 960)]
)
def test_frame_of_a_format(rate_hz: int, samples: int, size_bytes: int) -> None:
    audio_format = AudioFormat(rate_hz)
    assert audio_format.frame_samples == samples
    assert audio_format.frame_bytes == size_bytes
    assert audio_format.frame_s == 0.02
    assert audio_format.content_type == f"audio/l16;rate={rate_hz}"
    assert AudioFormat.from_content_type(audio_format.content_type) == audio_format
    assert AudioFormat.from_frame_bytes(size_bytes) == audio_format


def test_default_format_is_16_khz() -> None:
    assert AudioFormat() == AudioFormat(16_000, 20)


@pytest.mark.parametrize("rate_hz", [0, -8_000, 7_900, 11_025, 22_050, 48_100])
def test_rates_that_do_not_cut_into_frames_are_no_format(rate_hz: int) -> None:
    assert AudioFormat.from_rate(rate_hz) is None


@pytest.mark.parametrize("rate_hz", [8_000, 32_000, 44_100, 48_000])
def test_rates_that_cut_into_whole_10_ms_are_a_format(rate_hz: int) -> None:
    assert AudioFormat.from_rate(rate_hz) == AudioFormat(rate_hz)


@pytest.mark.parametrize("size_bytes", [0, 160, 480, 641, 1_280])
def test_other_sizes_tell_no_format(size_bytes: int) -> None:
    assert AudioFormat.from_frame_bytes(size_bytes) is None


# AudioConnectorConnectionData


def connection_data() -> AudioConnectorConnectionData:
    return AudioConnectorConnectionData(
        id="1",
        uri="/call?room=7",
        headers=Headers(
            raw=[(b"authorization", b"Bearer hidden"), (b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"::2")]
        ),
        session_id="s",
        connection_id="c",
        conference_id="f",
        custom={"pin": "hidden"},
    )


def test_reference_names_are_the_same_values() -> None:
    data = connection_data()
    assert (data.sessionId, data.connectionId, data.conferenceId) == ("s", "c", "f")
    assert data.customHeaders == {"authorization": "Bearer hidden", "x-forwarded-for": "1.1.1.1, ::2"}


def test_a_repeated_header_keeps_all_values() -> None:
    assert connection_data().headers.getlist("X-Forwarded-For") == ["1.1.1.1", "::2"]


def test_ids_are_none_where_no_header_told_them() -> None:
    data = AudioConnectorConnectionData(id="1", uri="/", headers=Headers())
    assert (data.sessionId, data.connectionId, data.conferenceId) == (None, None, None)
    assert data.customHeaders == data.custom == {}
    assert data.audio_format is None


def test_repr_of_connection_data_shows_no_header_and_no_custom_value() -> None:
    text = repr(connection_data())
    assert "hidden" not in text
    assert "1.1.1.1" not in text
    assert "session_id='s'" in text


def test_connection_data_can_not_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        connection_data().uri = "/other"  # type: ignore[misc]


# Errors


def test_errors_are_also_what_callers_expect() -> None:
    assert issubclass(AudioConnectorClosedError, ConnectionError)
    assert AudioConnectorProtocolError("too big", close_code=1009).close_code == 1009
    missing = MissingExtraError("the command", "cli")
    assert isinstance(missing, AudioConnectorError)
    assert isinstance(missing, ImportError)
    assert "pip install 'vonage-audio-connector-server[cli]'" in str(missing)


# Configuration


def server_config(**settings: Any) -> AudioConnectorServerConfig:
    return AudioConnectorServerConfig(**{"host": "localhost", "port": 0, **settings})


def no_argument() -> None: ...


def two_arguments(client: object, other: object) -> None: ...


def keyword_only(*, client: object) -> None: ...


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", "x"),
        ("port", ""),
        ("port", " 8765"),
        ("port", "70000"),
        ("port", "-1"),
        ("port", 70_000),
        ("port", -1),
        ("port", True),
        ("port", 80.0),
        ("port", None),
        ("host", ""),
        ("host", " "),
        ("host", None),
        ("host", b"localhost"),
        ("ssl", True),
        ("ssl", "cert.pem"),
        ("rate_hz", 44_100),
        ("rate_hz", "16000"),
        ("rate_hz", None),
        ("lead_s", 0),
        ("lead_s", 0.039),
        ("lead_s", 15.1),
        ("lead_s", -1.0),
        ("lead_s", float("nan")),
        ("lead_s", float("inf")),
        ("lead_s", "0.2"),
        ("lead_s", True),
        ("lead_s", None),
        ("max_message_bytes", 1_023),
        ("max_message_bytes", 65_536.0),
        ("max_message_bytes", None),
        ("clear_commands", '{"action":"clear"}'),
        ("clear_commands", ["clear"]),
        ("clear_commands", ["[]"]),
        ("clear_commands", [{"action": "clear"}]),
        ("clear_commands", b"{}"),
        ("on_connect", "on_connect"),
        ("on_connect", no_argument),
        ("on_connect", two_arguments),
        ("on_connect", keyword_only),
        ("on_start", 5),
        ("on_stop", "stop"),
    ],
)
def test_a_wrong_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(AudioConnectorConfigError, match=f"^{field} must be ") as caught:
        server_config(**{field: value})
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AudioConnectorError)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        pytest.param("rate_hz", lambda: 16_000.0, id="a rate that is no int: frames can't be cut by it"),
        pytest.param("clear_commands", lambda: None, id="no sequence"),
        pytest.param("clear_commands", lambda: (text for text in ["{}"]), id="an iterator: used up by the check"),
        pytest.param("clear_commands", lambda: ["[" * 100_000], id="deep nesting"),
        pytest.param("port", lambda: "9" * 5_000, id="5,000 digits"),
        pytest.param("ssl", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), id="a client's SSLContext"),
        pytest.param("on_start", lambda: two_arguments, id="on_start with arguments"),
    ],
)
def test_these_wrong_settings_are_named_too(field: str, make: Callable[[], object]) -> None:
    with pytest.raises(AudioConnectorConfigError, match=f"^{field} must be "):
        server_config(**{field: make()})


@pytest.mark.parametrize(("given", "port"), [("8765", 8_765), (8_765, 8_765), (0, 0), ("0", 0), (65_535, 65_535)])
def test_port_may_be_a_text_of_digits(given: int | str, port: int) -> None:
    assert server_config(port=given).port == port


class Handler:
    async def method(self, client: object) -> None: ...

    def __call__(self, client: object, more: int = 1) -> None: ...


@pytest.mark.parametrize(
    "on_connect",
    [None, lambda client: None, Handler().method, Handler(), functools.partial(two_arguments, 1), print, int],
)
def test_on_connect_may_be_anything_that_takes_a_client(on_connect: Any) -> None:
    assert AudioConnectorConfig(on_connect=on_connect).on_connect is on_connect


@pytest.mark.parametrize(
    "settings",
    [
        {"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
        {"lead_s": 0.04},
        {"lead_s": 15},
        {"rate_hz": 8_000},
        {"rate_hz": 24_000},
        {"max_message_bytes": 1_024},
        {"clear_commands": []},
        {"clear_commands": ['{"event":"clearAudio"}']},
        {"host": "::1"},
        {"on_start": lambda: None, "on_stop": lambda: None},
    ],
)
def test_right_settings_are_kept(settings: dict[str, Any]) -> None:
    config = server_config(**settings)
    for field, value in settings.items():
        assert getattr(config, field) == value


def test_defaults() -> None:
    config = AudioConnectorConfig()
    assert (config.rate_hz, config.lead_s, config.max_message_bytes) == (16_000, 0.2, 65_536)
    assert config.clear_commands == DEFAULT_CLEAR_COMMANDS
    assert config.audio_format == AudioFormat(16_000)


def test_shared_options_make_the_same_configuration_again() -> None:
    config = server_config(rate_hz=8_000, lead_s=1.0, on_connect=lambda client: None)
    shared = AudioConnectorConfig(**shared_options(config))
    assert (shared.rate_hz, shared.lead_s, shared.on_connect) == (8_000, 1.0, config.on_connect)


def test_a_wrong_lead_is_named_as_the_caller_calls_it() -> None:
    check_lead_s("active_seconds", 15.0)
    with pytest.raises(AudioConnectorConfigError, match=r"^active_seconds must be 0\.04 to 15\.0 seconds, not 20$"):
        check_lead_s("active_seconds", 20)
