"""The console's routes: its page, the calls of the page and what is left of them, and the calls of the server."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import anyio.to_thread
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from ..calls import Calls
from ..errors import MissingExtraError
from ..mounting import path_below
from ..simulator.speech import RECORDINGS
from .access import Access, cookie_name
from .downloads import FILES, Downloads
from .page_call import PageCall

logger = logging.getLogger("vonage_audio_connector_server")

PATH = "/console"

_PAGE = Path(__file__).parent / "page"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}
"""Of the page's parts; all of its folder is served."""

_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; worker-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Console:
    """The console of one application.

    Args:
        app: the application that is called, as a session calls it.
        calls: those that are listed.
        anywhere: whether other machines may use it.

    Attributes:
        link: the path of its page, with the token; below the application's own path.
    """

    def __init__(self, app: ASGIApp, calls: Calls, *, anywhere: bool = False) -> None:
        self._app = app
        self._calls = calls
        self._access = Access(anywhere=anywhere)
        self._downloads = Downloads()
        self._told: bool | None = None  # the log has the link: True, with its address
        self.link = f"{PATH}?token={self._access.token}"
        self._router = Router(
            [
                Route(PATH, self._page),
                Route(f"{PATH}/", self._without_slash),
                Route(f"{PATH}/calls", self._list),
                Route(f"{PATH}/kept/{{call}}/{{file}}", self._download),
                Route(f"{PATH}/{{part}}", self._part),
                WebSocketRoute(f"{PATH}/talk", self._talk),
            ],
            redirect_slashes=False,
        )

    def serves(self, path: str) -> bool:
        """Whether a path, below that of the application, is one of the console's."""
        return path == PATH or path.startswith(f"{PATH}/")

    def tell(self, address: str | None = None) -> None:
        """Write the link into the log, once; and once more when the address is known that was not before.

        Args:
            address: of the application: `http://host:port`, and its path if it is mounted.
        """
        if self._told is None or (self._told is False and address is not None):
            self._told = address is not None
            logger.info("the console is at %s%s", address or "<the path of the connector>", self.link)

    def tell_where(self, scope: Scope) -> None:
        """The same, at a request that tells the address: not by its headers, which whoever calls can make up."""
        host, port = scope.get("server") or ("", None)
        root: str = scope.get("root_path", "")
        if port is not None and not self._told and (root or "endpoint" not in scope):  # else it is one exact route
            scheme = "https" if scope["scheme"] in ("https", "wss") else "http"
            self.tell(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{root}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or a page's call."""
        why = self._access.refusal(HTTPConnection(scope))
        if why is None:
            await self._router(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close()  # before the accept: HTTP 403
        else:
            await PlainTextResponse(f"{why}\n", 403, _HEADERS)(scope, receive, send)

    async def _page(self, request: Request) -> Response:
        """The page; where the token is in its address, it moves into a cookie, and out of the address."""
        token = request.query_params.get("token")
        if token is not None:
            path = request.url.path
            moved = RedirectResponse(path, 303, _HEADERS)
            secure = request.url.scheme == "https"
            name = cookie_name(request)
            moved.set_cookie(name, token, path=path, httponly=True, samesite="strict", secure=secure)
            return moved
        names = "".join(f'<option value="{name}">{name}</option>' for name in RECORDINGS)
        page = (_PAGE / "page.html").read_text("utf-8").replace("<!-- recordings -->", names)
        return HTMLResponse(page, headers=_HEADERS | {"content-security-policy": _POLICY})

    async def _without_slash(self, request: Request) -> Response:
        return RedirectResponse(str(request.url.replace(path=request.url.path.rstrip("/"))), 307, _HEADERS)

    async def _part(self, request: Request) -> Response:
        """A style or a script of the page."""
        name = request.path_params["part"]
        media_type = _MEDIA_TYPES.get(Path(name).suffix)
        if media_type is None or not (_PAGE / name).is_file():
            return PlainTextResponse("the console has no such part\n", 404, _HEADERS)
        return FileResponse(_PAGE / name, headers=_HEADERS, media_type=media_type)

    async def _list(self, request: Request) -> Response:
        """The calls that are open, and how those ended that are not, the newest first."""
        live = [
            {"id": call.id, "place": call.place, "stats": asdict(call.stats())}
            for call in sorted(self._calls.live, key=lambda call: call.started_s)
        ]
        ended = [{"id": report.connection_id, "report": str(report)} for report in reversed(self._calls.ended)]
        return JSONResponse({"live": live, "ended": ended}, headers=_HEADERS)

    async def _talk(self, websocket: WebSocket) -> None:
        call = PageCall(websocket, self._app)
        try:
            await call.run()
        finally:
            if call.recording is not None:
                self._downloads.keep(call.name, call.recording)

    async def _download(self, request: Request) -> Response:
        """What is left of an ended call: its sound, its report, its events."""
        recording = self._downloads.find(request.path_params["call"])
        file = FILES.get(request.path_params["file"])
        if recording is None or file is None:
            return PlainTextResponse("there is no such call any more\n", 404, _HEADERS)
        try:
            content = await anyio.to_thread.run_sync(file.make, recording)
        except MissingExtraError as exc:
            return PlainTextResponse(f"{exc}\n", 501, _HEADERS)
        return Response(content, media_type=file.media_type, headers=_HEADERS | file.headers)


class ConsoleMiddleware:
    """Puts a console beside an application, below the same address.

    Args:
        app: the application, which may have connectors anywhere in it.
        calls: see `Console`.
        anywhere: see `Console`.

    Attributes:
        console: what it puts there.
    """

    def __init__(self, app: ASGIApp, calls: Calls, *, anywhere: bool = False) -> None:
        self.console = Console(app, calls, anywhere=anywhere)
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "lifespan" and self.console.serves(path_below(scope)):
            await self.console(scope, receive, send)
        else:
            await self._app(scope, receive, send)
