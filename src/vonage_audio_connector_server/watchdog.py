"""Cues that an event loop is blocked, and says once which line holds it: a thread for each loop with connections.

The thread asks the loop to run a plain function, 20 times a second however many connections there are. What it asked
is written by the thread alone, what the loop answered by the loop alone, each as one immutable tuple: so nobody needs
a lock to read them. A false alarm is worse than a block that is missed: what the watchdog can't be sure of, it doesn't
say.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import dropwhile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from anyio.lowlevel import current_token

logger = logging.getLogger("vonage_audio_connector_server")

BLOCKED_S = 0.1
"""A loop that has not answered for this long is blocked: asyncio's own `slow_callback_duration`."""

POLL_S = 0.05
"""How often the thread looks. Half of `BLOCKED_S`: so a block of 0.15 s is noticed whenever it begins."""

LATE_S = 0.025
"""A thread that woke later than this can't tell why the loop doesn't answer: five turns of others at the interpreter.

`sys.getswitchinterval` is 5 ms. Where many threads want it, the loop waits for it as the watchdog does.
"""

KEPT = 8
"""How many episodes are remembered. Assumed: who asks is interested in the last second or two."""

_OURS = str(Path(__file__).parent) + os.sep
_STANDARD = (str(Path(threading.__file__).parent) + os.sep, "<frozen ")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")  # often in the folder of the standard

_lock = threading.Lock()  # guards the registry, and how many watch
_watchdogs: dict[object, Watchdog] = {}  # by the native token of the loop


def watch() -> Watchdog:
    """Watch the running event loop, until `Watchdog.release`. All who watch one loop share one watchdog.

    To be called in the loop. It doesn't wait. Where no thread can be started, nothing is watched, and the log says so.
    """
    loop = current_token().native_token
    with _lock:
        watchdog = _watchdogs.get(loop)
        if watchdog is None:
            watchdog = _watchdogs[loop] = Watchdog(loop)
            watchdog.start()
        watchdog.watching += 1
    return watchdog


def was_blocked(watchdog: Watchdog | None, offset_s: float, since_s: float, until_s: float) -> bool:
    """Whether an event loop was blocked between two times of a clock that is `offset_s` behind `time.monotonic`."""
    return watchdog is not None and watchdog.blocked_during(since_s + offset_s, until_s + offset_s)


class _Asked(NamedTuple):
    number: int
    since_s: float  # the loop has not answered since
    told: bool  # it is blocked, and the log has told so


class _Turned(NamedTuple):
    number: int  # what was answered last; the loop owes an answer where it is not the number asked last
    at_s: float
    episodes: tuple[tuple[float, float], ...]
    blocked_s: float


class Watchdog:
    """Watches one event loop. Times are seconds on `time.monotonic`, which is not the clock of trio.

    An episode counts once it is noticed, from when it began; so the answers are right as soon as a call that blocked
    for longer than `BLOCKED_S + POLL_S` returns. They may be asked for from any thread.

    A loop that stops running is watched no longer.

    Args:
        loop: the native token of the loop that runs in this thread.
    """

    def __init__(self, loop: Any) -> None:
        self.watching = 0
        self.turn_s = 0.0  # how long the loop took to answer lately, which is how long a turn of it lasts
        self._loop = loop
        self._post: Callable[[Callable[[], None]], object] = getattr(loop, "call_soon_threadsafe", None) or (
            loop.run_sync_soon
        )
        self._is_running: Callable[[], bool] = getattr(loop, "is_running", lambda: True)  # a run of trio says when over
        self._thread_id = threading.get_ident()
        # What runs the loop, down to the user's main function: until the first answer tells it, as seen from a task.
        frames = dropwhile(lambda frame: not _is_loop(frame), _frames(sys._getframe()))
        self._below: frozenset[CodeType] = frozenset(frame.f_code for frame in frames)
        self._asked = _Asked(0, 0.0, told=False)
        self._turned = _Turned(0, 0.0, (), 0.0)
        self._look_s = 0.0  # when the thread meant to look, from its last look on: it may be held up anywhere
        self._root: FrameType | None = None  # what the loop was in at the last look
        self._stop = threading.Event()

    # For connections

    @property
    def blocked_s(self) -> float:
        """For how many seconds the loop was blocked, in all episodes together."""
        now_s = time.monotonic()
        turned = self._turned
        since_s = self._blocked_since()
        return turned.blocked_s + (0.0 if since_s is None else now_s - since_s)

    def blocked_during(self, start_s: float, end_s: float) -> bool:
        """Whether the loop was blocked at some time from `start_s` to `end_s`; the last `KEPT` episodes are known."""
        since_s = self._blocked_since()
        episodes = self._turned.episodes
        if since_s is not None:
            episodes = (*episodes, (since_s, time.monotonic()))
        return any(since_s <= end_s and start_s <= until_s for since_s, until_s in episodes)

    def release(self) -> None:
        """Watch no more, once for each `watch`, in the loop. The last one ends the thread."""
        with _lock:
            self.watching -= 1
            if self.watching:
                return
            self._forget()
        self._turn()  # what blocked the loop is over, and the function that tells it may come too late
        self._stop.set()

    # The loop

    def _answer(self) -> None:
        """Runs in the loop, straight from it: what is below on the stack is what runs the loop."""
        self._turn()
        self._below = frozenset(frame.f_code for frame in _frames(sys._getframe().f_back))

    def _turn(self) -> None:
        if not self._owes_answer():
            return
        now_s = time.monotonic()
        _, _, episodes, blocked_s = self._turned
        since_s = self._blocked_since()
        if since_s is not None:
            episodes = (*episodes[1 - KEPT :], (since_s, now_s))
            blocked_s += now_s - since_s
        self.turn_s = max(now_s - self._asked.since_s, 0.8 * self.turn_s)
        self._turned = _Turned(self._asked.number, now_s, episodes, blocked_s)

    # The thread

    def start(self) -> None:
        """Start the thread. It is a daemon: a process may end without waiting for it."""
        try:
            threading.Thread(target=self._watch, name="vonage-audio-connector-watchdog", daemon=True).start()
        except RuntimeError as exc:  # no more threads: no reason to end a call
            logger.warning("the event loop is not watched: %s", exc)

    def _watch(self) -> None:
        while self._is_running():
            if self._owes_answer():
                self._look()
            else:
                self._tell_end()
                if not self._ask():
                    break
            if self._stop.wait(POLL_S):
                break
        self._tell_end()
        with _lock:
            self._forget()

    def _forget(self) -> None:
        if _watchdogs.get(self._loop) is self:
            del _watchdogs[self._loop]

    def _ask(self) -> bool:
        """Ask the loop for an answer; tells whether it can still give one."""
        now_s = time.monotonic()
        self._look_s = now_s + POLL_S
        self._root = None
        self._asked = _Asked(self._asked.number + 1, now_s, told=False)
        try:
            self._post(self._answer)
        except RuntimeError:  # asyncio: the loop is closed; trio.RunFinishedError
            return False
        return True

    def _look(self) -> None:
        """The loop has not answered yet: find out whether something holds it, and tell."""
        asked = self._asked
        now_s = time.monotonic()
        late_s = now_s - self._look_s
        self._look_s = now_s + POLL_S
        if asked.told:
            return  # it goes on
        if late_s > LATE_S:
            # A suspended process, a machine that has too much to do, or a C function that keeps the interpreter.
            logger.debug("the watchdog of the event loop woke %.2f s late: it counts anew", late_s)
            self._asked = asked._replace(since_s=now_s)
            return
        innermost = sys._current_frames().get(self._thread_id)
        last_root, self._root = self._root, _root(innermost, self._below)
        if now_s - asked.since_s > BLOCKED_S:
            held_by = _holder(innermost, self._below)
            if held_by is None:
                logger.debug("the event loop waits for a processor or the interpreter, nothing holds it")
                self._asked = asked._replace(since_s=now_s)
            elif self._owes_answer():
                self._asked = asked._replace(told=True)  # before the log, which may make us wait
                is_one = last_root in (None, self._root)  # at both looks: else it would be blamed for many others
                logger.warning(
                    "the event loop is blocked, for %.2f s so far, by %s%s: nothing else runs, so let a thread do it",
                    now_s - asked.since_s,
                    "" if is_one else "many steps, of which none is long; one of them is ",
                    held_by,
                )

    def _tell_end(self) -> None:
        if self._asked.told and not self._owes_answer():
            lasted_s = self._turned.at_s - self._asked.since_s
            logger.info("the event loop turns again: it was blocked for %.2f s", lasted_s)

    # Both

    def _owes_answer(self) -> bool:
        return self._asked.number != self._turned.number

    def _blocked_since(self) -> float | None:
        asked = self._asked
        return asked.since_s if asked.told and asked.number != self._turned.number else None


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and what called it, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_loop(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("asyncio", "trio")


def _origin(code: CodeType) -> str:
    file = code.co_filename
    if file.startswith(_OURS):
        return "ours"
    if any(folder in file for folder in _INSTALLED):
        return "installed"
    return "standard" if file.startswith(_STANDARD) else "user"


def _root(innermost: FrameType | None, below: frozenset[CodeType]) -> FrameType | None:
    """What the loop called; None where that is nothing."""
    root = None
    for frame in _frames(innermost):
        if frame.f_code in below:
            break
        root = frame
    return root


def _holder(innermost: FrameType | None, below: frozenset[CodeType]) -> str | None:
    """Name the line that holds the loop: the innermost of the user's code, and what it is in; else the innermost.

    What we call is a handler, and so the user's code, even where it is installed. None where nothing but the loop and
    the standard library is on the stack: so it is in a loop that waits for a processor, or for the interpreter.
    """
    stack: list[tuple[str, str]] = []
    is_held = False
    for frame in _frames(innermost):
        code = frame.f_code
        if code in below:
            break
        origin = _origin(code)
        stack.append((origin, f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"))
        is_held = is_held or not (origin == "standard" or _is_loop(frame))
    if not is_held:
        return None
    inner = stack[0][1]
    callers = [origin for origin, _ in stack[1:]]
    for (origin, place), caller in zip(stack, [*callers, ""], strict=True):
        if origin == "user" or (origin == "installed" and caller == "ours"):
            return place if place == inner else f"{place} (in {inner})"
    return inner
