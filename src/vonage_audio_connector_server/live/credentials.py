"""What Vonage's API asks for: an application's id and private key, or a classic OpenTok project's key and secret.

They are never logged, and printing them shows no secret. Names of variables are those of Vonage's own samples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import AudioConnectorConfigError, MissingExtraError

VIDEO_HOST = "video.api.vonage.com"
OPENTOK_URL = "https://api.opentok.com"

ENV_FILE = ".env"

_PEM = "-----BEGIN PRIVATE KEY-----"
_PLACEHOLDER = "YOUR_"  # so the values in the samples begin that nobody has filled in
_HOST = re.compile(r"[0-9A-Za-z.-]+(:\d+)?|\[[0-9A-Fa-f:]+\](:\d+)?")
_ID = re.compile(r"[0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class VonageApplication:
    """An application of the Vonage dashboard that has Video switched on.

    Attributes:
        application_id: its id.
        private_key: its private key: the text of the file `private.key` (PKCS#8 in PEM), or the path of that file.
        video_host: the host of the Video API, with its port where that is not 443.

    Raises:
        AudioConnectorConfigError: a value can't be used; the message shows no secret.
    """

    application_id: str
    private_key: str = field(repr=False)
    video_host: str = VIDEO_HOST

    def __post_init__(self) -> None:
        _check("application_id", self.application_id, _ID, "the id of an application")
        _check("video_host", self.video_host, _HOST, f"a host, such as {VIDEO_HOST}, without https://")
        object.__setattr__(self, "private_key", _read_key(self.private_key))


@dataclass(frozen=True, slots=True)
class OpenTokProject:
    """A project of the classic OpenTok platform.

    Attributes:
        api_key: its key.
        api_secret: its secret.
        api_url: the address of the API.

    Raises:
        AudioConnectorConfigError: a value can't be used; the message shows no secret.
    """

    api_key: str
    api_secret: str = field(repr=False)
    api_url: str = OPENTOK_URL

    def __post_init__(self) -> None:
        _check("api_key", self.api_key, _ID, "the key of a project")
        # No dot: the package would take what ends as `.key` for the name of a file.
        _check("api_secret", self.api_secret, re.compile(r"[0-9A-Za-z_-]+"), "a project's secret itself", show=False)
        _check("api_url", self.api_url, re.compile(r"https?://[^/?#\s]+"), f"an address such as {OPENTOK_URL}")


Credentials = VonageApplication | OpenTokProject


class NoCredentialsError(AudioConnectorConfigError):
    """Neither the environment nor a file has credentials that can be used."""


def check_credentials(credentials: object) -> None:
    """Refuse what are none; None are those of the environment.

    Raises:
        AudioConnectorConfigError: it is something else.
    """
    if credentials is not None and not isinstance(credentials, (VonageApplication, OpenTokProject)):
        raise AudioConnectorConfigError("credentials must be a VonageApplication or an OpenTokProject")


def find_credentials(env_file: str | os.PathLike[str] | None = None) -> Credentials:
    """The credentials of the environment; what it has not, of a file of such lines as `VONAGE_APPLICATION_ID=…`.

    `VONAGE_APPLICATION_ID` and `VONAGE_PRIVATE_KEY` (a text or a path), or `OPENTOK_API_KEY` and `OPENTOK_API_SECRET`.
    An application goes before a project. `VONAGE_VIDEO_HOST` and `OPENTOK_API_URL` name another API than Vonage's.
    The environment stays as it is.

    Args:
        env_file: the file; None: `.env` in the current folder, if there is one.

    Raises:
        AudioConnectorConfigError: there are none, one is missing or can't be used. No message shows a secret.
        MissingExtraError: there is a file, and reading it takes the extra `vonage`.
    """
    given = {name: value for name, value in find_variables(env_file).items() if not value.startswith(_PLACEHOLDER)}
    try:
        if "VONAGE_APPLICATION_ID" in given or "VONAGE_PRIVATE_KEY" in given:
            application_id, key = _both(given, "VONAGE_APPLICATION_ID", "VONAGE_PRIVATE_KEY")
            return VonageApplication(application_id, key, given.get("VONAGE_VIDEO_HOST", VIDEO_HOST))
        if "OPENTOK_API_KEY" in given or "OPENTOK_API_SECRET" in given:
            key, secret = _both(given, "OPENTOK_API_KEY", "OPENTOK_API_SECRET")
            return OpenTokProject(key, secret, given.get("OPENTOK_API_URL", OPENTOK_URL))
    except AudioConnectorConfigError as exc:
        raise NoCredentialsError(f"the credentials can't be used: {exc}") from exc
    raise NoCredentialsError(
        "no credentials: set VONAGE_APPLICATION_ID and VONAGE_PRIVATE_KEY, or OPENTOK_API_KEY and OPENTOK_API_SECRET,"
        f" in the environment or in {ENV_FILE if env_file is None else os.fspath(env_file)}"
    )


def find_variables(env_file: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """What is set in the environment, and what it has not, in a file; the arguments are those of `find_credentials`.

    Raises:
        AudioConnectorConfigError: the file can't be read.
        MissingExtraError: there is a file, and reading it takes the extra `vonage`.
    """
    return _read_file(env_file) | {name: value for name, value in os.environ.items() if value}


def _read_file(env_file: str | os.PathLike[str] | None) -> dict[str, str]:
    path = Path(ENV_FILE if env_file is None else env_file)
    if env_file is None and not path.is_file():
        return {}
    try:
        from dotenv import dotenv_values
    except ImportError as exc:
        raise MissingExtraError(f"Reading {path}", "vonage") from exc
    try:
        with path.open(encoding="utf-8") as lines:
            return {name: value for name, value in dotenv_values(stream=lines).items() if value}
    except OSError as exc:
        raise AudioConnectorConfigError(f"{path} can't be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise AudioConnectorConfigError(f"{path} is no text in UTF-8") from None  # the error holds what stands there


def _both(given: Mapping[str, str], *names: str) -> tuple[str, str]:
    for name, other in (names, names[::-1]):
        if name not in given:
            raise AudioConnectorConfigError(f"{name} is not set, and {other} is: set both")
    return given[names[0]], given[names[1]]


def _check(field_name: str, value: object, form: re.Pattern[str], wanted: str, *, show: bool = True) -> None:
    if not (isinstance(value, str) and form.fullmatch(value)):
        raise AudioConnectorConfigError(f"{field_name} must be {wanted}{f', not {value!r}' if show else ''}")


def _read_key(given: object) -> str:
    """The private key itself."""
    if not isinstance(given, (str, os.PathLike)):
        raise AudioConnectorConfigError("private_key must be the text of a private key, or the path of its file")
    text = os.fspath(given).strip()
    where = "private_key"
    if "-----" not in text:  # not a key; nor may what it is be shown, because it may be a part of one
        try:
            text = Path(text).expanduser().read_text("ascii").strip()
        except (OSError, ValueError):
            raise AudioConnectorConfigError(
                "private_key is neither the text of a private key nor the path of a file that can be read: "
                "name the file private.key that the dashboard has given you"
            ) from None
        where = "the file of private_key"
    text = text.replace("\\n", "\n").strip()  # as it stands in files of variables, on one line
    if _PEM not in text:
        kind = re.search(r"-----BEGIN ([A-Z ]+)-----", text)
        found = f"it holds '{kind[1].lower()}'" if kind else "it holds no key in PEM form"
        raise AudioConnectorConfigError(
            f"{where} can't be used: {found}, and must begin with {_PEM} "
            "(openssl pkcs8 -topk8 -nocrypt -in OLD.key -out private.key)"
        )
    return text + "\n"
