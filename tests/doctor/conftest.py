"""The server that is examined: it says back what it hears, mounted in FastAPI, with a shared secret."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
import uvicorn
from fastapi import FastAPI
from serving import on_own_thread

from vonage_audio_connector_server import AudioConnector, Client, SharedSecret, WebSocketProtocol
from vonage_audio_connector_server.doctor import Diagnosis, examine, main_call

SECRET = "d1ag-n0515-secret"
QUERY = f"?secret={SECRET}"
HEADERS = {"call_id": "t0ps3cret-7"}


async def echo(client: Client) -> None:
    async for message in client:
        if isinstance(message, bytes):
            await client.send_audio_buffer(message)


def mounted(connector: AudioConnector) -> FastAPI:
    app = FastAPI()
    app.mount("/vonage", connector)

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"draining": connector.draining}

    return app


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


class Certificates:
    """Files of certificates."""

    def __init__(self, authority: trustme.CA, folder: Path) -> None:
        self._authority = authority
        self._folder = folder
        self.cafile = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.cafile)

    def issue(self, name: str = "127.0.0.1", left_days: float = 90) -> Path:
        """A certificate with its key, in one file."""
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=left_days)
        since = until - datetime.timedelta(days=100)
        path = self._folder / f"{name}.pem"
        certificate = self._authority.issue_cert(name, not_before=since, not_after=until)
        certificate.private_key_and_cert_chain_pem.write_to_path(path)
        return path


@pytest.fixture
def certificates(authority: trustme.CA, tmp_path: Path) -> Certificates:
    return Certificates(authority, tmp_path)


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speak for less long."""
    for name, seconds in (("SPEECH_S", 0.8), ("ANSWER_S", 0.3), ("INTERRUPTED_S", 0.3), ("BACK_S", 0.3)):
        monkeypatch.setattr(main_call, name, seconds)


def examined(url: str, **options: Any) -> Diagnosis:
    """What doctor says of an address."""
    return anyio.run(partial(examine, url, **options))


def trusting(cafile: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(cafile))


def statuses(diagnosis: Diagnosis, status: str) -> set[str]:
    return {line.name for line in diagnosis.lines if line.status == status}


def assert_no_secret(text: str) -> None:
    assert SECRET not in text
    assert HEADERS["call_id"] not in text
