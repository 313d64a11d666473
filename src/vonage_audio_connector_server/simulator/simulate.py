"""One simulated call: what the router does on the wire, in real time.

Frame k of the question is due at `start + k` frames, and so is tick k of what is heard; both are counted from the
start, never from the last wake-up. Evidence marks as in docs/protocol.md.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ..core.json_audio import JSONTransport
from ..core.wire import first_message
from ..errors import AudioConnectorConfigError
from ..formats import FRAME_MS
from .compare import require_numpy, similarity
from .dial import DialError, check_custom, dial
from .form import AudioForm
from .loudness import is_loud, level_dbfs
from .question import Question
from .report import Ending, Outcome, SimulationReport, build_report
from .router import Router

STUCK_S = 10.0
"""A frame that the socket doesn't take for this long ends the call: the server has stopped reading."""

_CLOSE_S = 3.0  # how long the server has to answer our close frame
_PROGRESS_MS = 100
_NORMAL, _LOST = 1000, 1006
_NORMAL_CODES = (1000, 1001, 1005)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a call is.

    Attributes:
        elapsed_s: since the first frame.
        question_s: how long the question lasts.
        sent_dbfs: the level of the last 100 ms that were sent.
        heard_dbfs: the level of the last 100 ms that were heard.
    """

    elapsed_s: float
    question_s: float
    sent_dbfs: float
    heard_dbfs: float


async def simulate(
    url: str,
    audio: bytes,
    rate_hz: int = 16_000,
    *,
    frame_ms: int = FRAME_MS,
    transport: JSONTransport | None = None,
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    quiet_s: float = 2.0,
    timeout_s: float = 15.0,
    limit_s: float = 120.0,
    silence_after: bool = True,
    compare: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> SimulationReport:
    """Speak `audio` to an Audio Connector server in real time, and report what a participant heard.

    The call ends when the answer is over: after the question something loud was heard, and then nothing loud for
    `quiet_s`. The server may also end it. Whatever goes wrong with the connection or the server stands in the report.

    Cancelling it closes the connection first, which takes up to 3 s.

    Args:
        url: `ws://` or `wss://`; the connection is direct, whatever proxy the environment names.
        audio: the question, 16-bit little-endian mono PCM; its last frame is padded with silence.
        rate_hz: the sample rate of the question and of the call: 8000, 16000 or 24000.
        frame_ms: how long a frame lasts, 20 or 10: those that are sent, and those that are played. No message tells it.
        transport: None: audio is binary messages. Else it is JSON texts, and these are the settings as the *server*
            has them: the question comes in its `receive_field`, the answer goes out in its `send_field`. The call
            takes them from the other end.
        headers: custom headers of the connect call. They go into the upgrade request and, as custom keys, into the
            first message. `x-opentok-ws-sessionid` and its like replace the ones that are made up.
        ssl_context: for `wss://`; None: the system's certificates.
        quiet_s: for how long nothing loud is heard when the answer is over.
        timeout_s: how long after the end of the question the answer may take to begin.
        limit_s: how long after the end of the question an answer without end is cut off.
        silence_after: go on with frames of silence after the question, as a microphone does; without, nothing is sent.
        compare: work out `same_as_question`, with numpy.
        on_progress: called every 100 ms, between two frames: it must be quick. What it raises ends the call.

    Raises:
        AudioConnectorAudioError: `audio` is empty or holds half a sample, the rate is none of the Audio Connector, or
            `frame_ms` is neither 10 nor 20.
        AudioConnectorConfigError: the url, the transport, a header or a time can't be used.
        MissingExtraError: `compare` needs numpy, which is not installed.
    """
    question = Question.from_pcm(audio, rate_hz, frame_ms)
    form = AudioForm(transport)
    custom = check_custom(headers or {})
    patience = _Patience(quiet_s, timeout_s, limit_s)
    if compare:
        require_numpy()
    try:
        websocket = await dial(url, custom, ssl_context)
    except DialError as exc:
        nothing = Router(question.audio_format, 0.0)
        ending = Ending("not connected", str(exc))
        return build_report(nothing, ending, question_loud=question.loud, transport=form.name)
    call = _Call(websocket, question, form, custom, patience, silence_after=silence_after, on_progress=on_progress)
    ending = await call.run()
    # In a thread, because other calls of this event loop must not stall.
    return await asyncio.to_thread(call.report, ending, compare=compare)


@dataclass(frozen=True, slots=True)
class _Patience:
    """When a call is over; the meaning of each stands at `simulate`."""

    quiet_s: float
    timeout_s: float
    limit_s: float

    def __post_init__(self) -> None:
        for name in ("quiet_s", "timeout_s", "limit_s"):
            if not getattr(self, name) >= 0:  # NaN, too
                raise AudioConnectorConfigError(f"{name} must be 0 or more seconds, not {getattr(self, name)!r}")


class _Call:
    """A call on an open connection."""

    def __init__(
        self,
        websocket: ClientConnection,
        question: Question,
        form: AudioForm,
        custom: Mapping[str, str],
        patience: _Patience,
        *,
        silence_after: bool,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._websocket = websocket
        self._question = question
        self._format = question.audio_format
        self._form = form
        self._custom = custom
        self._patience = patience
        self._silence_after = silence_after
        self._on_progress = on_progress
        self._now = asyncio.get_running_loop().time
        self._start_s = self._now()
        self._ended_s: float | None = None
        self._peer = Router(self._format, self._start_s)
        self._loud_tick = -1  # the last tick that plays, or is going to play, something loud
        self._frames_sent = self._texts_received = self._wrong_transport = 0
        self._progress_ticks = _PROGRESS_MS // self._format.frame_ms
        self._lateness_s = 0.0
        self._stuck = False

    async def run(self) -> Ending:
        """Hold the call until it is over."""
        listener = asyncio.create_task(self._listen())
        try:
            await self._tell(first_message(self._format, self._custom))
            outcome = await self._speak()
        finally:
            self._end()
            await self._hang_up()
            closed = await listener
        return self._ending(outcome, closed)

    def report(self, ending: Ending, *, compare: bool) -> SimulationReport:
        """The report of the call, which is over."""
        assert self._ended_s is not None
        self._peer.advance(self._ended_s)
        same_as_question = None
        if compare and self._question.loud:
            same_as_question = similarity(self._question.speech, bytes(self._peer.heard))
        return build_report(
            self._peer,
            ending,
            question_loud=self._question.loud,
            transport=self._form.name,
            duration_s=self._ended_s - self._start_s,
            frames_sent=self._frames_sent,
            send_lateness_max_s=self._lateness_s,
            wrong_transport_frames=self._wrong_transport,
            texts_received=self._texts_received,
            same_as_question=same_as_question,
        )

    # Speaking

    async def _speak(self) -> Outcome | None:
        """Send a frame every tick until the call is over; None where that was not our decision."""
        silence = bytes(self._format.frame_bytes)
        tick = 0
        while True:
            due_s = self._start_s + tick * self._format.frame_s
            if due_s > self._now():
                await asyncio.sleep(due_s - self._now())
            now_s = self._now()
            if self._ended_s is not None or self._stuck:
                return None
            self._lateness_s = max(self._lateness_s, now_s - due_s)
            if tick < self._question.ticks or self._silence_after:
                frame = self._question.frames(tick, tick + 1) or silence
                self._frames_sent += await self._send(self._form.write(frame))
            for answer in self._peer.advance(self._now()):
                await self._tell(answer)
            outcome = self._outcome(now_s) if tick >= self._question.ticks else None
            if outcome is not None:
                return outcome
            tick += 1
            if self._on_progress is not None and tick % self._progress_ticks == 0:
                self._on_progress(self._progress(tick, now_s))

    def _outcome(self, now_s: float) -> Outcome | None:
        """Whether the call is over, and why; all of the question has been sent."""
        waited_s = now_s - self._start_s - self._question.duration_s
        if self._loud_tick > self._question.end_tick:
            loud_until_s = self._start_s + (self._loud_tick + 1) * self._format.frame_s
            if now_s - loud_until_s > self._patience.quiet_s:
                return "answered"
        elif waited_s > self._patience.timeout_s:
            return "no answer"
        return "limit" if waited_s > self._patience.limit_s else None

    def _progress(self, ticks: int, now_s: float) -> Progress:
        heard_bytes = self._progress_ticks * self._format.frame_bytes
        return Progress(
            elapsed_s=now_s - self._start_s,
            question_s=self._question.duration_s,
            sent_dbfs=level_dbfs(self._question.frames(ticks - self._progress_ticks, ticks)),
            heard_dbfs=level_dbfs(bytes(self._peer.heard[-heard_bytes:])),
        )

    async def _tell(self, text: str) -> None:
        """Send a text that is no audio, with a space before it, as the router's ancestor does with every one (C)."""
        await self._send(f" {text.lstrip()}")

    async def _send(self, message: bytes | str) -> bool:
        """Send a message; tells whether the socket took it. The end of the connection is the listener's affair."""
        try:
            async with asyncio.timeout(STUCK_S):
                await self._websocket.send(message)
        except ConnectionClosed:
            return False
        except TimeoutError:
            self._stuck = True
            return False
        return True

    async def _hang_up(self) -> None:
        """Say goodbye and close, if the connection is still open."""
        goodbye = {  # C: wsbridge pull request 14
            "event": "websocket:disconnected",
            "method": "delete",
            "content-type": self._format.content_type,
            **self._custom,
        }
        try:
            async with asyncio.timeout(_CLOSE_S):
                with suppress(ConnectionClosed):
                    await self._websocket.send(" " + json.dumps(goodbye, separators=(",", ":")))
                await self._websocket.close(_NORMAL)
        except TimeoutError:  # the server doesn't read, or doesn't answer the close
            self._websocket.transport.abort()

    # Listening

    async def _listen(self) -> ConnectionClosed:
        """Take what the server sends until the connection is closed; returns how it was."""
        try:
            while True:
                message = await self._websocket.recv()
                if self._ended_s is not None:
                    continue
                for answer in self._message_received(message):
                    await self._tell(answer)
        except ConnectionClosed as closed:
            return closed
        finally:
            self._end()

    def _message_received(self, message: bytes | str) -> list[str]:
        content = self._form.read(message)
        if content is None:
            self._wrong_transport += 1
            return []
        return self._read(content) if isinstance(content, str) else self._hear(content)

    def _read(self, text: str) -> list[str]:
        clears, now_s = self._peer.clears, self._now()
        self._texts_received += 1
        answers = self._peer.receive_text(text, now_s)
        if self._peer.clears > clears:
            self._loud_tick = min(self._loud_tick, self._tick(now_s))
        return answers

    def _hear(self, frame: bytes) -> list[str]:
        overflowed, now_s = self._peer.overflowed, self._now()
        answers = self._peer.receive_bytes(frame, now_s)
        if self._peer.overflowed == overflowed and is_loud(frame[: self._format.frame_bytes]):
            # It was the last of the buffer: the frames before it, and then it, are played from the next tick on.
            self._loud_tick = self._tick(now_s) + round(self._peer.buffered_s / self._format.frame_s)
        return answers

    def _tick(self, now_s: float) -> int:
        """The tick that is being played."""
        return int((now_s - self._start_s) / self._format.frame_s + 1e-6)

    # The end

    def _end(self) -> None:
        if self._ended_s is None:
            self._ended_s = self._now()

    def _ending(self, outcome: Outcome | None, closed: ConnectionClosed) -> Ending:
        received, sent = closed.rcvd, closed.sent
        if received is not None and (sent is None or closed.rcvd_then_sent):
            error = None
            if received.code not in _NORMAL_CODES:
                reason = f" ({received.reason})" if received.reason else ""
                error = f"the server closed the connection with {received.code}{reason}"
            return Ending(outcome or "server closed", error, received.code, received.reason, "server")
        if self._stuck:
            error = f"the server read nothing for {STUCK_S:g} s"
            return Ending("connection lost", error, _LOST)
        if sent is None:
            return Ending("connection lost", "the connection was lost without a close frame", _LOST)
        if outcome is None:
            error = f"the server broke the WebSocket protocol: {sent.reason or f'close code {sent.code}'}"
            return Ending("protocol error", error, sent.code, sent.reason, "simulator")
        return Ending(outcome, None, sent.code, sent.reason, "simulator")
