"""Who may connect: the check for a shared secret, and what every check at the door needs.

A check is a function for `authorize`. It is called with what is known of a connection before the handshake is
accepted, and says yes or no. Nothing that a peer sends makes it raise. No I/O and no clock here; tokens that open one
connection are in `tokens.py`.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from ..connection_data import AudioConnectorConnectionData
from ..errors import AudioConnectorConfigError

logger = logging.getLogger("vonage_audio_connector_server")

MIN_SECRET_CHARACTERS = 16
"""Assumed: 16 random hexadecimal digits are 64 bits, which nobody guesses over a network."""

MAX_VALUES = 100
"""Of a header or parameter that is repeated, so many are looked at: a stranger must not keep the event loop busy."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_PARAMETER = re.compile(r"[0-9A-Za-z._~-]+")  # RFC 3986 §2.3: what is never percent-encoded, so it has one spelling
_BEARER = re.compile(r"bearer +", re.IGNORECASE)  # RFC 6750 §2.1; RFC 9110 §11.1: in any case


class SharedSecret:
    """Lets in whoever sends a secret that both sides know. Made for `authorize`.

        authorize=SharedSecret(os.environ["CALL_SECRET"], query="secret")

    The secret can be used any number of times, until you change it. May be called from any thread.

    Args:
        secret: the secret, or several that are all valid, to change it without a gap. Each is printable, of at least
            16 characters, without white space at its ends.
        header: the name of the request header that holds it: as it is, or as `Bearer <secret>`.
        query: the name of the query parameter that holds it, percent-encoded where it needs to be.

    Attributes:
        parameter: the name of the query parameter that holds the secret, which belongs in no log; None for a header.

    Raises:
        AudioConnectorConfigError: a secret is too short, or not exactly one of `header` and `query` is given. The
            message names the field and shows no secret.
    """

    def __init__(self, secret: str | Sequence[str], *, header: str | None = None, query: str | None = None) -> None:
        if (header is None) == (query is None):
            raise AudioConnectorConfigError("either header or query must name what holds the secret")
        if header is not None and not (isinstance(header, str) and _HEADER.fullmatch(header)):
            raise AudioConnectorConfigError("header must be the name of a request header")
        if query is not None:
            check_parameter("query", query)
        digests = []
        for field, value in named("secret", secret):
            is_text = isinstance(value, str) and value.isprintable() and value == value.strip()
            if not isinstance(value, str) or not is_text or len(value) < MIN_SECRET_CHARACTERS:
                raise AudioConnectorConfigError(
                    f"{field} must be a printable text of at least {MIN_SECRET_CHARACTERS} characters,"
                    " without white space or a line end around it"
                )
            digests.append(sha256(value.encode()).digest())
        self.parameter = query
        self._header = header
        self._digests = tuple(digests)

    def __repr__(self) -> str:
        place = f"header {self._header}" if self.parameter is None else f"query parameter {self.parameter}"
        return f"<SharedSecret in the {place}>"

    def __call__(self, info: AudioConnectorConnectionData) -> bool:
        """Whether the connection brings one of the secrets. A refusal is logged at INFO, without what was sent."""
        sent = [sha256(value).digest() for value in self._sent(info)]  # of equal length, whatever was sent
        if not sent:
            return refuse(info, "no secret")
        matches = [hmac.compare_digest(digest, ours) for digest in sent for ours in self._digests]  # never cut short
        return any(matches) or refuse(info, "its secret is not ours")

    def _sent(self, info: AudioConnectorConnectionData) -> Iterator[bytes]:
        """All that may be the secret, each in the ways it can be read."""
        if self._header is not None:
            for text in info.headers.getlist(self._header)[:MAX_VALUES]:
                yield _raw(text)
                if bearer := _BEARER.match(text):
                    yield _raw(text[bearer.end() :])
        elif self.parameter is not None:
            for text in query_values(info.uri, self.parameter)[:MAX_VALUES]:
                yield unquote_to_bytes(_raw(text))
                if "+" in text:  # a plus sign in a URI, a space in a form
                    yield unquote_to_bytes(_raw(text.replace("+", " ")))


def query_values(uri: str, parameter: str) -> list[str]:
    """Every value of a query parameter, as it was sent."""
    fields = (field.partition("=") for field in uri.partition("?")[2].split("&"))
    return [value for name, _, value in fields if name == parameter]


def named(field: str, given: object) -> Iterable[tuple[str, object]]:
    """One value, or each of several, with the name by which an error speaks of it.

    Raises:
        AudioConnectorConfigError: it is neither a text, nor bytes, nor a sequence that holds something.
    """
    if isinstance(given, (str, bytes)):
        return [(field, given)]
    if isinstance(given, Sequence) and given:
        return [(f"{field}[{number}]", value) for number, value in enumerate(given)]
    raise AudioConnectorConfigError(f"{field} must be one value, or a list or tuple of at least one")


def check_parameter(field: str, name: object) -> None:
    """Refuse a name of a query parameter that would have to be percent-encoded.

    Raises:
        AudioConnectorConfigError: naming `field`.
    """
    if not (isinstance(name, str) and _PARAMETER.fullmatch(name)):
        raise AudioConnectorConfigError(f"{field} must be a name of ASCII letters, digits, '.', '_', '~' and '-'")


def refuse(info: AudioConnectorConnectionData, reason: str) -> bool:
    """Log why a connection may not come in; always false. The reason holds nothing that the peer sent."""
    logger.info("connection %s: refused, %s", info.id, reason)
    return False


def _raw(text: str) -> bytes:
    """The bytes on the wire: ASGI servers and Starlette read them as latin-1."""
    return text.encode("latin-1", "replace")
