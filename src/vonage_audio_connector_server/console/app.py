"""The console's routes: its page, the call of the page, what is left of ended calls, and the calls of the server."""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import anyio.to_thread
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from ..calls import Calls
from ..errors import MissingExtraError
from ..recording import Kind, Recording
from ..simulator.speech import RECORDINGS
from .door import COOKIE, Door
from .talk import Talk

PATH = "/console"

KEPT = 8
"""Calls of the page whose recordings stay: the oldest goes with the next one."""

_PAGE = Path(__file__).parent / "page.html"

_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}' blob:; worker-src blob:; style-src 'nonce-{nonce}'; "
    "connect-src 'self'; img-src data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class Console:
    """The console of one connector.

    Args:
        connector: the application that is called.
        calls: those that it serves, for the list.
        anywhere: whether other machines may use it.

    Attributes:
        is_told: the log has told the link.
        link: the path of its page, with the token; below the connector's own path.
    """

    def __init__(self, connector: ASGIApp, calls: Calls, *, anywhere: bool = False) -> None:
        self._connector = connector
        self._calls = calls
        self._door = Door(anywhere=anywhere)
        self._kept: OrderedDict[str, Recording] = OrderedDict()
        self.is_told = False
        self.link = f"{PATH}?token={self._door.token}"
        self._router = Router(
            [
                Route(PATH, self._page),
                Route(f"{PATH}/calls", self._list),
                Route(f"{PATH}/kept/{{call}}/{{what}}", self._left),
                WebSocketRoute(f"{PATH}/talk", self._talk),
            ],
            redirect_slashes=False,
        )

    def serves(self, path: str) -> bool:
        """Whether a path, as the connector sees it, is one of the console's."""
        return path == PATH or path.startswith(f"{PATH}/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or a page's call."""
        why = self._door.refusal(scope)
        if why is None and not self._door.has_token(scope) and not _asks_for_page(scope):
            why = "open the console with the link that the server printed when it started: its token is missing"
        if why is None:
            await self._router(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse(f"{why}\n", 403, _HEADERS)(scope, receive, send)
        else:
            await WebSocket(scope, receive, send).close()  # before the accept: HTTP 403

    async def _page(self, request: Request) -> Response:
        path = str(request.url.path)
        token = request.query_params.get("token")
        if token is not None and self._door.is_token(token):
            moved = RedirectResponse(path, 303, _HEADERS)
            moved.set_cookie(COOKIE, token, path=path, httponly=True, samesite="strict", secure=_is_secure(request))
            return moved
        if not self._door.has_token(request.scope):
            why = "open the console with the link that the server printed when it started: its token is missing or old"
            return PlainTextResponse(f"{why}\n", 403, _HEADERS)
        nonce = secrets.token_urlsafe(16)
        policy = {"content-security-policy": _POLICY.format(nonce=nonce)}
        page = _PAGE.read_text("utf-8").replace("$NONCE", nonce).replace("$RECORDINGS", json.dumps(RECORDINGS))
        return HTMLResponse(page, headers=_HEADERS | policy)

    async def _list(self, request: Request) -> Response:
        """The calls that are open, and how those ended that are not, the newest first."""
        live = [
            {"id": call.id, "place": call.place, "stats": asdict(call.stats())}
            for call in sorted(self._calls.live, key=lambda call: call.started_s)
        ]
        ended = [{"id": report.connection_id, "report": str(report)} for report in reversed(self._calls.ended)]
        return JSONResponse({"live": live, "ended": ended}, headers=_HEADERS)

    async def _talk(self, websocket: WebSocket) -> None:
        talk = Talk(websocket, self._connector)
        await talk.run()
        if talk.recording is not None:
            self._kept[talk.id] = talk.recording
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    async def _left(self, request: Request) -> Response:
        """What is left of an ended call: its sound, its report, its events."""
        recording = self._kept.get(request.path_params["call"])
        make = _MAKERS.get(request.path_params["what"])
        if recording is None or make is None:
            return PlainTextResponse("there is no such call any more\n", 404, _HEADERS)
        try:
            content, media_type = await anyio.to_thread.run_sync(make, recording)
        except MissingExtraError as exc:
            return PlainTextResponse(f"{exc}\n", 501, _HEADERS)
        name = request.path_params["what"]
        disposition = "inline" if name == "report.html" else "attachment"
        headers = _HEADERS | {"content-disposition": f'{disposition}; filename="{name}"'}
        return Response(content, media_type=media_type, headers=headers)


def _asks_for_page(scope: Scope) -> bool:
    """Whether it is the page itself that is asked for, which looks at the token by itself."""
    return scope["type"] == "http" and "token" in Request(scope).query_params


def _is_secure(request: HTTPConnection) -> bool:
    return request.url.scheme == "https"


def _sound(recording: Recording) -> tuple[bytes, str]:
    from ..simulator.report import Timeline, stereo_wav

    return stereo_wav(Timeline.of(recording)), "audio/wav"


def _report(recording: Recording) -> tuple[str, str]:
    from ..simulator.report import render_html

    return render_html([recording], title="A call from the console"), "text/html"


def _events(recording: Recording) -> tuple[str, str]:
    lines = []
    for entry in recording.entries:
        if entry.kind is Kind.NOTE:
            lines.append({"at_s": round(entry.at_s, 4)} | entry.data)
        elif entry.kind in (Kind.TEXT_TO_SERVER, Kind.TEXT_FROM_SERVER):
            who = "session" if entry.kind is Kind.TEXT_TO_SERVER else "server"
            lines.append({"at_s": round(entry.at_s, 4), "from": who, "text": entry.text})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "application/x-ndjson"


_MAKERS: dict[str, Callable[[Recording], tuple[bytes | str, str]]] = {
    "recording.wav": _sound,
    "report.html": _report,
    "events.jsonl": _events,
}
