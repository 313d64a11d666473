"""One call of the page: the browser is its microphone and its loudspeaker, and presses its buttons.

Binary messages are frames of PCM, both ways: what the caller says, and what the router plays at each tick, silence
included. Texts are JSON objects with one key: the page's say what is to be done, ours what has happened.
"""

from __future__ import annotations

import json
import logging
import secrets
from contextlib import suppress
from typing import Any

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorError
from ..extensions import CALLS, RECORDER
from ..recording import Recording
from ..recording.recorder import SoleRecorder
from ..runtime import single_error
from ..simulator.call import SimulatedCall
from ..simulator.carrier import DialError
from ..simulator.opening import call_app
from ..simulator.report import joined
from ..simulator.setup import Setup
from ..simulator.speech import RECORDINGS, recording
from .feed import Feed
from .microphone import Microphone

logger = logging.getLogger("vonage_audio_connector_server")

STATUS_FRAMES = 5
"""The page is told after so many frames: ten times a second."""

MOST_S = 1800.0
"""A call that is longer is ended: a page that somebody forgot would fill the memory with its recording."""

MOST_KEYS = 32


class PageCall:
    """The call of one page.

    Args:
        websocket: of the page, which has not been accepted yet.
        app: the application that is called.

    Attributes:
        name: under which the recording is kept.
        recording: of the call, once it is over; None: there was none.
    """

    def __init__(self, websocket: WebSocket, app: ASGIApp) -> None:
        self.name = secrets.token_urlsafe(8)
        self.recording: Recording | None = None
        self._websocket = websocket
        self._app = app
        self._recorder = SoleRecorder()
        self._is_gone = False

    async def run(self) -> None:
        """Serve the page until it goes, or hangs up, or the program does."""
        await self._websocket.accept()
        with suppress(WebSocketDisconnect, OSError):  # the page went away
            try:
                path, setup = _asked_for(await self._websocket.receive_text())
                await self._call(path, setup)
            except (AudioConnectorError, ValueError) as exc:
                await self._tell(error=str(exc))
            if not self._is_gone:
                await self._websocket.close()

    async def _call(self, path: str, setup: Setup) -> None:
        call: SimulatedCall | None = None
        feed: Feed | None = None
        try:
            with single_error():
                async with call_app(self._serve, path, setup, lifespan=False, make_call=SimulatedCall) as call:
                    microphone = Microphone(call.twin.audio_format.frame_bytes)
                    call.twin.microphone = microphone.read
                    feed = Feed(call.twin, self._recorder.tapes)
                    await self._tell(connected={"frame_bytes": call.twin.audio_format.frame_bytes})
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._play, call, feed, tasks.cancel_scope)
                        await self._obey(call, microphone)
                        tasks.cancel_scope.cancel()
        except (DialError, WebSocketDisconnect):
            raise
        except Exception:
            # An application that is none of ours may raise whatever it likes; ours closes with 1011, and logs it.
            if call is None or call.ended is None:
                raise
            logger.exception("a call of the console failed")
        finally:
            if call is not None:
                seen = self._recorder.recordings
                self.recording = joined(call.recording, seen[-1]) if seen else call.recording
        if call is not None and call.ended is not None and feed is not None:
            for one in feed.new(call.now_s):
                await self._tell(**one)
            lost = call.ended
            told = {"code": lost.code, "reason": lost.reason, "by": lost.by, "error": lost.error, "kept": self.name}
            await self._tell(ended=told)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, as the server of the page serves it, and recorded by us."""
        around = self._websocket.scope
        extensions = around.get("extensions") or {}
        root = around.get("root_path", "")
        scope.update({name: around[name] for name in ("app", "root_path") if name in around})
        scope.update(
            path=root + scope["path"],
            raw_path=root.encode() + scope["raw_path"],
            state=dict(around.get("state") or {}),
            extensions=scope["extensions"] | {CALLS: extensions.get(CALLS), RECORDER: self._recorder},
        )
        await self._app(scope, receive, send)

    async def _obey(self, call: SimulatedCall, microphone: Microphone) -> None:
        """Do what the page says, until it hangs up or goes."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._is_gone = True
                return
            if message.get("bytes") is not None:
                microphone.put(message["bytes"])
                continue
            try:
                command = json.loads(message["text"])
                if "hang_up" in command:
                    return
                _do(call, command)
            except (AudioConnectorError, ValueError, TypeError) as exc:
                await self._tell(problem=str(exc))

    async def _play(self, call: SimulatedCall, feed: Feed, scope: anyio.CancelScope) -> None:
        """Give the page what is heard, tick by tick, and tell it what happens; ends the scope with the call."""
        heard, audio_format = call.twin.router.heard, call.twin.audio_format
        at = told_at = 0
        while call.ended is None:
            await call.wait(audio_format.frame_s)
            call.play()
            while at < len(heard):
                await self._websocket.send_bytes(bytes(heard[at : at + audio_format.frame_bytes]))
                at += audio_format.frame_bytes
            if at - told_at >= STATUS_FRAMES * audio_format.frame_bytes:
                told_at = at
                for one in feed.new(call.now_s):
                    await self._tell(**one)
            if call.now_s > MOST_S:
                await self._tell(problem=f"the console ends a call after {MOST_S / 60:g} minutes: call again")
                break
        scope.cancel()

    async def _tell(self, **what: Any) -> None:
        if not self._is_gone:
            await self._websocket.send_text(json.dumps(what))


def _do(call: SimulatedCall, command: object) -> None:
    """Do what the page says; raises `AudioConnectorError` where that can't be done, or takes an extra."""
    match command:
        case {"interrupt": _}:
            call.interrupt()
        case {"mute": True}:
            call.mute()
        case {"mute": False}:
            call.unmute()
        case {"press": str(keys)}:
            call.press(keys[:MOST_KEYS])
        case {"say": str(name)} if name in RECORDINGS:
            call.say(recording(name, call.twin.audio_format.rate_hz), name=name)
        case _:
            raise ValueError(f"the console does not know {command!r}")


def _asked_for(text: str) -> tuple[str, Setup]:
    """The path and the settings that the page asks for."""
    try:
        start = json.loads(text)["start"]
        path, headers = start.get("path") or "/", dict(start.get("headers") or {})
        setup = Setup(
            rate_hz=start.get("rate_hz", 16_000),
            transport=JSONTransport() if start.get("transport") == "json" else None,
            router=start.get("router", "lenient"),
            headers=headers,
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"a call begins with its settings, and not with {text[:200]}") from exc
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"the path must begin with a slash: {path!r}")
    return path, setup
