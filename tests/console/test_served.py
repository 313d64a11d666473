"""The console of our own server: beside any application, whose calls it opens; it ends with the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # as the server is


def talk(console_url: str) -> connect:
    """The call of a page that has the link."""
    parts = urlsplit(console_url)
    return connect(f"ws://{parts.netloc}/console/talk?{parts.query}", origin=f"http://{parts.netloc}")  # type: ignore[arg-type]


async def take(page: ClientConnection, key: str) -> Any:
    async for message in page:
        if isinstance(message, str) and key in (told := json.loads(message)):
            return told[key]
    raise AssertionError(f"the console went away without {key}")


async def test_an_application_with_a_connector_somewhere_in_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    app, connector, bots = FastAPI(), AudioConnector(), []

    @app.websocket("/vonage/{bot_id}")
    async def vonage(websocket: WebSocket, bot_id: str) -> None:
        bots.append(bot_id)
        async with connector.connect(websocket) as client:
            async for _ in client:
                pass

    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, app=app, console=True)
    async with await Video().start_audio_connector_server(config) as handle:
        assert handle.console_url is not None
        assert caplog.messages[-1] == f"the console is at {handle.console_url}"
        async with talk(handle.console_url) as page:
            await page.send(json.dumps({"start": {"path": "/vonage/parrot"}}))
            await take(page, "connected")
            await page.send(json.dumps({"hang_up": True}))
            assert (await take(page, "ended"))["error"] is None
        async with talk(handle.console_url) as page:
            await page.send(json.dumps({"start": {"path": "/elsewhere"}}))
            assert "nothing answers on that path" in await take(page, "error")
        with pytest.raises(InvalidStatus):
            await talk(handle.console_url.replace("token=", "token=x")).__aenter__()
    assert bots == ["parrot"]


async def test_an_application_that_raises_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            raise LookupError("on purpose")

    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, app=app, console=True)
    async with await Video().start_audio_connector_server(config) as handle:
        assert handle.console_url is not None
        async with talk(handle.console_url) as page:
            await page.send(json.dumps({"start": {}}))
            assert "LookupError('on purpose')" in (await take(page, "ended"))["error"]
    assert "a call of the console failed" in caplog.messages


async def test_the_call_ends_with_the_server() -> None:
    async def on_connect(client: Client) -> None:
        await client.send_audio_buffer(bytes(640 * 50))

    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect, console=True)
    handle = await Video().start_audio_connector_server(config)
    assert handle.console_url is not None
    async with asyncio.timeout(5), talk(handle.console_url) as page:
        await page.send(json.dumps({"start": {}}))
        await take(page, "connected")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(handle.stop(drain_s=0))
            assert (await take(page, "ended"))["code"] == 1012
    assert not handle.running


async def test_none_unless_it_is_asked_for() -> None:
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=lambda client: None)
    async with await Video().start_audio_connector_server(config) as handle:
        assert handle.console_url is None
