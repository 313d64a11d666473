"""A program that is tried where it stands: its server runs in a thread of this process, with an event loop of its own.

So what the server knows of a call (the causes of gaps, its log) can stand in the report, and a program that blocks its
event loop doesn't block the caller.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from ..config import AudioConnectorServerConfig
from ..extensions import RECORDER
from ..recording import Recording
from ..recording.recorder import MemoryRecorder
from ..video import Video
from .target import as_app, load_target


class Program:
    """A program that is being served.

    Attributes:
        address: where; `ws://127.0.0.1:PORT`.
    """

    def __init__(self, target: str) -> None:
        self.address = ""
        self._app = as_app(load_target(target))
        self._recorders: dict[str, MemoryRecorder] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="program", daemon=True)

    def start(self) -> None:
        """Serve it.

        Raises:
            AudioConnectorStartServerError: its `on_start` failed, or no port is free.
        """
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Stop serving it."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def seen(self, connection_id: str) -> Recording | None:
        """What the server saw of the call with this `x-opentok-ws-connectionid`; None: nothing."""
        recorder = self._recorders.get(connection_id)
        return recorder.recordings[-1] if recorder is not None and recorder.recordings else None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            connection_id = Headers(scope=scope).get("x-opentok-ws-connectionid", "")
            recorder = self._recorders.setdefault(connection_id, MemoryRecorder())
            scope["extensions"] = {**(scope.get("extensions") or {}), RECORDER: recorder}
        await self._app(scope, receive, send)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as exc:  # noqa: BLE001 (whoever waits for the start gets it)
            self._failed = exc
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config = AudioConnectorServerConfig(host="127.0.0.1", port=0, app=self._serve)
        handle = await Video().start_audio_connector_server(config)
        self.address = f"ws://127.0.0.1:{handle.port}"
        self._ready.set()
        await self._stop.wait()
        await handle.stop(drain_s=1.0)


@contextmanager
def program(target: str) -> Iterator[Program]:
    """Serve `module:on_connect`, or an ASGI application, while the block lasts.

    Raises:
        CommandError: there is no such thing.
        AudioConnectorStartServerError: it could not be started.
    """
    one = Program(target)
    one.start()
    try:
        yield one
    finally:
        one.stop()
