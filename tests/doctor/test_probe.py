"""What doctor asks in its handshake, and what a connector answers: words of a fixed list, and nothing that came."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from vonage_audio_connector_server import AudioConnector
from vonage_audio_connector_server.admission.probe import HEADER, USER_AGENT, answer, question, read

from .examining import SECRET, echo, mounted

NONCE = "0123456789abcdef" * 2
URI = f"/vonage?secret={SECRET}&room=7"
SENT = {"X-Room": "t0ps3cret-7", "authorization": "Bearer abc"}


def asked(uri: str = URI, came: dict[str, str] | None = None, *, is_refused: bool = False) -> str | None:
    """The answer to a question about what was sent, where this came."""
    headers = {HEADER: question(NONCE, URI, SENT)} | (SENT if came is None else came)
    return answer(uri, Headers(headers), is_refused=is_refused)


@pytest.mark.parametrize(
    ("uri", "came", "told"),
    [
        (URI, None, "path=kept;query=kept;headers=kept,kept"),
        ("/bot" + URI, None, "path=changed;query=kept;headers=kept,kept"),
        ("/vonage", None, "path=kept;query=lost;headers=kept,kept"),
        ("/vonage?room=7", None, "path=kept;query=changed;headers=kept,kept"),
        (URI, {"x-room": "8"}, "path=kept;query=kept;headers=changed,lost"),
        (URI, {"x-room": "", "authorization": "Bearer abc"}, "path=kept;query=kept;headers=changed,kept"),
    ],
)
def test_an_answer(uri: str, came: dict[str, str] | None, told: str) -> None:
    assert asked(uri, came) == told


def test_one_of_several_values_is_enough() -> None:
    raw = [(HEADER.encode(), question(NONCE, "/", {"x-a": "1"}).encode()), (b"x-a", b"2"), (b"x-a", b"1")]
    assert answer("/", Headers(raw=raw)) == "path=kept;query=kept;headers=kept"


def test_an_address_without_a_query() -> None:
    headers = Headers({HEADER: question(NONCE, "/vonage", {})})
    assert answer("/vonage", headers) == "path=kept;query=kept"
    assert answer("/vonage?a=b", headers) == "path=kept;query=changed"


def test_who_is_refused_is_told_nothing_of_headers() -> None:
    assert asked(is_refused=True) == "path=kept;query=kept"


def test_who_asks_nothing_gets_no_answer() -> None:
    assert answer(URI, Headers({"user-agent": "Mozilla/5.0"})) is None


def test_a_lost_question_is_told() -> None:
    assert answer(URI, Headers({"user-agent": USER_AGENT})) == "question=lost"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2" + question(NONCE, URI, SENT)[1:],
        question(NONCE, URI, SENT) + "\r\nset-cookie: a=b",
        question(NONCE, URI, {})[:-1],
        question(NONCE, URI, {}) + ";x-a=0123456789abcdef" * 17,
        question(NONCE, URI, {f"x-{'a' * 4096}": "1"}),
        "1;" + "é" * 32,
    ],
)
def test_what_is_no_question_gets_no_more_than_a_word(value: str) -> None:
    assert answer(URI, Headers({HEADER: value})) == "question=changed"


def test_nothing_that_was_sent_is_in_the_question_or_the_answer() -> None:
    sent, told = question(NONCE, URI, SENT), asked()
    assert told is not None
    for secret in (SECRET, *SENT.values()):
        assert secret not in sent + told
    assert question("f" * 32, URI, SENT).split(";")[2:] != sent.split(";")[2:]
    assert re.fullmatch(r"[a-z=;,]+", told)  # whatever comes


@pytest.mark.parametrize("value", [None, "path=kept;query=stolen", "hello", "path=kept;more=kept", "<script>"])
def test_what_is_no_answer_is_none(value: str | None) -> None:
    assert read(value) is None


def test_an_answer_is_read() -> None:
    told = read("path=kept;query=lost;headers=kept,changed")
    assert told is not None
    assert (told.question, told.path, told.query, told.headers) == ("kept", "kept", "lost", ("kept", "changed"))
    assert read("upgrade=lost") is not None


# In the connector


def accepted(client: TestClient, headers: dict[str, str]) -> dict[str, str]:
    """The headers of the answer to a handshake that is accepted."""
    with client.websocket_connect("/vonage?room=7", headers=headers) as session:
        pairs: list[tuple[bytes, bytes]] = session.extra_headers or []
        return {name.decode(): value.decode() for name, value in pairs}


def test_a_connector_answers_whom_it_lets_in() -> None:
    with TestClient(mounted(AudioConnector(echo))) as client:
        asks = {HEADER: question(NONCE, "/vonage?room=7", {"x-a": "1"}), "x-a": "1"}
        assert accepted(client, asks) == {HEADER: "path=kept;query=kept;headers=kept"}
        assert accepted(client, {"x-a": "1"}) == {}


@pytest.mark.parametrize("way", ["mounted", "endpoint"])
def test_a_connector_answers_whom_it_refuses(way: str) -> None:
    connector = AudioConnector(echo, authorize=lambda info: False)
    app: Any = mounted(connector)
    if way == "endpoint":

        async def call(websocket: WebSocket) -> None:
            async with connector.connect(websocket):
                pass

        app.add_api_websocket_route("/call", call)

    path = "/vonage" if way == "mounted" else "/call"
    with TestClient(app) as client:
        asks = {HEADER: question(NONCE, path, {"x-a": "1"}), "x-a": "1"}
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(path, headers=asks):
            pass
        assert refused.value.status_code == 403
        assert refused.value.headers[HEADER] == "path=kept;query=kept"
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect(path):
            pass
        assert HEADER not in getattr(closed.value, "headers", {})


def test_an_ordinary_request_of_doctor_is_told_what_it_is() -> None:
    with TestClient(AudioConnector(echo)) as client:
        told = client.get("/", headers={HEADER: question(NONCE, "/", {})})
        assert (told.status_code, told.headers[HEADER], told.headers["upgrade"]) == (426, "upgrade=lost", "websocket")
        assert client.get("/").status_code == 404
        assert client.get("/", headers={"user-agent": "curl/8"}).headers.get(HEADER) is None
