"""What strangers and callers leave in the log: one line each, and never without a limit."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conftest import FIRST_MESSAGE
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from vonage_audio_connector_server import AudioConnectorServerConfig, SharedSecret, Video, sparing

pytestmark = pytest.mark.anyio

SECRET = "0123456789abcdef"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def at_the_door(**settings: Any) -> AsyncIterator[str]:
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, **settings)
    async with await Video().start_audio_connector_server(config) as handle:
        yield handle.get_address()


async def knock_once(url: str) -> int:
    try:
        async with connect(url, proxy=None) as peer:
            await peer.send(FIRST_MESSAGE)
            return 101
    except InvalidStatus as exc:
        return exc.response.status_code


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the server has logged at INFO or above, without its start and its end."""
    dull = ("Started server", "Shutting down", "Finished server", "listening on")
    told = [record for record in caplog.records if record.levelno >= logging.INFO]
    messages = (record.getMessage() for record in told if record.name != "websockets.client")
    return [message for message in messages if not message.startswith(dull)]


@pytest.mark.parametrize(
    ("settings", "status", "reason"),
    [
        ({"authorize": lambda info: False}, 403, "authorize said no: /room from 127.0.0.1"),
        (
            {"authorize": SharedSecret(SECRET, query="secret")},
            403,
            "refused, its secret is not ours",
        ),
    ],
)
async def test_a_refusal_is_one_line(
    settings: dict[str, Any], status: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with at_the_door(**settings) as url:
        assert await knock_once(f"{url}/room?secret=wrongwrongwrong1") == status
    told = lines_of(caplog)
    assert len(told) == 1, told
    assert reason in told[0]
    assert "wrongwrong" not in told[0]


async def test_a_call_is_two_lines_its_begin_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with at_the_door() as url:
        assert await knock_once(f"{url}/room?token=S3CRET") == 101
    begun, closed = lines_of(caplog)
    assert begun.endswith("begun, /room from 127.0.0.1, 16000 Hz")
    assert "closed by the session with 1000" in closed


def test_warnings_of_a_kind_are_counted_after_a_few(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("vonage_audio_connector_server.sparing.monotonic", lambda: now_s)
    monkeypatch.setattr(sparing, "_kinds", {})
    for number in range(100):
        sparing.warn("peer %d did it", number)
    sparing.warn("another kind")
    assert [record.getMessage() for record in caplog.records] == [
        *(f"peer {number} did it" for number in range(sparing.MOST)),
        "another kind",
    ]
    caplog.clear()
    now_s += sparing.WINDOW_S + 1
    sparing.warn("peer %d did it", 100)
    assert [record.getMessage() for record in caplog.records] == ["peer 100 did it (and 80 more like this since)"]
