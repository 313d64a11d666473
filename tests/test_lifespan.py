"""`on_start` and `on_stop`: alone they run by themselves, mounted the parent's lifespan enters them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.testclient import TestClient

from vonage_audio_connector_server import AudioConnector


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def make_connector(told: list[str]) -> AudioConnector:
    async def on_start() -> None:
        told.append("start")

    return AudioConnector(on_start=on_start, on_stop=lambda: told.append("stop"))


def test_alone_it_runs_by_itself(backend: Any) -> None:
    told: list[str] = []
    with TestClient(make_connector(told), backend=backend):
        assert told == ["start"]
    assert told == ["start", "stop"]


@pytest.mark.parametrize("framework", [FastAPI, Starlette])
def test_mounted_the_parent_enters_it(backend: Any, framework: Any) -> None:
    told: list[str] = []
    connector = make_connector(told)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with connector.lifespan(app):
            told.append("parent")
            yield

    app = framework(lifespan=lifespan)
    app.mount("/vonage", connector)
    with TestClient(app, backend=backend):
        assert told == ["start", "parent"]
    assert told == ["start", "parent", "stop"]


def test_a_failing_on_start_fails_the_start(backend: Any) -> None:
    def on_start() -> None:
        raise LookupError("no model")

    with (
        pytest.raises(LookupError, match="no model"),
        TestClient(AudioConnector(on_start=on_start), backend=backend),
    ):
        pass
