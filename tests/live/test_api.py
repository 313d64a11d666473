"""Vonage's REST API by Vonage's packages: what is sent, and that each refusal is one sentence without a secret."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import pytest

from vonage_audio_connector_server import MissingExtraError
from vonage_audio_connector_server.errors import AudioConnectorSessionError
from vonage_audio_connector_server.live import api
from vonage_audio_connector_server.live.api import open_api
from vonage_audio_connector_server.live.credentials import Credentials, VonageApplication

from .conftest import assert_no_secret, told_by
from .fake_api import APPLICATION_ID, Asked, FakeAPI, never

WEBSOCKET = {
    "uri": "wss://bot.example.com/?token=" + "t" * 76,
    "audioRate": 24_000,
    "headers": {"authorization": "Bearer " + "b" * 40},
    "bidirectional": True,
    "audioTransport": {"transport": "json", "encoding": "base64", "audio_field": "a", "receive_audio_field": "b"},
}


def test_what_is_sent_is_what_was_given(fake: FakeAPI, credentials: Credentials, session_id: str) -> None:
    """All of it: the packages by themselves lose, refuse or change 24 kHz and the JSON transport."""
    fake.router = never
    started = open_api(credentials).connect(session_id, WEBSOCKET)
    assert started.connection_id in fake.legs
    assert started.id == "b0a70000"
    (asked,) = fake.asked
    assert asked.body == {"sessionId": session_id, "token": asked.body["token"], "websocket": WEBSOCKET}


def test_who_is_gone_is_no_error(fake: FakeAPI, credentials: Credentials, session_id: str) -> None:
    open_api(credentials).disconnect(session_id, "nobody")
    assert [one.method for one in fake.asked] == ["DELETE"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((400, {"message": "no"}), "HTTP 400: the session id, the address or another value is wrong (it says: no)"),
        ((403, {"message": "no"}), "HTTP 403: the credentials are not accepted"),
        ((404, {"message": "no"}), "HTTP 404: it knows no such session or project"),
        ((409, {"message": "no"}), "HTTP 409: the session is not a routed one"),
        ((429, {"message": "no"}), "HTTP 429: there were too many requests"),
        ((418, {"message": "no"}), "HTTP 418: it refuses what was asked for"),
        ((500, b"<html>"), "HTTP 500: it has a fault of its own"),
        ((200, {"id": "x"}), "answered without a connectionId"),
        ((200, {"id": "x", "connectionId": "../../x"}), "answered without a connectionId"),
        ((200, b"<html>"), "answered with"),
        ((400, b"<html>"), "answered"),
    ],
)
def test_each_refusal_is_one_sentence(
    fake: FakeAPI, credentials: Credentials, session_id: str, answer: tuple[int, Any], told: str, private_key: str
) -> None:
    fake.answers = [answer]
    with pytest.raises(AudioConnectorSessionError) as caught:
        open_api(credentials).connect(session_id, WEBSOCKET)
    sentence = str(caught.value)
    assert sentence.startswith(f"{fake.host} ")
    if answer[0] == 200:
        assert "answered with" in sentence
        assert caught.value.status is None
    else:
        assert told.partition(" (it says")[0] in sentence
    assert "\n" not in sentence
    assert_no_secret(told_by(caught.value), fake, private_key)


@pytest.mark.parametrize("status", [400, 403, 500, 502])
def test_each_refusal_of_the_force_disconnect_has_its_status(
    fake: FakeAPI, credentials: Credentials, session_id: str, status: int
) -> None:
    fake.disconnect_status = [status]
    with pytest.raises(AudioConnectorSessionError, match=f"HTTP {status}") as caught:
        open_api(credentials).disconnect(session_id, "c-1")
    assert caught.value.status == status


def test_an_answer_that_repeats_the_request_shows_no_secret(
    fake: FakeAPI, credentials: Credentials, session_id: str, private_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def repeat(asked: Asked) -> tuple[int, Any]:
        fake.asked.append(asked)
        return 400, {"message": f"bad: {asked.body} {asked.credentials}"}

    monkeypatch.setattr(fake, "take", repeat)
    with pytest.raises(AudioConnectorSessionError, match="HTTP 400") as caught:
        open_api(credentials).connect(session_id, WEBSOCKET)
    assert "***" in str(caught.value)
    assert_no_secret(told_by(caught.value), fake, private_key)


def test_a_connection_that_is_closed_is_not_tried_again(
    fake: FakeAPI, credentials: Credentials, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package `vonage` asks up to ten times, and each connect call that came through is billed."""

    def close(asked: Asked) -> tuple[int, Any]:
        fake.asked.append(asked)
        raise ConnectionAbortedError  # the handler ends, and the connection with it

    monkeypatch.setattr(fake, "take", close)
    with pytest.raises(AudioConnectorSessionError, match="can't be reached"):
        open_api(credentials).connect(session_id, WEBSOCKET)
    assert len(fake.asked) == 1


def test_one_that_is_slow(
    fake: FakeAPI, credentials: Credentials, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "REST_S", 1)
    fake.hold = threading.Event()
    try:
        with pytest.raises(AudioConnectorSessionError, match="did not answer within 1 s, and may have done") as caught:
            open_api(credentials).connect(session_id, WEBSOCKET)
    finally:
        fake.hold.set()
    assert caught.value.status is None


def test_a_certificate_that_is_not_trusted(
    fake: FakeAPI, credentials: Credentials, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(AudioConnectorSessionError, match=r"certificate of .* is not trusted \(.*REQUESTS_CA_BUNDLE"):
        open_api(credentials).connect(session_id, WEBSOCKET)
    assert not fake.asked


@pytest.mark.parametrize("platform", ["project"])  # the package looks into no id of a session of an application
def test_a_session_of_another_project(fake: FakeAPI, credentials: Credentials) -> None:
    with pytest.raises(AudioConnectorSessionError, match="the session id is none of the project"):
        open_api(credentials).connect("2_MX5zb21ldGhpbmd-", WEBSOCKET)
    assert not fake.asked


def test_what_other_threads_log_is_not_lost(
    fake: FakeAPI, credentials: Credentials, session_id: str, platform: str, everything_logged: list[str]
) -> None:
    package = "vonage" if platform == "application" else "opentok"
    fake.hold = threading.Event()

    def log() -> None:
        assert fake.held.wait(10)
        logging.getLogger(package).warning("of another thread")
        assert fake.hold is not None
        fake.hold.set()

    fake.router = never
    thread = threading.Thread(target=log)
    thread.start()
    open_api(credentials).connect(session_id, WEBSOCKET)
    thread.join()
    assert f"{package}: of another thread" in everything_logged
    assert [line for line in everything_logged if line.startswith(package + ":")] == [f"{package}: of another thread"]


def test_a_key_that_is_damaged_is_one_sentence_and_is_not_shown(fake: FakeAPI, private_key: str) -> None:
    damaged = private_key[:200] + private_key[300:]
    with pytest.raises(AudioConnectorSessionError, match="the private key can't be used, it is damaged") as caught:
        open_api(VonageApplication(APPLICATION_ID, damaged, fake.host))
    assert_no_secret(told_by(caught.value), fake, private_key)


@pytest.mark.parametrize("missing", ["vonage", "opentok"])
def test_a_missing_package_is_one_sentence(
    credentials: Credentials, platform: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    if (missing == "vonage") is (platform == "application"):
        with pytest.raises(MissingExtraError, match=r"pip install 'vonage-audio-connector-server\[vonage\]'"):
            open_api(credentials)
    else:  # the other package is not needed
        open_api(credentials)


class TestWhatThePackagesDo:
    """Why the connect call isn't left to them. When one of these fails, look whether the detour is needed yet."""

    def test_vonage_drops_the_names_of_the_api(self) -> None:
        from vonage_video.models.audio_connector import AudioConnectorWebSocket

        made = AudioConnectorWebSocket(uri="wss://a", audioRate=8_000, audioTransport={"transport": "json"})
        assert made.model_dump(exclude_none=True, by_alias=True) == {"uri": "wss://a"}

    def test_vonage_refuses_24_khz(self) -> None:
        from pydantic import ValidationError
        from vonage_video.models.audio_connector import AudioConnectorWebSocket

        AudioConnectorWebSocket(uri="wss://a", audio_rate=16_000)
        with pytest.raises(ValidationError):
            AudioConnectorWebSocket(uri="wss://a", audio_rate=24_000)

    @pytest.mark.parametrize("platform", ["project"])
    def test_opentok_makes_a_text_of_the_transport(
        self, fake: FakeAPI, session_id: str, credentials: Credentials
    ) -> None:
        client: Any = vars(open_api(credentials))["_client"]
        transport = {"transport": "json", "encoding": "base64"}
        fake.answers = [(200, {"connectionId": "c-1"})]
        token = client.generate_token(session_id)
        client.connect_audio_to_websocket(session_id, token, {"uri": "wss://a", "audio_transport": transport})
        assert not isinstance(fake.asked.pop().body["websocket"].get("audioTransport"), dict)  # before 3.15: dropped

    def test_they_log_what_they_send(
        self,
        fake: FakeAPI,
        credentials: Credentials,
        platform: str,
        everything_logged: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(fake, "take", lambda asked: (200, {"connectionId": "c-1"}))
        opened = vars(open_api(credentials))
        if platform == "application":
            opened["_vonage"].http_client.post(fake.host, "/v2", {"token": "a-secret"})
        else:
            opened["_client"].connect_audio_to_websocket("s", "a-secret", {"uri": "wss://a"})
        assert any("a-secret" in line for line in everything_logged)
