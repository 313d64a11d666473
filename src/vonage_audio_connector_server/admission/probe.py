"""What `doctor` asks in its handshake, and what a connector answers: has my request come as I have sent it?

The question is a header with a number that is used once and a digest of path, query and of each header that is asked
about. The connector makes the same digests of what came, and answers with words of a fixed list, one for each: `kept`,
`changed`, `lost`. So nothing that came is sent back, nor a digest of it; and where a proxy logs the question, it tells
less than the request beside it does. Who is refused is told about path and query alone, because headers may be set by
a proxy, and who may guess them again and again is a stranger. A request that came as an ordinary one, because Upgrade
is lost, is answered with 426. Who asks nothing gets none of it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.datastructures import Headers

HEADER = "x-audio-connector-doctor"
"""Of the question, and of the answer."""

USER_AGENT = "vonage-audio-connector-doctor"
"""It tells that there was a question where the header of it is lost."""

MAX_HEADERS = 16
"""A question about more headers is none."""

_MAX_CHARACTERS = 4096
_DIGEST = "[0-9a-f]{16}"
_QUESTION = re.compile(rf"1;([0-9a-f]{{32}});({_DIGEST});({_DIGEST})((?:;[^;=\s]+={_DIGEST})*)")
_WORDS = frozenset(("kept", "changed", "lost"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a connector has answered.

    Attributes:
        question: whether the question came: `kept`, `changed` or `lost`.
        path: what has become of the path; None: it doesn't say.
        query: what has become of the query; None: it doesn't say. `lost`: none came.
        headers: what has become of each header, in the order in which they were asked about.
        upgrade_lost: the request came as an ordinary one.
    """

    question: str = "kept"
    path: str | None = None
    query: str | None = None
    headers: tuple[str, ...] = ()
    upgrade_lost: bool = False


def question(nonce: str, uri: str, headers: Mapping[str, str]) -> str:
    """The question of a request.

    Args:
        nonce: 32 hexadecimal digits that are used once.
        uri: path and query, as they are sent.
        headers: those that are asked about.
    """
    path, _, query = uri.partition("?")
    parts = [nonce, _digest(nonce, "path", path), _digest(nonce, "query", query)]
    named = [f"{name.lower()}={_digest(nonce, name.lower(), value)}" for name, value in headers.items()]
    return ";".join(["1", *parts, *named[:MAX_HEADERS]])


def answer(uri: str, headers: Headers, *, is_refused: bool = False) -> str | None:
    """The answer to a request; None: it asks nothing.

    Args:
        uri: path and query, as they came.
        headers: as they came.
        is_refused: the request is going to be refused: nothing is said about its headers, which a proxy may have set.
    """
    asked = headers.get(HEADER)
    if asked is None:
        return "question=lost" if headers.get("user-agent") == USER_AGENT else None
    found = _QUESTION.fullmatch(asked) if len(asked) <= _MAX_CHARACTERS else None
    if found is None or found[4].count(";") > MAX_HEADERS:
        return "question=changed"
    nonce, path_digest, query_digest, named = found.groups()
    path, _, query = uri.partition("?")
    told = [f"path={_compared(nonce, 'path', [path], path_digest)}"]
    told.append(f"query={_compared(nonce, 'query', [query], query_digest, empty='')}")
    if not is_refused and named:
        words = []
        for pair in named[1:].split(";"):
            name, _, wanted = pair.partition("=")
            words.append(_compared(nonce, name, headers.getlist(name), wanted))
        told.append(f"headers={','.join(words)}")
    return ";".join(told)


def read(value: str | None) -> Answer | None:
    """What an answer says; None: it is none."""
    if value is None:
        return None
    told = dict(part.partition("=")[::2] for part in value.split(";"))
    words = [word for name, text in told.items() for word in text.split(",") if name in ("path", "query", "headers")]
    if not told.keys() <= {"question", "path", "query", "headers", "upgrade"} or not _WORDS.issuperset(words):
        return None
    return Answer(
        question=told.get("question", "kept"),
        path=told.get("path"),
        query=told.get("query"),
        headers=tuple(told["headers"].split(",")) if "headers" in told else (),
        upgrade_lost="upgrade" in told,
    )


def _compared(nonce: str, name: str, values: list[str], wanted: str, empty: str | None = None) -> str:
    same = [hmac.compare_digest(_digest(nonce, name, value), wanted) for value in values]
    if any(same):
        return "kept"
    return "lost" if values in ([], [empty]) else "changed"


def _digest(nonce: str, name: str, value: str) -> str:
    message = f"{name}\0{value}".encode("utf-8", "surrogateescape")
    return hmac.new(nonce.encode(), message, "sha256").hexdigest()[:16]
