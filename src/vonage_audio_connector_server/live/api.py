"""Vonage's REST API, by Vonage's own packages: start the audio of a session, and end it. All of it blocks: in a thread.

Here alone is known what the packages do besides: what they log, what they lose and repeat, what they raise.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from ..errors import AudioConnectorError, AudioConnectorSessionError, MissingExtraError
from .credentials import Credentials, VonageApplication
from .request import is_id
from .rest_errors import refused, unanswered

REST_S = 10
"""How long an answer may take, in whole seconds as the package wants it: the connect call itself waits 6 s for the
socket (D)."""

TOKEN_S = 900
"""For how long a session's token is valid; it is used at once. The default of the package `vonage`."""


class Started(NamedTuple):
    """What the connect call answers."""

    id: str | None
    connection_id: str


class SessionAPI(Protocol):
    """What can be done to a session."""

    def connect(self, session_id: str, websocket: Mapping[str, Any]) -> Started:
        """Start its audio.

        Raises:
            AudioConnectorSessionError: it was not started, or nobody knows: then its `status` is None, or 500 and more.
        """

    def disconnect(self, session_id: str, connection_id: str) -> None:
        """Disconnect who is connected to it; who isn't any more is no error.

        Raises:
            AudioConnectorSessionError: it may be there yet.
        """


def open_api(credentials: Credentials) -> SessionAPI:
    """The API for these credentials. Importing the packages takes a second.

    Raises:
        MissingExtraError: the extra `vonage` is not installed.
        AudioConnectorSessionError: the private key can't be used.
    """
    try:
        return _Vonage(credentials) if isinstance(credentials, VonageApplication) else _OpenTok(credentials)
    except ImportError as exc:
        raise MissingExtraError("Starting the audio of a session", "vonage") from exc


class _Vonage:
    """The package `vonage`: an application with its private key.

    The connect call is posted by the package's own HTTP client, because its `AudioConnectorOptions` (vonage-video
    1.6.1) drops `audioRate` and `audioTransport` without a word, and refuses 24000.
    """

    def __init__(self, application: VonageApplication) -> None:
        from vonage import Auth, HttpClientOptions, Vonage

        self._host = application.video_host
        self._project = f"/v2/project/{application.application_id}"
        with self._translated():
            self._vonage = Vonage(
                Auth(application_id=application.application_id, private_key=application.private_key),
                # What is called the size of the pool is also how often the package sends a request again whose
                # connection was closed: the second connect call would start a second connection.
                HttpClientOptions(video_host=self._host, timeout=REST_S, max_retries=0, pool_maxsize=1),
            )
        try:
            self._vonage.http_client.auth.generate_application_jwt()
        except Exception:  # noqa: BLE001 (whatever the packages below make of a key; what they say may hold a part of it)
            raise AudioConnectorSessionError(
                "the private key can't be used, it is damaged: take the file private.key as the dashboard has given it"
            ) from None

    def connect(self, session_id: str, websocket: Mapping[str, Any]) -> Started:
        """See `SessionAPI`."""
        from vonage_video.models import TokenOptions
        from vonage_video.models.enums import TokenRole

        secrets = [websocket["uri"], *websocket.get("headers", {}).values()]
        with self._translated(secrets):
            # What the session hears must be published: `publisher` (C).
            options = TokenOptions(session_id=session_id, role=TokenRole.PUBLISHER)
            token = self._vonage.video.generate_client_token(options).decode()
            secrets.append(token)
            body = {"sessionId": session_id, "token": token, "websocket": websocket}
            answer = self._vonage.http_client.post(self._host, f"{self._project}/connect", body)
        return _started(self._host, answer)

    def disconnect(self, session_id: str, connection_id: str) -> None:
        """See `SessionAPI`."""
        with _gone_is_well(), self._translated():
            self._vonage.video.disconnect_client(session_id, connection_id)

    @contextmanager
    def _translated(self, secrets: list[str] | None = None) -> Iterator[None]:
        from vonage_http_client.errors import HttpRequestError

        with _translated("vonage", self._host):
            try:
                yield
            except HttpRequestError as exc:
                response = exc.response
                raise refused(self._host, response.status_code, _said(response), secrets or ()) from None


class _OpenTok:
    """The package `opentok`: a classic project with its key and secret.

    `audioTransport` goes in by its name in the API: under the package's own name for it, `audio_transport`, version
    3.15.0 sends a text where an object is expected.
    """

    def __init__(self, project: Any) -> None:
        from opentok import Client

        self._host = urlsplit(project.api_url).netloc
        self._secret = project.api_secret
        self._client = Client(project.api_key, project.api_secret, api_url=project.api_url, timeout=REST_S)

    def connect(self, session_id: str, websocket: Mapping[str, Any]) -> Started:
        """See `SessionAPI`."""
        from opentok import OpenTokException, Roles

        secrets = [self._secret, websocket["uri"], *websocket.get("headers", {}).values()]
        with self._translated(secrets):
            try:
                token = self._client.generate_token(session_id, Roles.publisher, expire_time=int(time.time()) + TOKEN_S)
            except OpenTokException:
                raise AudioConnectorSessionError(
                    f"the session id is none of the project {self._client.api_key}: check both"
                ) from None
            secrets.append(token)
            answer = self._client.connect_audio_to_websocket(session_id, token, dict(websocket))
        return _started(self._host, {"id": answer.id, "connectionId": answer.connectionId})

    def disconnect(self, session_id: str, connection_id: str) -> None:
        """See `SessionAPI`."""
        with _gone_is_well(), self._translated():
            self._client.force_disconnect(session_id, connection_id)

    @contextmanager
    def _translated(self, secrets: list[str] | None = None) -> Iterator[None]:
        from opentok import OpenTokException

        with _translated("opentok", self._host):
            try:
                yield
            except OpenTokException as exc:
                raise refused(self._host, *_status_of(exc), secrets or ()) from None


def _status_of(error: Exception) -> tuple[int, object]:
    """The HTTP status behind an error of opentok's, which tells it by its kind; and what was said."""
    from opentok.exceptions import AuthError, ForceDisconnectError, InvalidMediaModeError

    if isinstance(error, AuthError):
        return 403, None
    if isinstance(error, InvalidMediaModeError):
        return 409, None
    if isinstance(error, ForceDisconnectError):  # one kind for both
        return (404 if "not connected" in str(error) else 400), None
    said = error.args[0] if error.args else None
    if len(error.args) > 1 and isinstance(error.args[1], int):  # then `said` is the package's own
        return error.args[1], None
    return 400, said


@contextmanager
def _translated(package: str, host: str) -> Iterator[None]:
    """Errors of a package become ours, and it logs nothing."""
    from requests.exceptions import JSONDecodeError, RequestException

    try:
        with _unlogged(package):
            yield
    except AudioConnectorError:
        raise
    except JSONDecodeError:
        error = AudioConnectorSessionError(f"{host} answered with what is no JSON: is it the host of Vonage's API?")
    except RequestException as exc:
        error = unanswered(host, exc, REST_S)
    except Exception as exc:  # noqa: BLE001 (what a package raises besides may show what was sent)
        error = AudioConnectorSessionError(f"the package {package} failed with {type(exc).__name__}")
    else:
        return
    raise error from None  # behind `except`: the package's error, whose text nobody has looked through, is not kept


class _NotOfThread(logging.Filter):
    """Lets pass what other threads log."""

    def __init__(self, thread_id: int) -> None:
        super().__init__()
        self._thread_id = thread_id

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it may pass."""
        return threading.get_ident() != self._thread_id


@contextmanager
def _unlogged(package: str) -> Iterator[None]:
    """What a package does in this thread isn't logged: it would log tokens and addresses, and at WARNING the answer."""
    logger, no_records = logging.getLogger(package), _NotOfThread(threading.get_ident())
    logger.addFilter(no_records)
    try:
        yield
    finally:
        logger.removeFilter(no_records)


@contextmanager
def _gone_is_well() -> Iterator[None]:
    try:
        yield
    except AudioConnectorSessionError as exc:
        if exc.status != 404:
            raise


def _started(host: str, answer: Any) -> Started:
    connection_id = answer.get("connectionId") if isinstance(answer, dict) else None
    if not isinstance(connection_id, str) or not is_id(connection_id):
        raise AudioConnectorSessionError(f"{host} answered without a connectionId: is it the host of Vonage's API?")
    own_id = answer.get("id")
    return Started(own_id if isinstance(own_id, str) else None, connection_id)


def _said(response: Any) -> object:
    """The sentence in the answer to a request."""
    try:
        body = response.json()
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    return next((body[name] for name in ("message", "detail", "description", "title") if body.get(name)), None)
