"""One simulated call, as who holds it sees it: say something, hear the answer, interrupt, mute, press a key, hang up.

It drives a `Twin` over a carrier: plain functions out of the event loop and one timer, as a call of the server's. So it
is the same on asyncio and trio, in real and virtual time. Times are seconds since the accept.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from os import PathLike
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

from ..audio.sound_files import read_audio
from ..close_codes import NORMAL
from ..errors import AudioConnectorConfigError
from ..recording import Entry, Recording
from ..runtime import make_timer
from ..waits import CHANGED, Question, Waits
from .carrier import CLOSE_S, Carrier, Lost
from .compare import assert_same
from .faults import Faults
from .heard import Heard, NothingHeardError
from .listening import Listening
from .network import Relay
from .said import Said
from .twin import KEY_MS, Twin

ANSWER_S = 10.0
"""How long an answer may take to begin, unless the caller says otherwise."""

QUIET_S = 1.0
"""An answer is over when nothing loud was heard for this long, unless the caller says otherwise."""

LIMIT_S = 120.0
"""An answer without end is cut off behind this, unless the caller says otherwise."""


class Saying:
    """Something that the caller began to say when this was made. Awaiting it waits until it has been said."""

    def __init__(self, call: SimulatedCall, said: Said) -> None:
        self._call = call
        self.said = said

    @property
    def start_s(self) -> float | None:
        """When its first frame went out; None: it has not yet."""
        return self.said.start_s

    @property
    def end_s(self) -> float | None:
        """When its last frame had been said; None: it has not."""
        return self.said.end_s

    def __await__(self) -> Generator[Any, Any, Saying]:
        """Wait until it has been said, or the call has ended."""
        said = self.said
        yield from self._call.until(lambda now_s: None if said.end_s is not None else CHANGED).__await__()
        return self


class SimulatedCall:
    """A call that is open.

    Attributes:
        twin: the router's end of it.
        ended: how it ended; None: it has not.
        ended_s: when.
        relay: through which it goes; None: through none.
        error: what went wrong in the simulator itself: a microphone that failed, for example.
    """

    def __init__(self, carrier: Carrier, twin: Twin, clock: Any) -> None:
        self.twin = twin
        self.ended: Lost | None = None
        self.ended_s: float | None = None
        self.relay: Relay | None = None
        self.error: Exception | None = None
        self._carrier = carrier
        self._clock = clock
        self._timer = make_timer(self._wake)
        self._waits = Waits(clock, self._ask_at)
        self._ask_s = CHANGED  # when whoever waits asks again at the latest
        self._armed_s = CHANGED  # for when the timer is set
        self._has_hung_up = False
        self._listening = Listening(twin)

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Begin; what it needs runs in `tasks`."""
        self._timer.start(tasks)
        self._carrier.start(self)
        self._pump()

    # What the caller does

    def say(self, source: bytes | str | PathLike[str], *, name: str = "", interrupts: bool = False) -> Saying:
        """Say a recording, behind what is being said. Awaiting what it returns waits until it has been said.

        Args:
            source: a file of any kind that can be read, or 16-bit mono PCM at the rate of the call.
            name: how reports call it; the name of the file by default.
            interrupts: say it at once, in place of what is being said.

        Raises:
            AudioConnectorAudioError: it can't be played.
        """
        if isinstance(source, (str, PathLike)):
            name = name or Path(source).name
            source, _ = read_audio(source, rate_hz=self.twin.audio_format.rate_hz)
        said = self.twin.say(bytes(source), self._clock(), name=name, interrupts=interrupts)
        self._listening.said = said
        self._pump()
        return Saying(self, said)

    def interrupt(self, source: bytes | str | PathLike[str] | None = None) -> Saying:
        """Begin to speak now, whatever is heard: a short call by default, loud from its first frame on."""
        if source is None:
            from .speech import interjection

            return self.say(interjection(self.twin.audio_format.rate_hz), name="interjection", interrupts=True)
        return self.say(source, interrupts=True)

    def mute(self, *, frames: bool = False) -> None:
        """Mute the caller: nothing is sent any more, or `frames` of silence."""
        self.twin.mute(self._clock(), frames=frames)
        self._pump()

    def unmute(self) -> None:
        """Let the caller be heard again."""
        self.twin.unmute(self._clock())
        self._pump()

    def press(self, keys: str, duration_ms: int = KEY_MS) -> None:
        """Press one key after the other."""
        for key in keys:
            self.twin.press(key, duration_ms)
        self._pump()

    def send(self, message: object) -> None:
        """Send a text of the session: JSON as a text, or what json.dumps can write."""
        self.twin.send_text(message if isinstance(message, str) else json.dumps(message))
        self._pump()

    def hang_up(self, code: int = NORMAL) -> None:
        """Say goodbye and close, as the router does. Awaiting `wait_ended` waits until that is done."""
        if self.ended is None and not self._has_hung_up:
            self.twin.goodbye()
            self._pump()
            self._has_hung_up = True
            self._carrier.close(code, "")

    def disturb(self, faults: Faults) -> None:
        """Disturb the network from now on.

        Raises:
            AudioConnectorConfigError: the call goes through no network that can be disturbed.
        """
        if self.relay is None:
            raise AudioConnectorConfigError("open the call with faults=Faults(), so that there is something to disturb")
        self.relay.disturb(faults)

    def drop(self) -> None:
        """Drop the connection without a word."""
        self._has_hung_up = True
        self._carrier.abort("dropped on purpose")

    # What is waited for

    async def speaks(self, *, within_s: float = ANSWER_S) -> float:
        """Wait until the program is heard to speak, after what was said last; returns since when.

        Raises:
            NothingHeardError: it isn't within this time, or the call ends.
        """
        __tracebackhide__ = True  # pytest shows the line of the test
        listening = self._listening
        await self.until(lambda now_s: listening.until_answer(now_s, within_s))
        start_s = listening.answer_s(self.now_s)
        if start_s is None or start_s > self.now_s + 1e-6:
            raise NothingHeardError(self._nothing(within_s))
        return start_s

    async def hears(
        self,
        expected: bytes | str | PathLike[str] | None = None,
        *,
        within_s: float = ANSWER_S,
        quiet_s: float = QUIET_S,
        limit_s: float = LIMIT_S,
    ) -> Heard:
        """Wait until an answer to what was said last has begun, and is over.

        Args:
            expected: what it must be, at any volume: a file, or PCM at the rate of the call. It takes numpy.
            within_s: how long after the end of that speech it may take to begin.
            quiet_s: for how long nothing loud is heard when it is over.
            limit_s: how long after that speech it is cut off.

        Raises:
            NothingHeardError: nothing is heard within this time, or the call ends before.
            AssertionError: something else is heard.
        """
        __tracebackhide__ = True
        start_s = await self.speaks(within_s=within_s)
        listening = self._listening
        mark_s = listening.mark_s(start_s)
        await self.until(lambda now_s: listening.until_over(now_s, quiet_s, mark_s + limit_s))
        end_s = min(listening.loud_until_s(), self.now_s)
        is_over = self.ended is None and self.now_s <= mark_s + limit_s
        listening.said, listening.since_s = None, end_s
        heard = Heard(start_s, end_s, start_s - mark_s, self.heard_between(start_s, end_s), is_over)
        if expected is not None:
            if isinstance(expected, (str, PathLike)):
                expected, _ = read_audio(expected, rate_hz=self.twin.audio_format.rate_hz)
            assert_same(expected, heard.pcm)
        return heard

    async def wait(self, seconds: float) -> None:
        """Let time pass; ends with the call."""
        until_s = self._clock() + seconds
        await self.until(lambda now_s: None if now_s >= until_s else until_s)

    async def wait_ended(self, within_s: float = CLOSE_S) -> Lost | None:
        """Wait until the call has ended; returns how; None: it has not within this time."""
        until_s = self._clock() + within_s
        await self.until(lambda now_s: None if now_s >= until_s else until_s)
        return self.ended

    async def until(self, question: Question) -> None:
        """Wait until a question is over, or the call has ended; it is asked anew whenever something happened."""
        await self._waits.wait(lambda now_s: None if self.ended is not None else question(now_s))
        if self.ended is not None:
            await checkpoint()  # whoever waits in a loop must not hold up all others

    # What is known

    @property
    def now_s(self) -> float:
        """Seconds since the accept; at the end of the call it stops."""
        return (self._clock() if self.ended_s is None else self.ended_s) - self.twin.origin_s

    @property
    def silence_behind_s(self) -> float:
        """How much silence is behind the speech in what was said last: it belongs to what is said."""
        said = self._listening.said
        return 0.0 if said is None or not said.loud else said.duration_s - said.speech_s

    @property
    def recording(self) -> Recording:
        """All that has happened, message by message, in the order of time."""
        recording = self.twin.recording
        return Recording(recording.meta, sorted(recording.entries, key=_at_s))

    def play(self) -> None:
        """Let the router play up to now, so that `twin.router.heard` has all that was heard."""
        self.twin.router.play(self.twin.origin_s + self.now_s)

    @property
    def heard(self) -> bytes:
        """All that was heard since the accept, silence included: 16-bit mono PCM."""
        self.play()
        return bytes(self.twin.router.heard)

    def heard_between(self, start_s: float, end_s: float) -> bytes:
        """What was heard in a stretch of time."""
        audio_format = self.twin.audio_format
        first, last = (round(at_s / audio_format.frame_s) for at_s in (start_s, end_s))
        return bytes(self.twin.router.heard[first * audio_format.frame_bytes : last * audio_format.frame_bytes])

    # The carrier's side

    def message_received(self, message: bytes | str, *, is_fragmented: bool = False) -> None:
        """See `Receiver`."""
        if self.ended is None and not self._has_hung_up:
            now_s = self._clock()
            self.twin.message_received(message, now_s, is_fragmented=is_fragmented)
            violation = self.twin.router.violation
            if violation is not None:
                self._has_hung_up = True
                self._carrier.abort(f"the router broke it off: {violation}")
            elif self.twin.has_changed or self._armed_s > now_s + self.twin.audio_format.frame_s:
                self._arm(now_s)

    def lost(self, lost: Lost) -> None:
        """See `Receiver`."""
        self.ended, self.ended_s = lost, self._clock()
        self.twin.router.play(self.ended_s)
        self.twin.recording.note(self.now_s, "closed", code=lost.code, reason=lost.reason, by=lost.by)
        self._timer.stop()
        self._waits.ask(self.ended_s)

    # Inside

    def _ask_at(self, due_s: float, now_s: float) -> None:
        self._ask_s = min(self._ask_s, due_s)
        self._armed_s = min(self._armed_s, due_s)
        self._timer.at(due_s, now_s)

    def _wake(self, due_s: float) -> None:
        self._armed_s = CHANGED
        try:
            self._pump()
        except Exception as exc:  # noqa: BLE001 (nobody is there to get it; who holds the call does, and not a silence)
            self.error = exc
            self._carrier.abort(f"the simulator failed: {exc!r}")

    def _pump(self) -> None:
        """Send what is due, and see to it that the rest is sent in time."""
        if self.ended is not None:
            return
        now_s = self._clock()
        if not self._has_hung_up:
            messages = self.twin.due(now_s)
            if messages:
                self._carrier.write(messages)
        self._arm(now_s)

    def _arm(self, now_s: float) -> None:
        twin = self.twin
        if twin.has_changed or now_s >= self._ask_s:
            twin.has_changed = False
            self._ask_s = self._waits.ask(now_s)
        again_s = self._ask_s if self._has_hung_up else min(twin.next_s, self._ask_s)
        if again_s < self._armed_s and self.ended is None:
            self._armed_s = again_s
            self._timer.at(again_s, now_s)

    def _nothing(self, within_s: float) -> str:
        if self.ended is not None:
            return f"nothing was heard before the call ended ({self.ended.error or f'close code {self.ended.code}'})"
        return f"nothing was heard within {within_s:g} s"


def _at_s(entry: Entry) -> float:
    return entry.at_s
