"""What Vonage's API answers when it doesn't do what it was asked for, as one sentence with what to do.

Whatever is said in the answer may repeat what was sent, so known secrets are taken out of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ..errors import AudioConnectorSessionError

MAX_SAID_CHARACTERS = 200
"""So much of an answer is repeated: enough for a sentence."""

_SENTENCES = {  # D: 400, 403, 409; the others are what HTTP means by them
    400: "the session id, the address or another value is wrong",
    401: "the credentials are not accepted: do they belong together, and is the clock of this machine right?",
    403: "the credentials are not accepted: do they belong together, and are they those of the session's project?",
    404: "it knows no such session or project: is the session id right, and are the credentials those of its project?",
    409: "the session is not a routed one: make one with the media mode 'routed', the only one that has this feature",
    429: "there were too many requests: try again in a minute",
}
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+(\.[\w-]*)?")
_QUERY = re.compile(r"\?[^\s\"'<>]+")


def refused(host: str, status: int, said: object, secrets: Iterable[str]) -> AudioConnectorSessionError:
    """The API has answered with this status.

    Args:
        host: of the API.
        status: of the answer.
        said: what it said; a text or nothing.
        secrets: what must not be repeated.
    """
    why = _SENTENCES.get(status) or (
        "it has a fault of its own: try again in a minute" if status >= 500 else "it refuses what was asked for"
    )
    words = _readable(said, secrets)
    return AudioConnectorSessionError(
        f"{host} answered HTTP {status}: {why}{f' (it says: {words})' if words else ''}", status=status
    )


def unanswered(host: str, error: Exception, timeout_s: float) -> AudioConnectorSessionError:
    """The API has not answered: an error of `requests`."""
    from requests.exceptions import ConnectTimeout, ProxyError, SSLError, Timeout

    if isinstance(error, Timeout):  # before SSLError: what is slow in a TLS handshake is slow
        if isinstance(error, ConnectTimeout):
            sentence = f"{host} could not be reached within {timeout_s:g} s: check the network, and try again"
        else:  # nobody knows what it did
            sentence = f"{host} did not answer within {timeout_s:g} s, and may have done what it was asked: try again"
    elif isinstance(error, SSLError):
        sentence = (
            f"the TLS certificate of {host} is not trusted ({_reason(error)}): check the clock of this machine; where "
            "a proxy opens TLS, name the file of its certificate in the environment variable REQUESTS_CA_BUNDLE"
        )
    elif isinstance(error, ProxyError):
        sentence = f"the proxy to {host} can't be used ({_reason(error)}): check HTTPS_PROXY in the environment"
    else:
        sentence = f"{host} can't be reached ({_reason(error)}): check the network of this machine"
    return AudioConnectorSessionError(sentence)


def _readable(said: object, secrets: Iterable[str]) -> str:
    """What the API said, in one line and without what was sent to it."""
    if not isinstance(said, str):
        return ""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in {secret, json.dumps(secret)[1:-1]}:
            said = said.replace(form, "***")
    words = " ".join(_QUERY.sub("?***", _JWT.sub("***", said)).split())
    words = "".join(letter for letter in words if letter.isprintable())
    return words if len(words) <= MAX_SAID_CHARACTERS else f"{words[:MAX_SAID_CHARACTERS]}…"


def _reason(error: Exception) -> str:
    """The innermost cause, in its own words: the outer ones repeat the request."""
    found: BaseException = error
    while True:
        within = [getattr(found, "reason", None), *found.args, found.__cause__]  # urllib3 has it in all three places
        inner = next((one for one in within if isinstance(one, BaseException)), None)
        if inner is None:
            break
        found = inner
    text = found.strerror if isinstance(found, OSError) and found.strerror else str(found)
    return text.rpartition("): ")[2].partition(" (_ssl")[0].strip() or type(found).__name__
