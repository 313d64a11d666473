"""What the tests of doctor share: the program that is examined, certificates, and what is asked of a diagnosis."""

from __future__ import annotations

import datetime
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import trustme
from fastapi import FastAPI

from vonage_audio_connector_server import AudioConnector, Client
from vonage_audio_connector_server.doctor import Diagnosis, examine

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


def examined(url: str, **options: Any) -> Diagnosis:
    """What doctor says of an address."""
    return anyio.run(partial(examine, url, **options))


def trusting(cafile: Path) -> Any:
    return ssl.create_default_context(cafile=str(cafile))


def statuses(diagnosis: Diagnosis, status: str) -> set[str]:
    return {line.name for line in diagnosis.lines if line.status == status}


def assert_no_secret(text: str) -> None:
    assert SECRET not in text
    assert HEADERS["call_id"] not in text
