"""A stand-in for Vonage's API, credentials that it takes, and a look at all that was logged."""

from __future__ import annotations

import base64
import contextlib
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vonage_audio_connector_server.live.credentials import Credentials, OpenTokProject, VonageApplication

from .fake_api import API_KEY, API_SECRET, APPLICATION_ID, FakeAPI

APPLICATION_SESSION = "2_MX5hcHBsaWNhdGlvbn4tMTIzfg"
PROJECT_SESSION = "1_" + base64.urlsafe_b64encode(f"1~{API_KEY}~~1700000000000~abc~".encode()).decode().rstrip("=")


@pytest.fixture(scope="session")
def private_key() -> str:
    """Of an application; none but the tests knows it."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def _bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, _bundle: Path) -> None:
    """Nothing of the machine's own credentials, and the stand-in's certificate is trusted."""
    for name in (
        "VONAGE_APPLICATION_ID",
        "VONAGE_PRIVATE_KEY",
        "VONAGE_VIDEO_HOST",
        "OPENTOK_API_KEY",
        "OPENTOK_API_SECRET",
        "OPENTOK_API_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(_bundle))
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")


@pytest.fixture
def fake(authority: trustme.CA) -> Iterator[FakeAPI]:
    with FakeAPI().serving(authority) as fake:
        yield fake


@pytest.fixture(params=["application", "project"])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def session_id(platform: str) -> str:
    return APPLICATION_SESSION if platform == "application" else PROJECT_SESSION


@pytest.fixture
def credentials(platform: str, fake: FakeAPI, private_key: str) -> Credentials:
    if platform == "application":
        return VonageApplication(APPLICATION_ID, private_key, fake.host)
    return OpenTokProject(API_KEY, API_SECRET, f"https://{fake.host}")


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "websockets.client":  # the router's own end
            return
        self.lines.append(f"{record.name}: {record.getMessage()}")
        if record.exc_info and record.exc_info[0] is not None:
            self.lines += traceback.format_exception(*record.exc_info)


@pytest.fixture(autouse=True)
def everything_logged(fake: FakeAPI, private_key: str) -> Iterator[list[str]]:
    """All that any logger of the process says, at any level; no secret may be in it, whatever the test is about."""
    kept = _Kept()
    level = logging.root.level
    logging.root.addHandler(kept)
    logging.root.setLevel(logging.DEBUG)
    yield kept.lines
    logging.root.setLevel(level)
    logging.root.removeHandler(kept)
    assert_no_secret("\n".join(kept.lines), fake, private_key)


def assert_no_secret(text: str, fake: FakeAPI, private_key: str) -> None:
    lines = [line for line in private_key.splitlines() if len(line) > 16 and "-----" not in line]
    for secret in [*fake.secrets(), *lines]:
        assert secret not in text


def told_by(error: BaseException) -> str:
    """All that a traceback would show of an error."""
    with contextlib.suppress(ValueError):
        return "".join(traceback.format_exception(error))
    return ""
