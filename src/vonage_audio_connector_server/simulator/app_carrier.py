"""A call of an ASGI application in this process, without a socket: on asyncio and trio, in real or virtual time.

Whoever calls a connector may offer it a link, as our own server does: then messages go past `receive` and `send`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
import anyio.abc

from ..close_codes import ABNORMAL, INTERNAL_ERROR, NORMAL, WENT_WELL
from ..extensions import LINK
from ..runtime import make_waiter
from ..waiter import WOKEN
from .carrier import CONNECT_S, DialError, Lost, Receiver
from .failures import refused

Message = MutableMapping[str, Any]
Application = Callable[[Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
MakeLink = Callable[[Callable[[bytes | str], None], Callable[[int, str], None]], Any]


class AppCarrier:
    """One WebSocket connection of an ASGI application.

    Args:
        app: the application.
        path: what is asked for, with its query.
        headers: of the upgrade request.
        state: of the application's lifespan.
        make_link: makes the link that a connector may take, of what gets its messages and how it closes; None: none.

    Attributes:
        error: what the application raised.
    """

    def __init__(
        self,
        app: Application,
        path: str,
        headers: Sequence[tuple[str, str]],
        state: dict[str, Any] | None = None,
        make_link: MakeLink | None = None,
    ) -> None:
        self._app = app
        self._scope = _scope(path, headers, {} if state is None else state)
        self._inbox: deque[Message] = deque([{"type": "websocket.connect"}])
        self._waiter: Any = make_waiter()
        self._receiver: Receiver | None = None
        self._early: list[bytes | str] = []  # that came before there was a receiver
        self._answered = anyio.Event()
        self._status = 403  # of a refusal
        self._is_open = False
        self._lost: Lost | None = None
        self._link: Any = None
        if make_link is not None:
            self._link = self._scope["extensions"][LINK] = make_link(self._message_received, self._closed)
        self.error: Exception | None = None

    async def connect(self, tasks: anyio.abc.TaskGroup) -> None:
        """See `Carrier`."""
        tasks.start_soon(self._run)
        with anyio.move_on_after(CONNECT_S):
            await self._answered.wait()
        if self._is_open:
            return
        self._end(Lost(None))
        if self.error is not None:
            raise DialError(f"the application failed before it accepted the connection: {self.error!r}") from self.error
        if self._answered.is_set():
            raise DialError(refused(self._status, is_tls=False))
        raise DialError(f"the server did not accept the connection within {CONNECT_S:g} s")

    def start(self, receiver: Receiver) -> None:
        """See `Carrier`."""
        self._receiver = receiver
        for message in self._early:
            receiver.message_received(message)
        if self._lost is not None:
            receiver.lost(self._lost)

    def write(self, messages: Sequence[bytes | str]) -> None:
        """See `Carrier`."""
        if self._lost is not None:
            return
        if self._is_linked:
            self._link.give(messages)
            return
        for message in messages:
            kind = "bytes" if isinstance(message, bytes) else "text"
            self._inbox.append({"type": "websocket.receive", kind: message})
        self._go_on()

    def close(self, code: int, reason: str) -> None:
        """See `Carrier`."""
        self._hang_up(code, reason, Lost(code, reason, "simulator"))

    def abort(self, reason: str) -> None:
        """See `Carrier`."""
        self._inbox.clear()  # what is on the way is lost with the connection
        if self._is_linked:
            self._link.lose()
        self._hang_up(ABNORMAL, "", Lost(ABNORMAL, reason, "simulator", kind="lost"))

    @property
    def _is_linked(self) -> bool:
        return self._link is not None and self._link.is_taken

    def _go_on(self) -> None:
        """Let the application read: here and now where it waits for it, on asyncio, as over our own server."""
        waiter = self._waiter
        if getattr(waiter, "wakeup", None) is None:
            waiter.wake()
        else:
            waiter.resume(WOKEN)

    def _hang_up(self, code: int, reason: str, lost: Lost) -> None:
        if self._lost is None:
            self._inbox.append({"type": "websocket.disconnect", "code": code, "reason": reason})
            self._waiter.wake()
            self._end(lost)
            if self._is_linked:
                self._link.give([(code, reason)])

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as exc:  # noqa: BLE001 (whatever the application raises; who opened the call raises it again)
            self.error = exc
        finally:
            self._answered.set()
            if self.error is not None:
                self._end(Lost(INTERNAL_ERROR, "", "server", f"the application failed: {self.error!r}"))
            self._end(Lost(ABNORMAL, "", None, "the application ended without closing the connection", "lost"))

    async def _receive(self) -> Message:
        while not self._inbox:
            await self._waiter
            self._waiter.take()
        return self._inbox.popleft()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self._is_open = True
            self._answered.set()
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
        elif kind == "websocket.http.response.body":
            if not message.get("more_body"):
                self._answered.set()
        elif self._lost is not None:
            if kind != "websocket.close":
                raise OSError("the connection is closed")
        elif kind == "websocket.close":
            self._closed(message.get("code") or NORMAL, message.get("reason") or "")
        else:
            data = message.get("bytes")
            self._message_received(message["text"] if data is None else data)

    def _message_received(self, content: bytes | str) -> None:
        if self._receiver is None:
            self._early.append(content)
        else:
            self._receiver.message_received(content)

    def _closed(self, code: int, reason: str) -> None:
        if not self._is_open:
            self._answered.set()
            return
        self._inbox.append({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._waiter.wake()
        self._end(Lost(code, reason, "server", close_error(code, reason)))

    def _end(self, lost: Lost) -> None:
        if self._lost is None:
            self._lost = lost
            if self._receiver is not None:
                self._receiver.lost(lost)


def close_error(code: int, reason: str) -> str | None:
    """What a close by the server says of what was wrong; None for the usual ones."""
    if code in WENT_WELL:
        return None
    return f"the server closed the connection with {code}{f' ({reason})' if reason else ''}"


class Lifespan:
    """The lifespan of an ASGI application, around its calls.

    Attributes:
        state: what it has put there for its connections.
    """

    def __init__(self, app: Application) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._to_app: deque[Message] = deque()
        self._waiter: Any = None
        self._told: dict[str, anyio.Event] = {}
        self._failed: str | None = None
        self._is_over = False  # it has returned, or raised: one that knows no lifespan does so at once

    async def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Let it start up, as far as the application knows of it.

        Raises:
            DialError: it failed.
        """
        self._waiter = make_waiter()
        tasks.start_soon(self._run)
        await self._ask("startup")

    async def stop(self) -> None:
        """Let it shut down.

        Raises:
            DialError: it failed.
        """
        await self._ask("shutdown")

    async def _ask(self, what: str) -> None:
        if not self._is_over:
            told = self._told[what] = anyio.Event()
            self._to_app.append({"type": f"lifespan.{what}"})
            self._waiter.wake()
            await told.wait()
        if self._failed is not None:
            raise DialError(f"the application's {what} failed: {self._failed}")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as exc:  # noqa: BLE001 (an application that knows no lifespan raises whatever it likes)
            if "shutdown" in self._told:
                self._failed = self._failed or repr(exc)
        finally:
            self._is_over = True
            for told in self._told.values():
                told.set()

    async def _receive(self) -> Message:
        while not self._to_app:
            await self._waiter
            self._waiter.take()
        return self._to_app.popleft()

    async def _send(self, message: Message) -> None:
        what, _, outcome = message["type"].removeprefix("lifespan.").partition(".")
        if outcome == "failed":
            self._failed = message.get("message") or "it says no more"
        self._told[what].set()


def _scope(path: str, headers: Sequence[tuple[str, str]], state: dict[str, Any]) -> dict[str, Any]:
    parts = urlsplit(path)
    everything = [("host", "testserver"), ("user-agent", "vonage-audio-connector-simulator"), *headers]
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 50_000),
        "path": unquote(parts.path or "/"),
        "raw_path": (parts.path or "/").encode(),
        "root_path": "",
        "query_string": parts.query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in everything],
        "subprotocols": [],
        "state": state.copy(),
        "extensions": {"websocket.http.response": {}},
    }
