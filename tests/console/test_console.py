"""The console without a browser: who gets in, and a call of its page, on asyncio and trio."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from vonage_audio_connector_server import AudioConnector, Client, SharedSecret
from vonage_audio_connector_server.audio.levels import is_loud
from vonage_audio_connector_server.console import page_call
from vonage_audio_connector_server.recording.recorder import MemoryRecorder

ORIGIN = "http://127.0.0.1:8765"
TALK = "ws://127.0.0.1:8765/console/talk"
LOUD = b"\x00\x20\x00\xe0" * 160


async def echo(client: Client) -> None:
    """Says back what is loud and tells what it is told."""

    def on_message(message: bytes | str) -> None:
        if isinstance(message, str):
            client.send_json_packet({"text": message})
        elif any(message):
            client.send_audio_buffer(message)

    client.set_handler(on_message=on_message)


@pytest.fixture(params=["asyncio", "trio"])
def visit(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A browser on this machine that has opened the link of a connector."""

    @contextmanager
    def visit(connector: AudioConnector, app: Any = None, prefix: str = "") -> Iterator[TestClient]:
        options: Any = {"backend": request.param, "base_url": ORIGIN, "client": ("127.0.0.1", 40_000)}
        with TestClient(app or connector, **options) as browser:
            assert browser.get(f"{prefix}{connector.console_link}").status_code == 200
            browser.headers["origin"] = ORIGIN
            yield browser

    return visit


def take(page: WebSocketTestSession, key: str) -> Any:
    """The next text that has this key."""
    while True:
        message = page.receive()
        assert message["type"] == "websocket.send", message
        if message.get("text") and key in (told := json.loads(message["text"])):
            return told[key]


def begin(page: WebSocketTestSession, **start: Any) -> None:
    page.send_json({"start": start})
    assert take(page, "connected")["frame_bytes"] == start.get("rate_hz", 16_000) // 25


def test_it_is_off_by_default() -> None:
    connector = AudioConnector(echo)

    assert connector.console_link is None
    with TestClient(connector) as browser:
        assert browser.get("/console").status_code == 404


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(ValueError, match="console must be True, False or 'anywhere', not 'yes'"):
        AudioConnector(echo, console="yes")  # type: ignore[arg-type]


def test_the_page_allows_nothing_from_elsewhere_and_the_token_moves_into_a_cookie(visit: Callable[..., Any]) -> None:
    connector = AudioConnector(echo, console=True)
    with visit(connector) as browser:
        moved = browser.get(connector.console_link, follow_redirects=False)
        page = browser.get("/console")

    assert (moved.status_code, moved.headers["location"]) == (303, "/console")
    assert re.search("httponly", moved.headers["set-cookie"], re.IGNORECASE)
    assert "samesite=strict" in moved.headers["set-cookie"].lower()
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert '<option value="librivox-2">' in page.text
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-store")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page.text)


def test_the_parts_of_the_page_are_served_and_nothing_else(visit: Callable[..., Any]) -> None:
    connector = AudioConnector(echo, console=True)
    with visit(connector) as browser:
        page = browser.get("/console")
        parts = [part.removeprefix("console/") for part in re.findall(r'(?:src|href)="(console/[^"]+)"', page.text)]
        assert parts == ["page.css", "page.js"]
        for part in (*parts, "worklets.js"):
            answer = browser.get(f"/console/{part}")
            kind = "text/css" if part.endswith(".css") else "text/javascript"
            assert (answer.status_code, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
            assert answer.headers["cache-control"] == "no-store"
        for other in ("page.html", "nothing.js", "..%2Fapp.py", "%2E%2E%2Fapp.py"):
            assert browser.get(f"/console/{other}").status_code == 404
        assert str(browser.get("/console/").url).endswith("8765/console")


@pytest.mark.parametrize(
    ("options", "headers", "told"),
    [
        ({}, {}, "its token is missing"),
        ({"base_url": "http://evil.example:8765"}, {}, "under the names localhost and 127.0.0.1 alone"),
        ({"client": ("192.0.2.7", 40_000)}, {}, "answers this machine alone"),
        ({}, {"x-forwarded-for": "127.0.0.1"}, "answers this machine alone"),
        ({}, {"origin": "http://evil.example"}, "not to that of another site"),
        ({}, {"origin": "http://127.0.0.1:9999"}, "not to that of another site"),
        ({}, {"origin": "null"}, "not to that of another site"),
        ({"base_url": "http://[::2]:8765"}, {}, "under the names localhost and 127.0.0.1 alone"),
        ({}, {"host": "[oops"}, "under the names localhost and 127.0.0.1 alone"),
        ({"client": ("testclient", 50_000)}, {}, "answers this machine alone"),
    ],
)
def test_who_is_not_let_in(options: dict[str, Any], headers: dict[str, str], told: str) -> None:
    connector = AudioConnector(echo, console=True)
    where: Any = {"base_url": ORIGIN, "client": ("127.0.0.1", 40_000)} | options
    assert connector.console_link is not None
    token = connector.console_link if told != "its token is missing" else "/console?token=wrong"
    with TestClient(connector, **where) as browser:
        answer = browser.get(token, headers=headers)

        assert (answer.status_code, told in answer.text) == (403, True)
        for path in ("/console/calls", "/console/kept/x/recording.wav"):
            assert browser.get(path, headers=headers).status_code == 403
        with pytest.raises(WebSocketDisconnect), browser.websocket_connect(TALK, headers=headers):
            pass


def test_a_page_without_an_origin_gets_no_call(visit: Callable[..., Any]) -> None:
    connector = AudioConnector(echo, console=True)
    with visit(connector) as browser:
        del browser.headers["origin"]
        with pytest.raises(WebSocketDisconnect), browser.websocket_connect(TALK):
            pass


@pytest.mark.parametrize(("base_url", "client"), [("http://localhost", "::1"), ("http://[::1]:80", "::ffff:127.0.0.1")])
def test_this_machine_has_several_names(base_url: str, client: str) -> None:
    connector = AudioConnector(echo, console=True)
    assert connector.console_link is not None
    with TestClient(connector, base_url=base_url, client=(client, 40_000)) as browser:
        assert browser.get(connector.console_link).status_code == 200
        assert browser.get("/console/calls").status_code == 200


def test_two_consoles_on_one_machine_keep_apart() -> None:
    first, second = AudioConnector(echo, console=True), AudioConnector(echo, console=True)
    cookies = []
    for connector, port in ((first, 8765), (second, 8766)):
        where: Any = {"base_url": f"http://127.0.0.1:{port}", "client": ("127.0.0.1", 40_000)}
        with TestClient(connector, **where) as browser:
            assert connector.console_link is not None
            cookies += browser.get(connector.console_link, follow_redirects=False).headers["set-cookie"].split(";")[:1]
    browser = TestClient(first, base_url=ORIGIN, client=("127.0.0.1", 40_000), headers={"cookie": "; ".join(cookies)})
    assert browser.get("/console/calls").status_code == 200


def test_other_machines_are_let_in_where_that_was_asked_for() -> None:
    connector = AudioConnector(echo, console="anywhere")
    where: Any = {"base_url": "http://bots.example", "client": ("192.0.2.7", 40_000)}
    with TestClient(connector, **where) as browser:
        assert connector.console_link is not None
        assert browser.get(connector.console_link).status_code == 200
        assert browser.get("/console/calls", headers={"origin": "http://evil.example"}).status_code == 403


def test_a_call_of_the_page(visit: Callable[..., Any]) -> None:
    connector = AudioConnector(echo, console=True)
    with visit(connector) as browser:
        with browser.websocket_connect(TALK) as page:
            begin(page, rate_hz=16_000, headers={"caller": "Ann"}, router="strict")
            for _ in range(20):
                page.send_bytes(LOUD)
            page.send_json({"press": "5#"})
            page.send_json({"mute": True})
            page.send_json({"mute": False})
            page.send_json({"dance": True})
            heard = b""
            told: list[dict[str, Any]] = []
            problems: list[str] = []
            while len(told) < 5 or LOUD not in heard:
                message = page.receive()
                heard += message.get("bytes") or b""
                text = json.loads(message.get("text") or "{}")
                problems += [text["problem"]] if "problem" in text else []
                if text.get("event", {}).get("from") == "program":
                    told.append(json.loads(json.loads(text["event"]["text"])["text"]))
            assert told[0]["caller"] == "Ann"
            assert [one["digit"] for one in told if "digit" in one] == ["5", "#"]
            assert [one["active"] for one in told if "active" in one] == [False, True]
            assert "does not know {'dance': True}" in problems[0]

            calls = browser.get("/console/calls").json()
            assert [call["stats"]["texts_out"] > 0 for call in calls["live"]] == [True]
            page.send_json({"hang_up": True})
            ended = take(page, "ended")
        assert (ended["code"], ended["by"], ended["error"]) == (1000, "simulator", None)

        kept = f"/console/kept/{ended['kept']}"
        assert browser.get(f"{kept}/recording.wav").content[:4] == b"RIFF"
        lines = [json.loads(line) for line in browser.get(f"{kept}/events.jsonl").text.splitlines()]
        assert next(json.loads(line["text"]) for line in lines if line.get("from") == "session")["caller"] == "Ann"
        report = browser.get(f"{kept}/report.html")
        assert report.headers["content-security-policy"].startswith("sandbox allow-scripts")
        assert "The session hung up" in report.text or "A call from the console" in report.text
        assert browser.get(f"{kept}/nothing").status_code == 404
        ended_calls = browser.get("/console/calls").json()
        assert ended_calls["live"] == []
        assert "closed by the session with 1000" in ended_calls["ended"][0]["report"]


def test_a_recording_speaks_and_an_interruption_is_told(visit: Callable[..., Any]) -> None:
    connector = AudioConnector(echo, console=True)
    with visit(connector) as browser, browser.websocket_connect(TALK) as page:
        begin(page, rate_hz=8_000, transport="json")
        page.send_json({"say": "go-forward-ten-meters"})
        while not is_loud(page.receive().get("bytes") or b"\0\0"):
            pass
        page.send_json({"interrupt": True})
        while "interrupted_at_s" not in (turn := take(page, "turn")):
            pass
        assert turn["heard_s"] > 0


def test_a_program_that_fails_and_one_that_lets_nobody_in_are_told(visit: Callable[..., Any]) -> None:
    async def failing(client: Client) -> None:
        raise LookupError("on purpose")

    with visit(connector := AudioConnector(failing, console=True)) as browser:
        with browser.websocket_connect(TALK) as page:
            begin(page)
            assert take(page, "ended")["code"] == 1011
    guarded = AudioConnector(echo, console=True, authorize=SharedSecret("a-long-secret-value", query="token"))
    with visit(guarded) as browser:
        with browser.websocket_connect(TALK) as page:
            page.send_json({"start": {}})
            assert "HTTP 403: authorize said no" in take(page, "error")
        with browser.websocket_connect(TALK) as page:
            begin(page, path="/?token=a-long-secret-value")
        with browser.websocket_connect(TALK) as page:
            page.send_json({"start": {"rate_hz": 11_025}})
            assert "rate_hz must be 8000, 16000 or 24000" in take(page, "error")
            with pytest.raises(WebSocketDisconnect):
                page.receive_text()
    assert connector.connections == guarded.connections == 0


def test_the_call_is_one_of_the_server_around_it(visit: Callable[..., Any]) -> None:
    kept = MemoryRecorder()
    seen: list[Any] = []

    def on_connect(client: Client) -> None:
        seen.append((client.request.url.path, client.query_params["from"], client.state.model, client.request.app))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"model": "parrot"}

    connector = AudioConnector(on_connect, console=True, recorder=kept)
    app = FastAPI(lifespan=lifespan)
    app.mount("/vonage", connector)
    with visit(connector, app, "/vonage") as browser:
        with browser.websocket_connect(TALK.replace("/console", "/vonage/console")) as page:
            begin(page, path="/3?from=Ann")
            assert browser.get("/vonage/console/calls").json()["live"][0]["place"].startswith("/vonage/3")
    assert seen == [("/vonage/3", "Ann", "parrot", app)]
    assert kept.recordings == []  # it is none of a customer's


def test_a_call_that_was_forgotten_is_ended(visit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_call, "MOST_S", 0.3)
    with visit(AudioConnector(echo, console=True)) as browser, browser.websocket_connect(TALK) as page:
        begin(page)
        assert "ends a call after" in take(page, "problem")
        assert take(page, "ended")["by"] == "simulator"


def test_what_needs_an_extra_is_told_and_the_call_goes_on(
    visit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with visit(AudioConnector(echo, console=True)) as browser, browser.websocket_connect(TALK) as page:
        begin(page, rate_hz=24_000)
        page.send_json({"interrupt": True})
        assert "pip install" in take(page, "problem")
        page.send_json({"hang_up": True})
        assert take(page, "ended")["code"] == 1000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"start": 1}', '{"start": {"path": "no-slash"}}', "not JSON"])
def test_settings_that_are_none_are_told(visit: Callable[..., Any], text: str) -> None:
    with visit(AudioConnector(echo, console=True)) as browser, browser.websocket_connect(TALK) as page:
        page.send_text(text)
        assert take(page, "error")


def test_a_page_that_goes_hangs_up(visit: Callable[..., Any]) -> None:
    connector = AudioConnector(echo, console=True)
    with visit(connector) as browser:
        with browser.websocket_connect(TALK) as page:
            begin(page)
        assert browser.get("/console/calls").json()["live"] == []
    assert connector.connections == 0


def test_it_is_mounted_with_its_connector(visit: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    connector = AudioConnector(echo, console=True)
    app = FastAPI(lifespan=connector.lifespan)
    app.mount("/vonage", connector)
    with caplog.at_level("INFO"), visit(connector, app, "/vonage") as browser:
        assert browser.get("/vonage/console").status_code == 200
        with browser.websocket_connect(TALK.replace("/console", "/vonage/console")) as page:
            begin(page)

    assert f"/console?token={(connector.console_link or '').partition('=')[2]}" in caplog.text
