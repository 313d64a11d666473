"""What we use of other packages that they don't document: each must be as it was, or the table in docs is wrong.

See docs/discussion/hot-path.md. Where one of these fails with a new version, look at the file that uses it, and only
then raise the bound in pyproject.toml.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
from pathlib import Path
from typing import Any

import anyio
import h11
import uvicorn
import websockets.frames
from anyio.lowlevel import current_token
from starlette.routing import Match, Mount
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.protocol import CLOSING, OPEN
from websockets.server import ServerProtocol

from vonage_audio_connector_server import WebSocketProtocol
from vonage_audio_connector_server.waiter import AsyncioWaiter

ROOT = Path(__file__).parent.parent


async def answer_nothing(scope: Any, receive: Any, send: Any) -> None:
    """Stands for an application."""


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_how_uvicorn_makes_a_protocol_object() -> None:
    assert parameters(WebSocketsSansIOProtocol) == parameters(WebSocketProtocol)
    assert parameters(WebSocketProtocol) == ["config", "server_state", "app_state", "_loop"]
    config = uvicorn.Config(answer_nothing)
    config.load()
    assert config.loaded_app is not None
    assert (config.ws_ping_interval, config.ws_ping_timeout) == (20.0, 20.0)
    state = ServerState()
    assert (state.connections, state.tasks, state.default_headers) == (set(), set(), [])
    source = inspect.getsource(H11Protocol.handle_websocket_upgrade)
    for step in ("connection_made(self.transport)", "data_received(", "set_protocol(protocol)"):
        assert step in source
    assert "connection.shutdown()" in inspect.getsource(uvicorn.Server.shutdown)


def test_what_our_server_overrides() -> None:
    assert parameters(uvicorn.Server.startup) == parameters(uvicorn.Server.shutdown) == ["self", "sockets"]
    server = uvicorn.Server(uvicorn.Config(answer_nothing))
    assert isinstance(server.capture_signals(), contextlib.AbstractContextManager)
    assert (server.started, server.should_exit, server.force_exit) == (False, False, False)


async def make_http() -> H11Protocol:
    config = uvicorn.Config(answer_nothing)
    return H11Protocol(config=config, server_state=ServerState(), app_state={})


def test_the_http_class_has_its_parser_and_its_transport() -> None:
    http = asyncio.run(make_http())
    assert isinstance(http.conn, h11.Connection)
    assert http.conn.their_state is h11.IDLE
    assert http.transport is None


def test_http_may_be_whatever_makes_a_protocol() -> None:
    def make(**options: Any) -> asyncio.Protocol:
        return asyncio.Protocol()

    config = uvicorn.Config(answer_nothing, http=make)  # type: ignore[arg-type]
    config.load()
    assert config.http_protocol_class is make


def test_websockets_unmasks() -> None:
    apply_mask: Any = websockets.frames.apply_mask  # type: ignore[attr-defined]
    assert apply_mask(b"\1\2\3\4\5", b"\1\1\1\1") == b"\0\3\2\5\4"


def test_the_sans_io_protocol_begins_open_and_says_when_to_close_the_socket() -> None:
    protocol = ServerProtocol(state=OPEN)
    assert protocol.state is OPEN
    protocol.send_close(1000)
    assert protocol.state is CLOSING
    protocol.data_to_send()
    protocol.receive_data(b"\x88\x82\0\0\0\0\x03\xe8")  # the peer's answer
    protocol.events_received()
    assert b"" in protocol.data_to_send()


def test_a_task_waits_for_what_is_like_a_future() -> None:
    async def main() -> str:
        waiter = AsyncioWaiter()
        assert asyncio.isfuture(waiter)
        asyncio.get_running_loop().call_soon(waiter.resume, "item")
        await waiter
        brought: str = waiter.take()
        return brought

    assert asyncio.run(main()) == "item"


def test_a_mount_tells_whether_it_matches_and_what_it_holds() -> None:
    mount = Mount("/vonage", answer_nothing)
    assert mount.app is answer_nothing
    assert parameters(Mount.matches) == ["self", "scope"]
    assert mount.matches({"type": "websocket", "path": "/vonage/x", "root_path": ""})[0] is Match.FULL
    assert mount.matches({"type": "websocket", "path": "/vonage", "root_path": ""})[0] is Match.NONE


def test_anyio_tells_the_native_loop() -> None:
    async def main() -> bool:
        return current_token().native_token is asyncio.get_running_loop()

    assert anyio.run(main)


def test_the_page_lists_each_with_the_bounds_that_hold() -> None:
    page = (ROOT / "docs" / "discussion" / "hot-path.md").read_text()
    table = page.partition("| member |")[2].partition("\n\n")[0].splitlines()[2:]
    assert 0 < len(table) <= 10
    pyproject = (ROOT / "pyproject.toml").read_text()
    for row in table:
        *_, files, bounds = (cell.strip() for cell in row.strip("|").split("|"))
        for name in re.findall(r"`([a-z_/0-9]+\.py)`", files):
            assert (ROOT / "src" / "vonage_audio_connector_server" / name).is_file(), name
        package, *numbers = re.findall(r"[a-z]+|\d[\d.]*", bounds)
        if not bounds.startswith("CPython"):
            assert f'"{package}>={numbers[0]},<{numbers[1]}"' in pyproject, bounds
