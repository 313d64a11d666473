"""The router's side of one connection: what a participant hears of the audio that a server sends.

The model is the open ancestor of the router's client (wsbridge; docs/protocol.md §5): one frame is played every 20 ms
from a buffer of 1,024 messages; an empty buffer is silence; a full one drops the new frame; a longer message is cut to
one frame, a shorter one is played as it stands; a clear command empties the buffer; a notify command is answered when
the audio before it has been played.

Like the rest of core it has no clock. `start_s` is the first tick; every call says the time and first plays the ticks
that have passed, so the result depends on arrival times alone and not on when this code happened to run.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass

from ..models import AudioFormat
from .wire import CLEAR_ACTION, CLEAR_EVENT

BUFFER_FRAMES = 1024
"""C: wsbridge. About 20 s. For the Audio Connector it is unknown."""

CLEARED = '{"event":"websocket:cleared"}'
"""V: the acknowledgement of a clear command."""

_CLEAR_FORMS = tuple(json.loads(text) for text in (CLEAR_EVENT, CLEAR_ACTION, '{"event":"clearAudio"}'))


@dataclass(slots=True)
class Run:
    """Frames that were played without a hole: `ticks` of them from tick `start`.

    `cleared` tells that the hole behind it was asked for by a clear command.
    """

    start: int
    ticks: int
    cleared: bool = False


class Peer:
    """Plays what arrives and remembers what was heard.

    Args:
        audio_format: the format of the connection.
        start_s: the time of the first tick.
        buffer_frames: how many messages the buffer holds.
    """

    def __init__(self, audio_format: AudioFormat, start_s: float, *, buffer_frames: int = BUFFER_FRAMES) -> None:
        self.audio_format = audio_format
        self.heard = bytearray()
        self.runs: list[Run] = []
        self.frames_received = self.wrong_size = self.overflowed = self.cleared_frames = self.clears = 0
        self.furthest_ahead_s = 0.0
        self.texts: list[str] = []
        self._start_s = start_s
        self._buffer_frames = buffer_frames
        self._buffer: deque[bytes] = deque()
        self._tick = 0  # the next tick to be played
        self._accepted = 0  # frames that went into the buffer, and
        self._left = 0  # those that left it
        self._marks: deque[tuple[int, str]] = deque()  # (accepted frames before it, the answer)

    @property
    def buffered_s(self) -> float:
        """Seconds of audio that wait to be played."""
        return len(self._buffer) * self.audio_format.frame_s

    def advance(self, now_s: float) -> list[str]:
        """Play every tick up to `now_s` (tick `k` is at `start_s + k` frames); returns the notify answers now due."""
        frame_s, frame_bytes = self.audio_format.frame_s, self.audio_format.frame_bytes
        due_ticks = int((now_s - self._start_s) / frame_s + 1e-6) + 1
        while self._tick < due_ticks and self._buffer:
            self.heard += self._buffer.popleft()[:frame_bytes].ljust(frame_bytes, b"\0")
            if self.runs and not self.runs[-1].cleared and self.runs[-1].start + self.runs[-1].ticks == self._tick:
                self.runs[-1].ticks += 1
            else:
                self.runs.append(Run(self._tick, 1))
            self._tick += 1
            self._left += 1
        if self._tick < due_ticks:
            self.heard += bytes((due_ticks - self._tick) * frame_bytes)
            self._tick = due_ticks
        answers = []
        while self._marks and self._marks[0][0] <= self._left:
            answers.append(self._marks.popleft()[1])
        return answers

    def receive_bytes(self, frame: bytes, now_s: float) -> list[str]:
        """Take a binary message of the server: one frame of audio. Returns the notify answers now due."""
        answers = self.advance(now_s)
        self.frames_received += 1
        if len(frame) != self.audio_format.frame_bytes:
            self.wrong_size += 1
        if len(self._buffer) >= self._buffer_frames:
            self.overflowed += 1
            return answers
        self._buffer.append(frame)
        self._accepted += 1
        # From now until the last frame of the buffer has been played.
        end_s = self._start_s + (self._tick + len(self._buffer)) * self.audio_format.frame_s
        self.furthest_ahead_s = max(self.furthest_ahead_s, end_s - self.audio_format.frame_s - now_s)
        return answers

    def receive_text(self, text: str, now_s: float) -> list[str]:
        """Take a text message of the server; returns the texts to answer with. Unknown ones are remembered only."""
        answers = self.advance(now_s)
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if message in _CLEAR_FORMS:
            self._clear()
            answers.append(CLEARED)
        elif isinstance(message, dict) and message.get("action") == "notify":
            answer = {"event": "websocket:notify", "payload": message.get("payload")}
            self._marks.append((self._accepted, json.dumps(answer, separators=(",", ":"))))
            answers += self.advance(now_s)
        else:
            self.texts.append(text)
        return answers

    def _clear(self) -> None:
        self.clears += 1
        self.cleared_frames += len(self._buffer)
        self._left += len(self._buffer)
        self._buffer.clear()
        self._marks.clear()  # what was never played is never acknowledged
        if self.runs:
            self.runs[-1].cleared = True
