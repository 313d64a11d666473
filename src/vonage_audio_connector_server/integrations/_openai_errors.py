"""What can go wrong with a Realtime session, each as one sentence. Nothing here knows a call.

AudioConnectorError
└── RealtimeError                             the API has told of an error; the session goes on
    ├── RealtimeClosedError (ConnectionError) the session is gone, or there never was one; the call goes on
    └── RealtimeToolError (RuntimeError)      a function of the program has failed; the model was told so
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from ..errors import AudioConnectorError, MissingExtraError

try:
    from openai import OpenAIError
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
except ImportError as exc:
    raise MissingExtraError("joining a Realtime session", "openai") from exc

MOST_LETTERS = 300
"""Of what the API says in an error: it stands in a line of the log."""

_REFUSED = {
    401: "the API key is not accepted",
    403: "the key may not use it",
    404: "there is no such model, or the address is wrong",
    429: "too many requests, or the quota is used up",
}
_FOR_GOOD = {400, 401, 403, 404}  # to try again is of no use


class RealtimeError(AudioConnectorError):
    """The Realtime API has told of an error. The session goes on, as a rule.

    Attributes:
        code: the API's, such as `rate_limit_exceeded`; None: it named none.
        kind: the API's `type`, such as `invalid_request_error`; None: it named none.
    """

    def __init__(self, message: str, *, code: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.code, self.kind = code, kind


class RealtimeClosedError(RealtimeError, ConnectionError):
    """The Realtime session has ended, or could not be opened. The call goes on. Its cause is in `__cause__`.

    Attributes:
        code: of the API's last error before the end, such as `session_expired`.
        close_code: the WebSocket close code; None: there was no connection.
        status: the HTTP status that refused the connection; None: none did.
        in_answer: whether it ended in the middle of an answer: a part of that is missing.
        is_final: whether it is of no use to try again: the key, the model or a setting is wrong.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        kind: str | None = None,
        close_code: int | None = None,
        status: int | None = None,
        in_answer: bool = False,
        is_final: bool = False,
    ) -> None:
        super().__init__(message, code=code, kind=kind)
        self.close_code, self.status = close_code, status
        self.in_answer, self.is_final = in_answer, is_final


class RealtimeToolError(RealtimeError, RuntimeError):
    """A function that the model has called has failed. The model was told that, without the reason; see `__cause__`.

    Attributes:
        name: of the function.
    """

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


LOST = (ConnectionClosed, InvalidHandshake, InvalidURI, OpenAIError, OSError, TimeoutError)
"""What opening, reading and writing raise where the connection is gone; `ssl.SSLError` is an OSError."""


def one_line(text: object) -> str:
    """A text of others, for one line of a log."""
    line = " ".join(str(text).split())
    return line if len(line) <= MOST_LETTERS else line[: MOST_LETTERS - 1] + "…"


def api_error(error: Mapping[str, Any], doing: str = "") -> RealtimeError:
    """What the API says in its event `error`, or in a response that has failed.

    Args:
        error: with `message`, `type` and `code`; whatever is missing or is no text is left out.
        doing: what has failed.
    """
    code, kind, message = (_text_of(error.get(name)) for name in ("code", "type", "message"))
    said = ": ".join(part for part in (code or kind, message) if part) or "an error without a name"
    return RealtimeError(f"{doing or 'the Realtime API'}: {one_line(said)}", code=code, kind=kind)


def closed_error(exc: Exception, last: RealtimeError | None = None, *, in_answer: bool = False) -> RealtimeClosedError:
    """What has become of the connection.

    Args:
        exc: what was raised; one of `LOST`.
        last: what the API has told on this connection last.
        in_answer: whether an answer was not complete.
    """
    where = " in the middle of an answer" if in_answer else ""
    why = "" if last is None else f"; before that it said: {last}"
    code, kind = (None, None) if last is None else (last.code, last.kind)
    if isinstance(exc, InvalidStatus):
        status = exc.response.status_code
        hint = f", {_REFUSED[status]}" if status in _REFUSED else ""
        return RealtimeClosedError(
            f"the Realtime API refused the connection with HTTP {status}{hint}",
            status=status,
            is_final=status in _FOR_GOOD,
        )
    if isinstance(exc, ConnectionClosed):
        close = exc.rcvd
        close_code = 1006 if close is None else close.code
        reason = f" ({one_line(close.reason)!r})" if close is not None and close.reason else ""
        message = f"the Realtime session ended{where}, close code {close_code}{reason}{why}"
        return RealtimeClosedError(message, code=code, kind=kind, close_code=close_code, in_answer=in_answer)
    if isinstance(exc, ssl.SSLError):
        return RealtimeClosedError(f"no Realtime session: the TLS connection failed: {one_line(exc)}")
    if isinstance(exc, TimeoutError):
        return RealtimeClosedError(f"the Realtime API did not answer in time{why}", code=code, kind=kind)
    if isinstance(exc, OSError):
        message = f"the Realtime session ended{where}: the network failed: {one_line(exc)}"
        return RealtimeClosedError(message, in_answer=in_answer)
    # A handshake that is none may quote what was sent, and that is the key.
    said = one_line(exc) if isinstance(exc, OpenAIError) else type(exc).__name__
    message = f"no Realtime session could be opened: {said}"
    return RealtimeClosedError(message, is_final=not isinstance(exc, InvalidHandshake))


def _text_of(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
