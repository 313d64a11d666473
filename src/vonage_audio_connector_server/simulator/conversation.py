"""A simulated call that goes by steps, and what became of it."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import anyio

from ..audio.levels import level_dbfs
from ..errors import AudioConnectorConfigError
from ..recording import Recording
from ..runtime import single_error
from .call import ANSWER_S, LIMIT_S, QUIET_S, SimulatedCall
from .carrier import DialError, Lost
from .devices import Devices
from .faults import Faults
from .heard import NothingHeardError
from .opening import dial
from .report import Ending, Outcome, SimulationReport, report_of
from .setup import Setup, check_seconds
from .steps import (
    HangUp,
    Hear,
    Interrupt,
    Mute,
    Network,
    Press,
    Say,
    Send,
    Sound,
    Step,
    Unmute,
    Wait,
    WaitForGreeting,
)

_PROGRESS_S = 0.1

OnProgress = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a call is.

    Attributes:
        elapsed_s: since the accept.
        question_s: how long all that is said lasts.
        said_s: how much of it has been said.
        sent_dbfs: the level of the last 100 ms that were sent.
        heard_dbfs: the level of the last 100 ms that were heard.
        step: what the caller does, in words.
    """

    elapsed_s: float
    question_s: float
    said_s: float
    sent_dbfs: float
    heard_dbfs: float
    step: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the caller waits, where a step doesn't say it.

    Attributes:
        within_s: how long after the end of what was said an answer may take to begin.
        quiet_s: for how long nothing loud is heard when it is over.
        limit_s: how long after the end of what was said an answer without end is cut off.
    """

    within_s: float = ANSWER_S
    quiet_s: float = QUIET_S
    limit_s: float = LIMIT_S

    def __post_init__(self) -> None:
        for name in ("within_s", "quiet_s", "limit_s"):
            check_seconds(name, getattr(self, name))


class Conversation:
    """One call to a server, step by step. Whatever goes wrong with the connection or the server stands in the report.

    Args:
        url: `ws://` or `wss://`.
        steps: what the caller does.
        setup: the settings of the call.
        patience: how long the caller waits.
        ssl_context: for `wss://`; None: the system's certificates.
        faults: how the network is disturbed; None: not at all, unless a step does.

    Attributes:
        call: once it is connected.
        step: what the caller does, in words.
        outcome: what the last answer was; None: the caller did not come so far.
        devices: a microphone that is heard while nothing else is said, and a loudspeaker.
    """

    def __init__(
        self,
        url: str,
        steps: Sequence[Step],
        setup: Setup | None = None,
        *,
        patience: Patience | None = None,
        ssl_context: ssl.SSLContext | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.call: SimulatedCall | None = None
        self.step = ""
        self.outcome: Outcome | None = None
        self.devices: Devices | None = None
        self._url = url
        self._steps = tuple(steps)
        self._setup = setup or Setup()
        self._patience = patience or Patience()
        self._ssl_context = ssl_context
        if faults is None and any(isinstance(step, Network) for step in steps):
            faults = Faults()
        self._faults = faults
        self._error: DialError | None = None
        self._is_broken_off = True
        self._question_s = sum(len(step.sound.pcm) for step in steps if isinstance(step, Say)) / (
            2 * self._setup.rate_hz
        )

    async def run(self, on_progress: OnProgress | None = None) -> None:
        """Hold the call to its end. Cancelling it closes the connection first, which takes up to 3 s.

        Args:
            on_progress: called every 100 ms, between two frames: it must be quick. What it raises ends the call.

        Raises:
            AudioConnectorConfigError: the url or a header can't be used.
        """
        try:
            with single_error():
                async with (
                    dial(
                        self._url,
                        self._setup,
                        ssl_context=self._ssl_context,
                        faults=self._faults,
                        make_call=SimulatedCall,
                    ) as self.call,
                    anyio.create_task_group() as tasks,
                ):
                    if self.devices is not None:
                        self.call.twin.microphone = self.devices.read_frame
                        tasks.start_soon(_play, self.call, self.devices)
                    if on_progress is not None:
                        tasks.start_soon(self._tell_progress, self.call, on_progress)
                    for step in self._steps:
                        if self.call.ended is not None:
                            break
                        self.step = step.words
                        self.call.twin.recording.note(self.call.now_s, "step", step=step.words)
                        await self._carry_out(self.call, step)
                    self._is_broken_off = False
                    tasks.cancel_scope.cancel()
        except DialError as exc:
            self._error = exc
            self._is_broken_off = False

    @property
    def rate_hz(self) -> int:
        """The sample rate of the call."""
        return self._setup.rate_hz

    @property
    def recording(self) -> Recording:
        """All that has happened."""
        return self._setup.make_twin(0.0).recording if self.call is None else self.call.recording

    @property
    def ending(self) -> Ending:
        """How the call ended."""
        if self._error is not None:
            return Ending("not connected", str(self._error))
        if self.call is None:
            return Ending("not connected", "the call was broken off before it was connected")
        if self._is_broken_off and self.call.ended is not None and self.call.ended.by == "simulator":
            return Ending("open", None, self.call.ended.code, self.call.ended.reason, "simulator")
        return ending_of(self.outcome, self.call.ended)

    def report(self, recording: Recording | None = None, *, compare: bool = False) -> SimulationReport:
        """The report of the call, which is over, or broken off.

        Args:
            recording: in place of the caller's own, for example joined to what the server saw.
            compare: work out `same_as_question`, with numpy.

        Raises:
            MissingExtraError: numpy is not installed.
        """
        return report_of(self.recording if recording is None else recording, self.ending, compare=compare)

    async def _carry_out(self, call: SimulatedCall, step: Step) -> None:
        match step:
            case Say(sound):
                await call.say(sound.pcm, name=sound.name)
            case Hear(within_s, quiet_s):
                await self._hear(call, within_s, quiet_s)
            case WaitForGreeting(within_s):
                await self._hear(call, within_s, None)
            case Interrupt(after_s, sound):
                await self._interrupt(call, after_s, None if sound is None else sound.pcm)
            case Wait(for_s):
                await call.wait(for_s)
            case Mute(for_s, frames):
                call.mute(frames=frames)
                if for_s is not None:
                    await call.wait(for_s)
                    call.unmute()
            case Unmute():
                call.unmute()
            case Press(keys, duration_ms):
                call.press(keys, duration_ms)
            case Send(text):
                call.send(text)
            case Network(faults):
                call.disturb(faults)
            case HangUp():
                call.hang_up()
            case _:
                raise AudioConnectorConfigError(f"there is no step {step!r}")

    async def _hear(self, call: SimulatedCall, within_s: float | None, quiet_s: float | None) -> None:
        patience, rest_s = self._patience, call.silence_behind_s
        try:
            heard = await call.hears(
                within_s=(patience.within_s if within_s is None else within_s) + rest_s,
                quiet_s=patience.quiet_s if quiet_s is None else quiet_s,
                limit_s=patience.limit_s + rest_s,
            )
        except NothingHeardError:
            self.outcome = "no answer" if call.ended is None else self.outcome
            return
        if call.ended is None:
            self.outcome = "answered" if heard.is_over else "limit"

    async def _interrupt(self, call: SimulatedCall, after_s: float, pcm: bytes | None) -> None:
        try:
            await call.speaks(within_s=self._patience.within_s + call.silence_behind_s)
        except NothingHeardError:
            self.outcome = "no answer" if call.ended is None else self.outcome
            return
        await call.wait(after_s)
        if call.ended is None:
            await call.interrupt(pcm)

    async def _tell_progress(self, call: SimulatedCall, on_progress: OnProgress) -> None:
        twin = call.twin
        level_bytes = math.ceil(_PROGRESS_S * twin.audio_format.rate_hz) * 2
        while call.ended is None:
            await call.wait(_PROGRESS_S)
            on_progress(
                Progress(
                    elapsed_s=call.now_s,
                    question_s=self._question_s,
                    said_s=sum(said.said_s for said in twin.said if not said.interrupts),
                    sent_dbfs=level_dbfs(twin.said[-1].last(level_bytes)) if twin.said else level_dbfs(b""),
                    heard_dbfs=level_dbfs(bytes(twin.router.heard[-level_bytes:])),
                    step=self.step,
                )
            )


async def _play(call: SimulatedCall, devices: Devices) -> None:
    """Play what is heard, tick by tick."""
    frame_bytes, heard = call.twin.audio_format.frame_bytes, call.twin.router.heard
    at = len(heard)
    while call.ended is None:
        await call.wait(call.twin.audio_format.frame_s)
        for start in range(at, len(heard), frame_bytes):
            devices.play(bytes(heard[start : start + frame_bytes]))
        at = len(heard)


def ending_of(outcome: Outcome | None, lost: Lost | None) -> Ending:
    """How a call ended: by whom, and as the caller meant it or not."""
    if lost is None:
        return Ending(outcome or "connection lost")
    match lost.kind:
        case "lost":
            return Ending("connection lost", lost.error or lost.reason, lost.code)
        case "protocol error":
            return Ending("protocol error", lost.error, lost.code, lost.reason, lost.by)
        case "closed":
            usual: Outcome = "no answer" if lost.by == "simulator" else "server closed"
            return Ending(outcome or usual, lost.error, lost.code, lost.reason, lost.by)
        case _:
            assert_never(lost.kind)


def question(pcm: bytes, name: str = "") -> tuple[Step, ...]:
    """The steps of the usual call: say this, hear the answer."""
    return Say(Sound(name, pcm)), Hear()
