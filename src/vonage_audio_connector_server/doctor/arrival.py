"""Did path, query and headers arrive as they were sent? From what the connector answers in its handshake."""

from __future__ import annotations

from collections.abc import Iterator

from ..admission.probe import Answer
from .diagnosis import Line
from .handshake import Attempt

_UNASKED = "can't be told: the server doesn't answer what doctor asks it, and is another one or an older version"
_REWRITTEN = "right, if your proxy rewrites it on purpose; else let it pass on path and query as they are"
_HEADERS = (
    "let the proxy or tunnel pass them on; nginx drops names with an underscore unless underscores_in_headers is on"
)


def arrived(attempt: Attempt, *, has_query: bool) -> Iterator[Line]:
    """The lines `path`, `query` and `headers` of an attempt, whether it got a connection or not."""
    answer = attempt.answer
    if answer is None or answer.upgrade_lost:
        told = _UNASKED if attempt.error is None else "can't be told: the connector didn't see the request"
        yield from (Line(name, "skipped", told) for name in ("path", "query", "headers"))
        return
    if answer.question != "kept":
        told = "can't be told: what doctor asks is a header, too"
        yield from (Line(name, "skipped", told) for name in ("path", "query"))
        lost = "doctor's own header doesn't arrive, and so others won't"
        yield Line("headers", "failed", lost, f"{_HEADERS}; or send in the query what the program needs")
        return
    yield _path(answer)
    yield _query(answer, has_query=has_query)
    yield _headers(answer, attempt)


def _path(answer: Answer) -> Line:
    if answer.path == "kept":
        return Line("path", "passed", "arrives as it was sent")
    return Line("path", "warning", "arrives as another path", _REWRITTEN)


def _query(answer: Answer, *, has_query: bool) -> Line:
    if answer.query == "kept":
        return Line("query", "passed", "arrives as it was sent" if has_query else "none was sent, and none arrives")
    if answer.query == "lost":
        advice = "a token or an id in it doesn't reach the program: let the proxy pass on the query as it is"
        return Line("query", "failed", "doesn't arrive", advice)
    return Line("query", "failed", "arrives with something else in it", "let the proxy pass on the query as it is")


def _headers(answer: Answer, attempt: Attempt) -> Line:
    if not answer.headers:
        return Line("headers", "skipped", "can't be told: a connector doesn't say so to whom it refuses")
    told = dict(zip(attempt.asked, answer.headers, strict=False))
    wrong = [f"{name} is {word}" for name, word in told.items() if word != "kept"]
    if wrong:
        return Line("headers", "failed", f"of {len(told)} headers {', '.join(wrong)} on the way", _HEADERS)
    custom = sum(not name.lower().startswith("x-opentok-") for name in told)
    own = f" and {custom} of yours" if custom else ""
    return Line("headers", "passed", f"all arrive as they were sent: {len(told) - custom} of the session{own}")


def guessed(with_query: Attempt, without: Attempt) -> Line:
    """The line `query` where the server doesn't say: what does it do without the query?"""
    if with_query.error is None and without.error is not None and without.status in (401, 403):
        return Line("query", "passed", f"arrives: without it the server refuses the connection (HTTP {without.status})")
    return Line("query", "skipped", _UNASKED)
