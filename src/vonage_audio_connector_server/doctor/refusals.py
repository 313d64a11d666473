"""Why an upgrade request was not answered with a WebSocket, from what came back: what was wrong, and what to do."""

from __future__ import annotations

from urllib.parse import urlsplit

from websockets.http11 import Response

from ..admission.probe import Answer
from .diagnosis import in_two
from .handshake import Attempt

LOST_UPGRADE = (
    "let the proxy speak HTTP/1.1 to the server and pass on Upgrade and Connection: see the page about deployment"
)

_STARLETTE = (b"Not Found", b'{"detail":"Not Found"}')
"""How Starlette and FastAPI answer an ordinary request for what isn't there. To a WebSocket they say 403."""

_NGROK = {
    "ERR_NGROK_3200": ("the tunnel is not open", "start ngrok, and look at the name that it prints"),
    "ERR_NGROK_6024": ("ngrok's warning page for browsers answers", "it needs a plan, or a name of your own"),
    "ERR_NGROK_8012": ("the tunnel is open, and nothing listens at its other end", "start the server, on that port"),
}

_COMPARE = "compare the path with that of your mount or route"
_UPSTREAM = "is the server running, and does the proxy ask it at the right address and port?"

_STATUS = {
    400: ("the request is no good to who answers", LOST_UPGRADE),
    401: ("something before the connector asks for a login", "take it away from this path: the router can't log in"),
    404: (
        "nothing answers on that path, or Upgrade and Connection get lost on the way",
        f"{_COMPARE}; then see that the proxy passes on both headers",
    ),
    407: ("a proxy asks for a login", "the router can't log in: take that away"),
    426: ("Upgrade and Connection get lost on the way", LOST_UPGRADE),
    429: ("there were too many requests", "raise the limit of the proxy, or wait"),
    431: ("the headers are too long for who answers", "make the custom headers shorter, or raise the limit"),
    502: ("a proxy answers, and the server behind it doesn't", _UPSTREAM),
    503: ("who answers has no server for it", _UPSTREAM),
    504: ("a proxy answers, and the server behind it takes too long", _UPSTREAM),
    530: ("the tunnel is not open", "start the tunnel (cloudflared), and see that it is healthy"),
}


def why(attempt: Attempt, *, is_tls: bool) -> tuple[str, str]:
    """What was wrong, and what to do; for an attempt that got no connection."""
    response, error = attempt.response, attempt.error
    if response is None:
        text, advice = in_two(str(error))
        return text, advice or "does the server's log say that the request came?"
    status = response.status_code
    if attempt.answer is not None:
        return _ours(attempt.answer, status)
    text, advice = _anybody(response, status, is_tls=is_tls)
    return f"{text} (HTTP {status})", advice


def _ours(answer: Answer, status: int) -> tuple[str, str]:
    """The connector itself has answered."""
    if answer.upgrade_lost:
        return "the request comes to the connector as an ordinary one: Upgrade and Connection get lost", LOST_UPGRADE
    if status == 403 and answer.query in ("lost", "changed"):
        text = f"authorize said no (HTTP 403), and the query is {answer.query} on the way: a token in it doesn't arrive"
        return text, "let the proxy pass on path and query as they are"
    if status == 403:
        return (
            "authorize said no (HTTP 403), and the query arrived as it was sent",
            "a token or secret is missing, wrong or expired; a one-time token opens one connection: mint a new one",
        )
    if status == 503:
        return (
            "the connector lets nobody in just now (HTTP 503)",
            "all connections are taken (max_connections), it is stopping, or authorize took too long: see its log",
        )
    return f"authorize failed (HTTP {status})", "the server's log has the traceback"


def _anybody(response: Response, status: int, *, is_tls: bool) -> tuple[str, str]:
    headers, body = response.headers, bytes(response.body or b"")
    ngrok = headers.get("ngrok-error-code")
    if ngrok is not None:
        return _NGROK.get(ngrok, ("ngrok answers, and not the server", f"look up {_short(ngrok)} in its documentation"))
    if not is_tls and status == 400 and b"https" in body.lower():
        return "the port speaks TLS, and the address is for one that doesn't", "write wss:// in place of ws://"
    if 200 <= status < 300:
        if "html" in headers.get("content-type", "").lower():
            text = "a web page answers: that of a tunnel before its visitors, of a login, or of another program"
            return text, "open the address in a browser, see whose page it is, and take it away or mend the path"
        return "an ordinary answer comes, and no WebSocket", f"see that the path is right; then {LOST_UPGRADE}"
    if 300 <= status < 400:
        where = urlsplit(headers.get("location", ""))._replace(query="", fragment="").geturl()
        return (
            f"the caller is sent elsewhere, to {_short(where)}",
            "the router is not known to follow: give the connect call the address that answers by itself",
        )
    if status == 404 and body.strip() in _STARLETTE:
        text = "the request comes to the application as an ordinary one: Upgrade and Connection get lost"
        return text, LOST_UPGRADE
    if status == 403:
        return (
            "it is refused, and not by the connector's authorize",
            f"{_COMPARE}: applications answer an unknown one so; or a firewall before them says no",
        )
    if status >= 500 and status not in _STATUS:
        return "who answers has failed", "see the logs of the server and of the proxy"
    return _STATUS.get(status, ("it is refused", "see the logs of the server and of the proxy"))


def _short(text: str) -> str:
    """What a stranger has written, fit for a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text[:120])
