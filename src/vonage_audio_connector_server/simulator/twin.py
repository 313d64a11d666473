"""The media router's whole end of one connection: what it sends and when, and what it makes of what comes.

No I/O and no clock, and it calls nobody but the microphone that it was given: whoever drives it says the time, writes
what `due` returns, and asks again at `next_s`. Time 0 is the accept. *Tick* `k` is `k` frames later: then a frame is
played to the listener, and one is sent from the first tick behind the first message on. Deadlines are counted from
time 0, so no lateness adds up. Evidence marks as in docs/protocol.md.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ..audio.levels import is_loud
from ..core.wire import CONNECTED_EVENT
from ..formats import AudioFormat
from ..recording import Entry, Kind, Recording
from .form import AudioForm
from .router import Router
from .rules import LENIENT, Rules
from .said import Said

FIRST_MESSAGE_S = 0.05
"""The first text comes this long after the accept, as over a network: a simulator that is kinder hides faults."""

Silence = Literal["frames", "none"]
"""What is sent while the caller says nothing: frames of silence, as of an open microphone, or nothing at all (C)."""

KEY_MS = 260
"""How long a key is pressed (V)."""

_EPSILON = 1e-6  # seconds by which floats may miss a tick


class Twin:
    """The router's end of one connection.

    Args:
        audio_format: of the connection.
        origin_s: the time of the accept, on the caller's monotonic clock.
        form: how audio travels.
        rules: what it makes of what comes.
        custom: the custom keys of the connect call.
        first_s: how long after the accept the first text goes out.
        silence: what is sent while the caller says nothing.

    Attributes:
        router: what is heard.
        recording: all that happened.
        microphone: gives the next frame of a live caller; None where there is none just now. It is asked at every tick
            at which nothing else is said.
        is_muted: the caller has been muted.
        said: all that the caller says, in order.
        has_changed: something has happened that somebody may wait for; whoever looks sets it back.
        loud: where something loud is heard, or is going to be: [first tick, tick behind the last), ascending.
        frames_sent, texts_received, wrong_transport, fragmented: counters.
        lateness_s: how late the latest frame was.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        origin_s: float,
        *,
        form: AudioForm | None = None,
        rules: Rules = LENIENT,
        custom: Mapping[str, Any] | None = None,
        first_s: float = FIRST_MESSAGE_S,
        silence: Silence = "frames",
    ) -> None:
        self.audio_format = audio_format
        self.origin_s = origin_s
        self.form = form or AudioForm(None)
        self.rules = rules
        self.router = Router(audio_format, origin_s, rules=rules)
        self.recording = Recording(
            {
                "seen_by": "router",
                "rate_hz": audio_format.rate_hz,
                "frame_ms": audio_format.frame_ms,
                "transport": self.form.name,
                "router": rules.name,
                "origin_s": origin_s,
            }
        )
        self._entries = self.recording.entries
        self.microphone: Callable[[], bytes | None] | None = None
        self.is_muted = False
        self.said: list[Said] = []
        self.has_changed = False
        self.loud: list[list[int]] = []
        self.frames_sent = self.texts_received = self.wrong_transport = self.fragmented = 0
        self.lateness_s = 0.0
        self._custom = dict(custom or {})
        self._first_s = first_s
        self._has_begun = False
        self._sends_silence = silence == "frames"
        self._mutes_with_frames = False
        self._frame_s = audio_format.frame_s
        self._silence = bytes(audio_format.frame_bytes)
        self._texts: list[str] = []  # that go out next
        self._goodbye: str | None = None  # behind all else
        self._speech: deque[Said] = deque()  # that is being said, and is to be said then
        # The tick at which the next frame goes out.
        self._tick = max(0, math.ceil(first_s / audio_format.frame_s - _EPSILON))

    # What the caller does

    def say(self, pcm: bytes, now_s: float, *, name: str = "", interrupts: bool = False) -> Said:
        """Say something: behind what is being said, or at once where it `interrupts`, which drops that."""
        self._skip(now_s)
        if interrupts:
            while self._speech:
                self._end(self._speech.popleft())
        said = Said(pcm, self.audio_format, name=name, interrupts=interrupts)
        self._speech.append(said)
        self.said.append(said)
        return said

    def mute(self, now_s: float, *, frames: bool = False) -> None:
        """The caller is muted: from now on no frame is sent (C), or `frames` of silence. What is said is not heard."""
        self._skip(now_s)
        self.is_muted, self._mutes_with_frames = True, frames
        self._update_media(now_s)

    def unmute(self, now_s: float) -> None:
        """The caller is heard again."""
        self._skip(now_s)
        self.is_muted = False
        self._update_media(now_s)

    def press(self, key: str, duration_ms: int = KEY_MS) -> None:
        """The caller presses a key (V; the form without an event: C, wsbridge)."""
        pressed = {"digit": key, "duration": duration_ms}
        self.send_text(_json({"event": "websocket:dtmf", **pressed} if self.rules.names_events else pressed))

    def send_text(self, text: str) -> None:
        """Send a text, with a space before it, as the router's ancestor does with every one (C)."""
        self._texts.append(f" {text.lstrip()}")

    def goodbye(self) -> None:
        """Say that the connection is about to close (C: wsbridge pull request 14), behind the frames that are due."""
        content_type = self.audio_format.content_type
        about_to_close = {"event": "websocket:disconnected", "method": "delete", "content-type": content_type}
        self._goodbye = " " + _json(about_to_close | self._custom)

    # Time

    def due(self, now_s: float) -> list[bytes | str]:
        """Play and send everything up to `now_s`; returns the messages that go out."""
        at_s = now_s - self.origin_s
        self._answer(self.router.advance(now_s))
        if not self._has_begun:
            if at_s < self._first_s - _EPSILON:
                return []
            self._begin()
        messages: list[bytes | str] = []
        if self._texts:
            for text in self._texts:
                self.recording.add(at_s, Kind.TEXT_TO_SERVER, text.encode())
            messages += self._texts
            self._texts = []
        frame_s, late_s = self._frame_s, at_s + _EPSILON
        while (due_s := self._tick * frame_s) <= late_s:
            frame = self._next_frame(due_s)
            if frame is not None:
                if at_s - due_s > self.lateness_s:
                    self.lateness_s = at_s - due_s
                self._entries.append(Entry(at_s, Kind.AUDIO_TO_SERVER, frame))
                messages.append(self.form.write(frame))
                self.frames_sent += 1
            self._tick += 1
        if self._goodbye is not None:
            self.recording.add(at_s, Kind.TEXT_TO_SERVER, self._goodbye.encode())
            messages.append(self._goodbye)
            self._goodbye = None
        return messages

    @property
    def next_s(self) -> float:
        """When `due` has something to do at the latest; infinity: not before something happens."""
        if not self._has_begun:
            return self.origin_s + self._first_s
        if self._texts or self._goodbye is not None:
            return self.origin_s
        if self._is_sending or not self.router.is_idle:
            return self.origin_s + self._tick * self._frame_s
        return math.inf

    def tick_at(self, now_s: float) -> int:
        """The tick that is being played."""
        return math.floor((now_s - self.origin_s) / self._frame_s + _EPSILON)

    # What comes

    def message_received(self, message: bytes | str, now_s: float, *, is_fragmented: bool = False) -> None:
        """Take a message of the server. A fragmented one is dropped, as its ancestor does (C), unless it is lenient."""
        content = self.form.read(message)
        at_s = now_s - self.origin_s
        if is_fragmented:
            self.fragmented += 1
            self.recording.note(at_s, "fragmented", bytes=len(message))
            if not self.rules.takes_fragments:
                return
        if content is None:
            self.wrong_transport += 1
            self.recording.note(at_s, "wrong transport", bytes=len(message))
        elif isinstance(content, bytes):
            self._entries.append(Entry(at_s, Kind.AUDIO_FROM_SERVER, content))
            self._hear(content, now_s)
        else:
            self.texts_received += 1
            self.has_changed = True
            self.recording.add(at_s, Kind.TEXT_FROM_SERVER, content.encode())
            clears = self.router.clears
            self._answer(self.router.receive_text(content, now_s))
            if self.router.clears > clears:
                self._forget_after(self.tick_at(now_s) + 1)

    # Inside

    def _answer(self, texts: Sequence[str]) -> None:
        for text in texts:
            self.send_text(text)

    @property
    def _is_sending(self) -> bool:
        """Whether a frame goes out at the next tick, or may."""
        if self._speech or self.microphone is not None:
            return True
        return self._mutes_with_frames if self.is_muted else self._sends_silence

    def _skip(self, now_s: float) -> None:
        """Nothing was sent at the ticks until now, if nothing was to be sent: it isn't made up for."""
        if not self._is_sending:
            self._tick = max(self._tick, math.ceil((now_s - self.origin_s) / self._frame_s - _EPSILON))

    def _begin(self) -> None:
        self._has_begun = True
        first: dict[str, Any] = {"content-type": self.audio_format.content_type}
        if self.rules.names_events:
            first["event"] = CONNECTED_EVENT
        self._texts.insert(0, " " + _json(first | self._custom))

    def _next_frame(self, at_s: float) -> bytes | None:
        frame = None
        while self._speech and frame is None:
            said = self._speech[0]
            if said.start_s is None:
                said.start_s = at_s
            frame = said.next_frame()
            if frame is None:
                self._end(self._speech.popleft())
        if frame is None and self.microphone is not None:
            frame = self.microphone()
        if self.is_muted:
            return self._silence if self._mutes_with_frames else None
        if frame is None and self._sends_silence:
            return self._silence
        return frame

    def _end(self, said: Said) -> None:
        """It has been said, or is dropped."""
        self.has_changed = True
        if said.start_s is None:
            said.start_s = self._tick * self._frame_s
        said.end_s = self._tick * self._frame_s
        self.recording.note(
            said.start_s, "said", until_s=round(said.end_s, 6), name=said.name, interrupts=said.interrupts
        )

    def _update_media(self, now_s: float) -> None:
        content_type = self.audio_format.content_type
        update = {"event": "websocket:media:update", "method": "update", "active": not self.is_muted}  # C
        self.send_text(_json(update | {"content-type": content_type}))
        self.recording.note(now_s - self.origin_s, "muted", active=self.is_muted)

    def _hear(self, frame: bytes, now_s: float) -> None:
        router = self.router
        overflowed = router.overflowed
        self._answer(router.receive_bytes(frame, now_s))
        if router.violation is None and router.overflowed == overflowed and is_loud(frame):
            tick = router.tick + router.buffered_ticks - 1  # it was the last of the buffer
            if self.loud and self.loud[-1][1] == tick:
                self.loud[-1][1] = tick + 1
            else:
                self.loud.append([tick, tick + 1])
                self.has_changed = True

    def _forget_after(self, tick: int) -> None:
        """Nothing from this tick on is going to be heard."""
        while self.loud and self.loud[-1][0] >= tick:
            self.loud.pop()
        if self.loud:
            self.loud[-1][1] = min(self.loud[-1][1], tick)


def _json(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
