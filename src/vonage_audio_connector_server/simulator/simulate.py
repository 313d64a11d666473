"""The usual simulated call: say a recording, hear the answer, hang up, and report what a participant heard."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread

from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorAudioError
from ..formats import FRAME_MS, SAMPLE_BYTES
from ..runtime import single_error
from .call import NothingHeardError, Saying, SimulatedCall
from .carrier import DialError, Lost
from .compare import require_numpy
from .loudness import level_dbfs
from .network import Faults
from .opening import dial
from .report import Ending, Outcome, SimulationReport, report_of
from .rules import RouterName
from .setup import Setup, check_seconds
from .twin import FIRST_MESSAGE_S, Silence

_PROGRESS_S = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a call is.

    Attributes:
        elapsed_s: since the accept.
        question_s: how long the question lasts.
        said_s: how much of it has been said.
        sent_dbfs: the level of the last 100 ms that were sent.
        heard_dbfs: the level of the last 100 ms that were heard.
    """

    elapsed_s: float
    question_s: float
    said_s: float
    sent_dbfs: float
    heard_dbfs: float


OnProgress = Callable[[Progress], None]


async def simulate(
    url: str,
    audio: bytes,
    rate_hz: int = 16_000,
    *,
    frame_ms: int = FRAME_MS,
    transport: JSONTransport | None = None,
    headers: Mapping[str, str] | None = None,
    router: RouterName = "lenient",
    ssl_context: ssl.SSLContext | None = None,
    quiet_s: float = 2.0,
    timeout_s: float = 15.0,
    limit_s: float = 120.0,
    silence_after: bool = True,
    first_s: float = FIRST_MESSAGE_S,
    faults: Faults | None = None,
    compare: bool = False,
    on_progress: OnProgress | None = None,
) -> SimulationReport:
    """Speak `audio` to an Audio Connector server in real time, and report what a participant heard.

    The call ends when the answer is over: after the question something loud was heard, and then nothing loud for
    `quiet_s`. The server may also end it. Whatever goes wrong with the connection or the server stands in the report.

    It runs on asyncio and trio. Cancelling it closes the connection first, which takes up to 3 s.

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
        router: what the router makes of what the server sends: `strict`, `wsbridge` or `lenient`.
        ssl_context: for `wss://`; None: the system's certificates.
        quiet_s: for how long nothing loud is heard when the answer is over.
        timeout_s: how long after the end of the question the answer may take to begin.
        limit_s: how long after the end of the question an answer without end is cut off.
        silence_after: go on with frames of silence after the question, as a microphone does; without, nothing is sent.
        first_s: how long after the accept the first message comes, and the question begins.
        faults: how the network is disturbed; None: not at all.
        compare: work out `same_as_question`, with numpy.
        on_progress: called every 100 ms, between two frames: it must be quick. What it raises ends the call.

    Raises:
        AudioConnectorAudioError: `audio` is empty or holds half a sample, the rate is none of the Audio Connector, or
            `frame_ms` is neither 10 nor 20.
        AudioConnectorConfigError: the url, the transport, a header or a time can't be used.
        MissingExtraError: `compare` needs numpy, which is not installed.
    """
    silence: Silence = "frames" if silence_after else "none"
    setup = Setup(
        rate_hz=rate_hz,
        frame_ms=frame_ms,
        transport=transport,
        headers=headers or {},
        router=router,
        first_s=first_s,
        silence=silence,
    )
    check_question(audio)
    for name, value in (("quiet_s", quiet_s), ("timeout_s", timeout_s), ("limit_s", limit_s)):
        check_seconds(name, value)
    if compare:
        require_numpy()
    asked = Asked(audio, timeout_s, quiet_s, limit_s)
    try:
        with single_error():
            async with (
                dial(url, setup, ssl_context=ssl_context, faults=faults, make_call=SimulatedCall) as call,
                anyio.create_task_group() as tasks,
            ):
                if on_progress is not None:
                    tasks.start_soon(_tell_progress, call, asked, on_progress)
                await asked.ask(call)
                tasks.cancel_scope.cancel()
    except DialError as exc:
        return not_connected(setup, exc)
    # In a thread, because other calls of this event loop must not stall.
    return await anyio.to_thread.run_sync(partial(asked.report, call, compare=compare))


class Asked:
    """One question of a call, and what became of it."""

    def __init__(self, audio: bytes, timeout_s: float, quiet_s: float, limit_s: float) -> None:
        self.saying: Saying | None = None
        self.outcome: Outcome | None = None
        self._audio = audio
        self._timeout_s, self._quiet_s, self._limit_s = timeout_s, quiet_s, limit_s

    async def ask(self, call: SimulatedCall) -> None:
        """Say it, and hear the answer; `outcome` stays None where the call ends before."""
        self.saying = call.say(self._audio)
        said = (await self.saying).said
        rest_s = said.duration_s - said.speech_s  # silence behind the speech
        try:
            heard = await call.hears(
                within_s=self._timeout_s + rest_s, quiet_s=self._quiet_s, limit_s=self._limit_s + rest_s
            )
        except NothingHeardError:
            if call.ended is None:
                self.outcome = "no answer"
            return
        if call.ended is None:
            self.outcome = "answered" if heard.is_over else "limit"

    def report(self, call: SimulatedCall, *, compare: bool) -> SimulationReport:
        """The report of the call, which is over."""
        return report_of(call.recording, ending_of(self.outcome, call.ended), compare=compare)


def ending_of(outcome: Outcome | None, lost: Lost | None) -> Ending:
    """How a call ended: by whom, and as the caller meant it or not."""
    if lost is None:
        return Ending(outcome or "connection lost")
    if lost.kind == "lost":
        return Ending("connection lost", lost.error or lost.reason, lost.code)
    if lost.kind == "protocol error":
        return Ending("protocol error", lost.error, lost.code, lost.reason, lost.by)
    return Ending(outcome or "server closed", lost.error, lost.code, lost.reason, lost.by)


def not_connected(setup: Setup, error: DialError) -> SimulationReport:
    """The report of a call that was none."""
    return report_of(setup.make_twin(0.0).recording, Ending("not connected", str(error)))


def check_question(audio: bytes) -> None:
    """Refuse what is no PCM.

    Raises:
        AudioConnectorAudioError: it is empty, or holds half a sample.
    """
    if not audio or len(audio) % SAMPLE_BYTES:
        raise AudioConnectorAudioError(f"audio must be whole samples of 16-bit PCM, which {len(audio)} bytes are not")


async def _tell_progress(call: SimulatedCall, asked: Asked, on_progress: OnProgress) -> None:
    level_bytes = round(_PROGRESS_S * call.twin.audio_format.rate_hz) * SAMPLE_BYTES
    while call.ended is None:
        await call.wait(_PROGRESS_S)
        if asked.saying is not None:
            said = asked.saying.said
            on_progress(
                Progress(
                    elapsed_s=call.now_s,
                    question_s=said.duration_s,
                    said_s=said.said_s,
                    sent_dbfs=level_dbfs(said.last(level_bytes)),
                    heard_dbfs=level_dbfs(call.heard[-level_bytes:]),
                )
            )
