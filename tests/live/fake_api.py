"""A stand-in for Vonage's REST API, over HTTPS on loopback, with a media router behind it that really connects.

It takes the connect call and the force-disconnect of both platforms, answers as it was told to, and remembers all that
came. What it does with an address that it was given, its `router` decides: one over a real socket, or one that calls an
application in the process of the test.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.from_thread
import anyio.lowlevel
import jwt
import trustme

from vonage_audio_connector_server import JSONTransport
from vonage_audio_connector_server.simulator.call import SimulatedCall
from vonage_audio_connector_server.simulator.carrier import DialError
from vonage_audio_connector_server.simulator.opening import call_app, dial
from vonage_audio_connector_server.simulator.setup import Setup
from vonage_audio_connector_server.waits import CHANGED

APPLICATION_ID = "0a1b2c3d-0000-4000-8000-00805f9b34fb"
API_KEY = "46012345"
API_SECRET = "5e8c1f0a9b7d3e6c2a4f8d1b0c9e7a6f5d4c3b2a"  # 40 characters, as real ones have

NEW_SESSION = "2_MX5uZXd-c2Vzc2lvbn4"

_CONNECT = re.compile(r"/v2/project/([\w-]+)/connect")
_CONNECTION = re.compile(r"/v2/project/([\w-]+)/session/([^/]+)/connection/([^/]+)")


@dataclass
class Asked:
    """One request to the API."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def credentials(self) -> str:
        """The JWT of the request."""
        return (self.headers.get("X-OPENTOK-AUTH") or self.headers["Authorization"]).removeprefix("Bearer ")


@dataclass
class Leg:
    """One connection of the router, from the connect call on."""

    connection_id: str
    websocket: Mapping[str, Any]
    session_id: str
    dialled: threading.Event = field(default_factory=threading.Event)  # and let in, or not
    over: threading.Event = field(default_factory=threading.Event)
    refused: str | None = None
    ended: str | None = None
    loud: threading.Event = field(default_factory=threading.Event)  # something loud is heard
    hang_up: Callable[[], object] = lambda: None

    def setup(self, *, headers_in_request: bool, ids_in_request: bool) -> Setup:
        """As the router calls."""
        custom = dict(self.websocket.get("headers", {}))
        transport = self.websocket.get("audioTransport")
        kind = Setup if headers_in_request else _LateSetup
        if ids_in_request and headers_in_request:
            custom |= {"x-opentok-ws-sessionid": self.session_id}
        return kind(
            rate_hz=self.websocket["audioRate"],
            headers=custom,
            connection_id=self.connection_id if ids_in_request else "another-one",
            transport=JSONTransport(transport["audio_field"], transport["receive_audio_field"]) if transport else None,
        )


class _LateSetup(Setup):
    """Custom headers come in the first message alone, as older guides have it."""

    def request_headers(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in super().request_headers() if name not in self.headers]


async def _stay(leg: Leg, call: SimulatedCall) -> None:
    """Speak, and stay until the force-disconnect or the server's close."""
    hung_up = anyio.Event()
    token = anyio.lowlevel.current_token()
    leg.hang_up = lambda: anyio.from_thread.run_sync(hung_up.set, token=token)
    leg.dialled.set()
    call.say(b"\1\1" * 8_000)

    async def hang_up() -> None:
        await hung_up.wait()
        call.hang_up()

    async def listen() -> None:
        await call.until(lambda now_s: None if call.twin.loud else CHANGED)
        leg.loud.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hang_up)
        tasks.start_soon(listen)
        await call.until(lambda now_s: CHANGED)
        tasks.cancel_scope.cancel()
    leg.ended = str(call.ended)


Router = Callable[["FakeAPI", Leg], object]


def over_sockets(fake: FakeAPI, leg: Leg) -> None:
    """The router dials the address that it was given, in a thread of its own."""

    async def main() -> None:
        try:
            async with dial(leg.websocket["uri"], fake.setup_of(leg), make_call=SimulatedCall) as call:
                await _stay(leg, call)
        except DialError as exc:
            leg.refused = str(exc)
        finally:
            leg.dialled.set()
            leg.over.set()

    thread = threading.Thread(target=anyio.run, args=(main,), name="router")
    thread.start()
    fake.threads.append(thread)


def into_app(app: Any, tasks: anyio.abc.TaskGroup) -> Router:
    """The router calls an application of the running event loop."""
    token = anyio.lowlevel.current_token()

    def router(fake: FakeAPI, leg: Leg) -> None:
        parts = urlsplit(leg.websocket["uri"])
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"

        async def main() -> None:
            try:
                setup = fake.setup_of(leg)
                async with call_app(app, path, setup, lifespan=False, make_call=SimulatedCall) as call:
                    await _stay(leg, call)
            except DialError as exc:
                leg.refused = str(exc)
            finally:
                leg.dialled.set()
                leg.over.set()

        anyio.from_thread.run_sync(tasks.start_soon, main, token=token)

    return router


def never(fake: FakeAPI, leg: Leg) -> None:
    """The router never comes."""


class FakeAPI:
    """The API; use it with `serving`.

    Attributes:
        host: where it is.
        answers: the status of each connect call, and what is said; then all is well.
        disconnect_status: the statuses of the force-disconnects; then all is well.
        hold: until it is set, a connect call gets no answer; `held` tells that one waits.
        answers_first: the answer comes before the router connects, and not after it.
        uri_of: what the router makes of an address, as a proxy that spoils it.
        asked: all requests.
        legs: what was connected, by the connection's id.
    """

    def __init__(self) -> None:
        self.host = ""
        self.router: Router = over_sockets
        self.answers: list[tuple[int, Any]] = []
        self.disconnect_status: list[int] = []
        self.hold: threading.Event | None = None
        self.answers_first = False
        self.headers_in_request = True
        self.ids_in_request = True
        self.uri_of: Callable[[str], str] = str
        self.asked: list[Asked] = []
        self.legs: dict[str, Leg] = {}
        self.threads: list[threading.Thread] = []
        self.held = threading.Event()
        self.disconnected = threading.Event()

    def setup_of(self, leg: Leg) -> Setup:
        return leg.setup(headers_in_request=self.headers_in_request, ids_in_request=self.ids_in_request)

    @property
    def connects(self) -> list[Asked]:
        return [one for one in self.asked if _CONNECT.fullmatch(one.path)]

    @property
    def disconnects(self) -> list[Asked]:
        return [one for one in self.asked if one.method == "DELETE"]

    def secrets(self) -> list[str]:
        """All that must be in no output: what opens something, that was sent to it."""
        found = [API_SECRET]
        for one in self.asked:
            found.append(one.credentials)
            if isinstance(one.body, dict):
                found += [one.body["token"], *one.body["websocket"].get("headers", {}).values()]
                query = urlsplit(one.body["websocket"]["uri"]).query
                found += [pair.partition("=")[2] for pair in query.split("&") if pair]
        return found

    def take(self, asked: Asked) -> tuple[int, Any]:
        """Answer one request."""
        self.asked.append(asked)
        if _CONNECT.fullmatch(asked.path) and asked.method == "POST":
            return self._connect(asked)
        if (asked.method, asked.path) == ("POST", "/session/create"):
            return 200, [{"session_id": NEW_SESSION}] if "p2p.preference=disabled" in asked.body else []  # routed
        found = _CONNECTION.fullmatch(asked.path)
        if found is None or asked.method != "DELETE":
            return 404, {"message": "no such path"}
        if self.disconnect_status:
            return self.disconnect_status.pop(0), {"message": "on purpose"}
        leg = self.legs.get(found[3])
        self.disconnected.set()
        if leg is None or leg.over.is_set() or leg.session_id != found[2]:
            return 404, {"message": "the client is not connected to the session"}
        with contextlib.suppress(RuntimeError):  # its event loop is gone, so it has ended
            leg.hang_up()
        return 204, None

    def _connect(self, asked: Asked) -> tuple[int, Any]:
        body = asked.body
        claims = jwt.decode(body["token"], options={"verify_signature": False})
        if claims.get("role") != "publisher" or claims.get("session_id") != body["sessionId"]:
            return 400, {"message": "the token is not that of a publisher of this session"}
        hold = self.hold
        if hold is not None:
            self.held.set()
            hold.wait(30)
        if self.answers:
            return self.answers.pop(0)
        number = len(self.legs)
        websocket = {**body["websocket"], "uri": self.uri_of(body["websocket"]["uri"])}
        leg = Leg(f"c0ffee00-0000-4000-8000-{number:012}", websocket, body["sessionId"])
        self.legs[leg.connection_id] = leg
        self.router(self, leg)
        if self.router is not never and not self.answers_first:
            leg.dialled.wait(10)
        return 200, {"id": f"b0a7{number:04}", "connectionId": leg.connection_id}

    @contextlib.contextmanager
    def serving(self, authority: trustme.CA) -> Iterator[FakeAPI]:
        """Serve it, with a certificate for `localhost`."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                raw = self.rfile.read(length)
                is_json = self.headers.get("content-type") == "application/json"
                body = json.loads(raw) if raw and is_json else raw.decode()
                status, answer = fake.take(Asked(self.command, self.path, dict(self.headers), body))
                content = (
                    answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
                )
                with contextlib.suppress(OSError):  # nobody waits any more
                    self.send_response(status)
                    self.send_header("content-type", "text/html" if isinstance(answer, bytes) else "application/json")
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_DELETE = do_POST  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = False
            block_on_close = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # who doesn't trust the certificate ends the handshake

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        with Server(("127.0.0.1", 0), Handler) as server:
            # The handshake is made by the thread that reads, and not by the one that accepts.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            self.host = f"localhost:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield self
            finally:
                for leg in self.legs.values():
                    with contextlib.suppress(RuntimeError):
                        leg.hang_up()
                server.shutdown()
                thread.join()
                for one in self.threads:
                    one.join(10)
