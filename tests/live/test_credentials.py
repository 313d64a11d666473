"""Where credentials come from, and that nothing shows them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vonage_audio_connector_server import AudioConnectorConfigError, MissingExtraError
from vonage_audio_connector_server.live.credentials import (
    OPENTOK_URL,
    VIDEO_HOST,
    OpenTokProject,
    VonageApplication,
    find_credentials,
)

from .fake_api import API_KEY, API_SECRET, APPLICATION_ID

PKCS1 = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_key_may_be_its_text_or_its_file(folder: Path, private_key: str) -> None:
    (folder / "private.key").write_text(private_key)
    one_line = private_key.replace("\n", "\\n")
    for given in (private_key, "private.key", str(folder / "private.key"), one_line, f"\n{private_key}\n"):
        assert VonageApplication(APPLICATION_ID, given).private_key == private_key


def test_printing_them_shows_no_secret(private_key: str) -> None:
    assert repr(VonageApplication(APPLICATION_ID, private_key)) == (
        f"VonageApplication(application_id='{APPLICATION_ID}', video_host='{VIDEO_HOST}')"
    )
    assert repr(OpenTokProject(API_KEY, API_SECRET)) == (
        f"OpenTokProject(api_key='{API_KEY}', api_url='{OPENTOK_URL}')"
    )


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("nowhere.key", "private_key is neither the text of a private key nor the path of a file that can be read"),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "private_key is neither the text of a private key nor the path"),
        (PKCS1, "private_key can't be used: it holds 'rsa private key', and must begin with -----BEGIN PRIVATE KEY---"),
        ("-----nothing", "private_key can't be used: it holds no key in PEM form"),
        (7, "private_key must be the text of a private key, or the path of its file"),
    ],
)
def test_a_key_that_can_not_be_used(key: object, told: str) -> None:
    with pytest.raises(AudioConnectorConfigError) as caught:
        VonageApplication(APPLICATION_ID, key)  # type: ignore[arg-type]
    assert told in str(caught.value)
    assert "MII" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((API_KEY, "a secret"), "api_secret must be a project's secret itself"),
        ((API_KEY, "private.key"), "api_secret must be a project's secret itself"),
        (("4601/2345", API_SECRET), "api_key must be the key of a project"),
        ((API_KEY, API_SECRET, "api.opentok.com"), "api_url must be an address such as https://api.opentok.com"),
    ],
)
def test_a_project_that_can_not_be(values: tuple[str, ...], told: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match=told) as caught:
        OpenTokProject(*values)
    assert "a secret'" not in str(caught.value)
    assert API_SECRET not in str(caught.value)


def test_the_host_of_the_api_is_no_address(private_key: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match="video_host must be a host"):
        VonageApplication(APPLICATION_ID, private_key, "https://video.api.vonage.com")


class TestFinding:
    def test_an_application_in_the_environment(self, private_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VONAGE_APPLICATION_ID", APPLICATION_ID)
        monkeypatch.setenv("VONAGE_PRIVATE_KEY", private_key)
        monkeypatch.setenv("OPENTOK_API_KEY", API_KEY)
        monkeypatch.setenv("OPENTOK_API_SECRET", API_SECRET)
        assert find_credentials() == VonageApplication(APPLICATION_ID, private_key)
        monkeypatch.setenv("VONAGE_VIDEO_HOST", "video.api.eu.vonage.com")
        assert find_credentials() == VonageApplication(APPLICATION_ID, private_key, "video.api.eu.vonage.com")

    def test_a_project(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VONAGE_APPLICATION_ID", "YOUR_APPLICATION_ID")  # as a sample's file has it
        monkeypatch.setenv("OPENTOK_API_KEY", API_KEY)
        monkeypatch.setenv("OPENTOK_API_SECRET", API_SECRET)
        assert find_credentials() == OpenTokProject(API_KEY, API_SECRET)

    def test_the_environment_goes_before_the_file_and_stays_as_it_is(
        self, folder: Path, private_key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import os

        (folder / ".env").write_text(f"VONAGE_APPLICATION_ID=of-the-file\nVONAGE_PRIVATE_KEY='{private_key}'\n")
        assert find_credentials() == VonageApplication("of-the-file", private_key)
        monkeypatch.setenv("VONAGE_APPLICATION_ID", APPLICATION_ID)
        assert find_credentials() == VonageApplication(APPLICATION_ID, private_key)
        assert "VONAGE_PRIVATE_KEY" not in os.environ

    def test_a_file_with_another_name(self, folder: Path) -> None:
        (folder / ".env").write_text("OPENTOK_API_KEY=of-the-usual-file\n")
        (folder / "other").write_text(f"OPENTOK_API_KEY={API_KEY}\nOPENTOK_API_SECRET={API_SECRET}\n")
        assert find_credentials("other") == OpenTokProject(API_KEY, API_SECRET)

    def test_none_and_half_of_them(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(AudioConnectorConfigError, match=r"no credentials: set VONAGE_APPLICATION_ID.* in \.env"):
            find_credentials()
        monkeypatch.setenv("OPENTOK_API_SECRET", API_SECRET)
        with pytest.raises(AudioConnectorConfigError, match="OPENTOK_API_KEY is not set, and OPENTOK_API_SECRET is"):
            find_credentials()

    def test_files_that_can_not_be_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(AudioConnectorConfigError, match="nowhere can't be read: No such file"):
            find_credentials("nowhere")
        (folder / "binary").write_bytes(b"OPENTOK_API_SECRET=\xff\xfe")
        with pytest.raises(AudioConnectorConfigError, match="binary is no text in UTF-8"):
            find_credentials("binary")
        monkeypatch.setitem(sys.modules, "dotenv", None)
        with pytest.raises(MissingExtraError, match=r"server\[vonage\]"):
            find_credentials("binary")
