"""Servers that are examined, and certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvicorn
from serving import on_own_thread

from vonage_audio_connector_server import AudioConnector, SharedSecret, WebSocketProtocol
from vonage_audio_connector_server.doctor import main_call

from .examining import SECRET, Certificates, echo, mounted


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """`serve(app)` serves it until the end of the test, and returns the port."""
    with ExitStack() as stack:

        def start(app: Any, **options: Any) -> int:
            config = uvicorn.Config(
                app, **{"ws": WebSocketProtocol, "log_config": None, "timeout_graceful_shutdown": 5} | options
            )
            return stack.enter_context(on_own_thread(config))

        yield start


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    """The port of a server that asks for the secret."""
    app = mounted(AudioConnector(echo, authorize=SharedSecret(SECRET, query="secret")))
    config = uvicorn.Config(app, ws=WebSocketProtocol, log_config=None, timeout_graceful_shutdown=5)
    with on_own_thread(config) as port:
        yield port


@pytest.fixture(scope="module")
def open_backend() -> Iterator[int]:
    """The port of one that lets everybody in."""
    app = mounted(AudioConnector(echo))
    config = uvicorn.Config(app, ws=WebSocketProtocol, log_config=None, timeout_graceful_shutdown=5)
    with on_own_thread(config) as port:
        yield port


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificates(authority: trustme.CA, tmp_path: Path) -> Certificates:
    return Certificates(authority, tmp_path)


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speak for less long."""
    for name, seconds in (("SPEECH_S", 0.8), ("ANSWER_S", 0.3), ("INTERRUPTED_S", 0.3), ("BACK_S", 0.3)):
        monkeypatch.setattr(main_call, name, seconds)
