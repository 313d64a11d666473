"""One call of the page: the browser is its microphone and its loudspeaker, and presses its buttons.

Binary messages are frames of PCM, both ways: what the caller says, and what the router plays at each tick, silence
included. Texts are JSON objects: the page's have one key, what is to be done; ours have `status`, ten times a second,
and `event`, as things happen.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from typing import Any

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..call.recorded import RECORDER
from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorError
from ..recording import Entry, Kind, Recording
from ..recording.recorder import MemoryRecorder
from ..runtime import single_error
from ..simulator.call import SimulatedCall
from ..simulator.carrier import DialError
from ..simulator.loudness import is_loud, level_dbfs
from ..simulator.opening import call_app
from ..simulator.report import joined
from ..simulator.setup import Setup
from ..simulator.speech import RECORDINGS, recording
from .microphone import Microphone
from .turns import Turns

STATUS_S = 0.1
HANG_UP_S = 2.0
_SHOWN_NOTES = ("gap", "log", "error", "closed", "muted")


class Talk:
    """The call of one page.

    Args:
        websocket: of the page, which has not been accepted yet.
        connector: the application that is called.

    Attributes:
        id: under which the recording is kept.
        recording: of the call, once it is over; None: there was none.
    """

    def __init__(self, websocket: WebSocket, connector: ASGIApp) -> None:
        self.id = secrets.token_urlsafe(8)
        self.recording: Recording | None = None
        self._websocket = websocket
        self._connector = connector
        self._recorder = MemoryRecorder()
        self._shown = 0  # entries of the caller's recording that the page has got
        self._shown_of_server = 0

    async def run(self) -> None:
        """Serve the page until it goes, or hangs up, or the program does."""
        await self._websocket.accept()
        with suppress(WebSocketDisconnect, OSError, RuntimeError):  # the page went away
            try:
                wanted = json.loads(await self._websocket.receive_text())
                setup, path = _setup(wanted)
                with single_error():
                    await self._call(setup, path)
            except (AudioConnectorError, ValueError, KeyError, TypeError) as exc:
                await self._tell(error=str(exc))
            await self._websocket.close()

    async def _call(self, setup: Setup, path: str) -> None:
        call: SimulatedCall | None = None
        try:
            async with call_app(self._serve, path, setup, lifespan=False, make_call=SimulatedCall) as call:
                microphone = Microphone(call.twin.audio_format.frame_bytes)
                call.twin.microphone = microphone.read
                await self._tell(
                    connected={"recordings": RECORDINGS, "frame_bytes": call.twin.audio_format.frame_bytes}
                )
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._play, call)
                    tasks.start_soon(self._report, call)
                    tasks.start_soon(self._end_with, call, tasks.cancel_scope)
                    await self._obey(call, microphone)
                    tasks.cancel_scope.cancel()
        except DialError:
            raise
        except Exception as exc:  # noqa: BLE001 (whatever the program raised: the page tells it, the log has it)
            await self._tell(error=f"the program failed: {type(exc).__name__}: {exc}")
        finally:
            if call is not None:
                seen = self._recorder.recordings
                self.recording = joined(call.recording, seen[-1]) if seen else call.recording
        if call is not None and call.ended is not None:
            lost = call.ended
            told = {"code": lost.code, "reason": lost.reason, "by": lost.by, "error": lost.error, "kept": self.id}
            await self._tell(ended=told)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The connector, recorded by us where it isn't by itself."""
        scope["extensions"][RECORDER] = self._recorder
        await self._connector(scope, receive, send)

    async def _obey(self, call: SimulatedCall, microphone: Microphone) -> None:
        """Take what the page sends, until it hangs up or goes."""
        turns = self._turns = Turns(call.twin)
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            pcm = message.get("bytes")
            if pcm is not None:
                microphone.put(pcm)
                continue
            command = json.loads(message["text"])
            match command:
                case {"hang_up": _}:
                    return
                case {"interrupt": _}:
                    turns.interrupted(call.interrupt())
                case {"mute": bool(is_muted)}:
                    if is_muted:
                        call.mute()
                    else:
                        call.unmute()
                case {"press": str(keys)}:
                    call.press(keys[:32])
                case {"say": str(name)} if name in RECORDINGS:
                    call.say(recording(name, call.twin.audio_format.rate_hz), name=name)
                case {"send": str(text)}:
                    call.send(text)

    async def _play(self, call: SimulatedCall) -> None:
        """Give the page what is heard, tick by tick."""
        heard, frame_bytes = call.twin.router.heard, call.twin.audio_format.frame_bytes
        at = 0
        while call.ended is None:
            await call.wait(call.twin.audio_format.frame_s)
            call.play()
            while at < len(heard):
                await self._websocket.send_bytes(bytes(heard[at : at + frame_bytes]))
                at += frame_bytes

    async def _report(self, call: SimulatedCall) -> None:
        """Tell the page where the call is, and what has happened."""
        twin = call.twin
        level_bytes = twin.audio_format.frame_bytes * round(STATUS_S / twin.audio_format.frame_s)
        turns = Turns(twin)
        while call.ended is None:
            await call.wait(STATUS_S)
            entries = twin.recording.entries
            new, self._shown = entries[self._shown :], len(entries)
            said = b"".join(entry.payload for entry in new if entry.kind is Kind.AUDIO_TO_SERVER)
            await self._tell(
                status={
                    "at_s": round(call.now_s, 2),
                    "buffer_ms": round(twin.router.buffered_s * 1000),
                    "said_dbfs": round(level_dbfs(said), 1),
                    "heard_dbfs": round(level_dbfs(bytes(twin.router.heard[-level_bytes:])), 1),
                    "frames_sent": twin.frames_sent,
                    "frames_received": twin.router.frames_received,
                    "gaps": sum(1 for tape in self._recorder.tapes.values() for _ in tape.recording.notes("gap")),
                }
            )
            for entry in new:
                if entry.kind is Kind.AUDIO_TO_SERVER:
                    turns.said(entry.at_s, is_loud(entry.payload))
                elif (event := _event(entry)) is not None:
                    await self._tell(event=event)
            for tape in self._recorder.tapes.values():
                notes = tape.recording.entries
                fresh, self._shown_of_server = notes[self._shown_of_server :], len(notes)
                for entry in fresh:
                    if entry.kind is Kind.NOTE and (event := _event(entry)) is not None:
                        await self._tell(event=event)
            for turn in (*turns.new(), *self._turns.new()):
                await self._tell(turn=turn)

    async def _end_with(self, call: SimulatedCall, scope: anyio.CancelScope) -> None:
        """The program hangs up: nothing more is taken from the page."""
        await call.until(lambda now_s: float("inf"))
        await anyio.sleep(STATUS_S)  # what was heard last is still on its way
        scope.cancel()

    async def _tell(self, **what: Any) -> None:
        await self._websocket.send_text(json.dumps(what))


def _setup(wanted: Any) -> tuple[Setup, str]:
    """The settings that the page asks for."""
    start = wanted["start"]
    path = start.get("path") or "/"
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"the path must begin with a slash, not {path!r}")
    headers = start.get("headers") or {}
    setup = Setup(
        rate_hz=start.get("rate_hz", 16_000),
        transport=JSONTransport() if start.get("transport") == "json" else None,
        router=start.get("router", "lenient"),
        headers={str(name): str(value) for name, value in headers.items()},
    )
    return setup, path


def _event(entry: Entry) -> dict[str, Any] | None:
    """What the page shows of an entry."""
    at_s = round(entry.at_s, 2)
    if entry.kind is Kind.TEXT_TO_SERVER:
        return {"at_s": at_s, "from": "session", "text": entry.text.strip()}
    if entry.kind is Kind.TEXT_FROM_SERVER:
        return {"at_s": at_s, "from": "program", "text": entry.text}
    if entry.kind is Kind.NOTE and (data := entry.data).get("note") in _SHOWN_NOTES:
        return {"at_s": at_s, "from": "note", "note": data}
    return None
