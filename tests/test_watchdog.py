"""A blocked event loop is noticed, and the line that holds it is named. In real time: a block lasts until it is told.

What blocks here waits in a C function for the line of the log, so that no test depends on how busy the machine is.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from vonage_audio_connector_server import watchdog as module
from vonage_audio_connector_server.watchdog import BLOCKED_S, KEPT, LATE_S, POLL_S, Watchdog, watch

THREAD = "vonage-audio-connector-watchdog"
WAIT_S = 10  # a test that waits for this long has failed

Lines = queue.SimpleQueue[logging.LogRecord]  # its `get` is a C function: it has no frame


class Told(logging.Handler):
    """What the log was told."""

    def __init__(self) -> None:
        super().__init__()
        self.doubts, self.ends, self.blocks = Lines(), Lines(), Lines()

    def emit(self, record: logging.LogRecord) -> None:
        {logging.DEBUG: self.doubts, logging.INFO: self.ends, logging.WARNING: self.blocks}[record.levelno].put(record)


@pytest.fixture
def told() -> Iterator[Told]:
    logger = logging.getLogger("vonage_audio_connector_server")
    before, handler = logger.level, Told()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    for thread in threads():
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert module._watchdogs == {}


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def hold(lines: Lines, longer_s: float = 0.0) -> str:
    message = lines.get(timeout=WAIT_S).getMessage()
    time.sleep(longer_s)
    return message


def line_in(function: Callable[..., object], offset: int = 1) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno + offset} in {function.__code__.co_qualname}"


async def next_line(lines: Lines) -> logging.LogRecord:
    return await to_thread.run_sync(partial(lines.get, timeout=WAIT_S))


@pytest.mark.anyio
async def test_each_episode_is_told_once_with_the_line_that_holds_the_loop(told: Told) -> None:
    watchdog = watch()
    for _ in range(2):  # the first before the loop has ever answered
        start_s = time.monotonic()
        message = hold(told.blocks, longer_s=2 * POLL_S)  # the watchdog looks again meanwhile
        assert f" by {line_in(hold)}: " in message
        [told_s] = (await next_line(told.ends)).args or ()
        assert isinstance(told_s, float)
        assert BLOCKED_S + 2 * POLL_S <= told_s < time.monotonic() - start_s + 1
        assert told.blocks.empty()
        assert told.ends.empty()
    watchdog.release()


@pytest.mark.anyio
async def test_who_asks_in_the_loop_is_told_at_once(told: Told) -> None:
    watchdog = watch()
    assert watchdog.blocked_s == 0
    start_s = time.monotonic()
    hold(told.blocks)
    end_s = time.monotonic()
    for _ in range(2):  # while the loop owes the answer, and after
        assert watchdog.blocked_during(start_s, end_s)
        assert watchdog.blocked_during(end_s - POLL_S, end_s + 1)
        assert not watchdog.blocked_during(start_s - 2, start_s - 1)
        assert BLOCKED_S < watchdog.blocked_s < time.monotonic() - start_s + 1
        await next_line(told.ends)
        told.ends.put(logging.makeLogRecord({}))
    now_s = time.monotonic()
    assert not watchdog.blocked_during(now_s, now_s + 1)
    watchdog.release()


@pytest.mark.anyio
@pytest.mark.parametrize("work_s", [0.0, 0.01], ids=["idle", "busy"])
async def test_a_loop_that_turns_is_not_accused(told: Told, work_s: float) -> None:
    watchdog = watch()
    end_s = time.monotonic() + 0.3
    if not work_s:
        await anyio.sleep(0.5)
    while time.monotonic() < end_s:
        time.sleep(work_s)  # noqa: ASYNC251 (it is what the loop is busy with)
        await checkpoint()
    assert watchdog.blocked_s == 0
    watchdog.release()
    assert told.blocks.empty()


@pytest.mark.anyio
async def test_a_block_in_the_standard_library_names_the_users_line_too(told: Told) -> None:
    watchdog = watch()
    lines: queue.Queue[logging.LogRecord] = queue.Queue()  # this one is written in Python
    told.blocks = lines  # type: ignore[assignment]

    def wait() -> str:
        return lines.get(timeout=WAIT_S).getMessage()

    assert f" by {line_in(wait)} (in {threading.__file__}:" in wait()
    watchdog.release()


@pytest.mark.anyio
@pytest.mark.parametrize("answers", [0, 1])
async def test_a_loop_that_nobody_holds_is_not_accused(
    told: Told, answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is where the loop gets no processor: it doesn't answer, but nothing of it runs."""
    answer, left = Watchdog._answer, iter(range(answers))
    monkeypatch.setattr(Watchdog, "_answer", lambda dog: answer(dog) if next(left, None) is not None else None)
    watchdog = watch()
    while "nothing holds it" not in (await next_line(told.doubts)).getMessage():
        pass  # it was late
    watchdog.release()
    assert told.blocks.empty()


@pytest.mark.anyio
async def test_a_thread_that_was_late_accuses_nobody(told: Told) -> None:
    """As it is where a C function keeps the interpreter, and where the process is suspended."""
    watchdog = watch()
    while not watchdog._owes_answer():
        time.sleep(0.001)  # noqa: ASYNC251 (the loop must not turn from here on)
    start_s = time.monotonic()
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(WAIT_S)
    try:
        while time.monotonic() < start_s + POLL_S + LATE_S + BLOCKED_S:
            pass
        assert not watchdog.blocked_during(start_s, time.monotonic())
    finally:
        sys.setswitchinterval(interval_s)
    assert "late" in told.doubts.get(timeout=WAIT_S).getMessage()
    assert not watchdog.blocked_during(start_s, time.monotonic())
    watchdog.release()
    assert told.blocks.empty()


@pytest.mark.anyio
async def test_all_who_watch_a_loop_share_one_thread_that_ends_with_the_last(told: Told) -> None:
    first, second = watch(), watch()
    assert first is second
    [thread] = threads()
    assert thread.daemon
    first.release()
    hold(told.blocks)
    second.release()
    # The connection ended in the turn that was blocked: its end is told nevertheless, and remembered.
    told.ends.get(timeout=WAIT_S)
    assert second.blocked_s > BLOCKED_S
    await to_thread.run_sync(thread.join, WAIT_S)
    assert not thread.is_alive()
    again = watch()
    assert again is not first
    again.release()


def test_a_loop_that_is_over_is_not_watched(anyio_backend: str, told: Told) -> None:
    async def main() -> tuple[Watchdog, threading.Thread]:
        return watch(), threads()[0]

    watchdog, thread = anyio.run(main, backend=anyio_backend)
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert module._watchdogs == {}
    watchdog.release()
    assert told.blocks.empty()


def test_a_loop_that_stands_still_between_two_runs_is_not_accused(told: Told) -> None:
    async def main() -> threading.Thread:
        watch()
        return threads()[0]

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main()).join(WAIT_S)
    assert threads() == []
    loop.close()
    assert told.blocks.empty()


def test_of_two_blocked_loops_each_is_told_its_own_line(anyio_backend: str, told: Told) -> None:
    lines = {name: Lines() for name in ("hold_left", "hold_right")}

    def put(record: logging.LogRecord) -> None:
        for name, queued in lines.items():
            if f" in {name}: " in record.getMessage():
                queued.put(record)

    told.blocks = SimpleNamespace(put=put)  # type: ignore[assignment]
    both = threading.Barrier(2)

    async def main(hold: Callable[[Lines], object], name: str) -> None:
        watchdog = watch()
        both.wait(WAIT_S)
        results.append((name, hold(lines[name]), watchdog.blocked_s > BLOCKED_S, lines[name].empty()))
        watchdog.release()

    results: list[object] = []
    loops = [
        threading.Thread(target=partial(anyio.run, main, hold, hold.__name__, backend=anyio_backend))
        for hold in (hold_left, hold_right)
    ]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(WAIT_S)
    assert sorted(map(str, results)) == [str((name, None, True, True)) for name in lines]


def hold_left(lines: Lines) -> None:
    lines.get(timeout=WAIT_S)


def hold_right(lines: Lines) -> None:
    lines.get(timeout=WAIT_S)


@pytest.mark.anyio
async def test_where_no_thread_can_be_started_the_call_goes_on(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        watchdog = watch()
    assert "not watched: can't start" in told.blocks.get(timeout=WAIT_S).getMessage()
    assert not watchdog.blocked_during(-1e9, 1e9)
    watchdog.release()


# On a clock of their own


class Rig:
    """A watchdog without a thread, over a loop that turns when it is told to, in a thread that waits in our code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.run_sync_soon = self.post
        self.posted: list[Callable[[], None]] = []
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.watchdog = Watchdog(self)

    def post(self, function: Callable[[], None]) -> None:
        self.posted.append(function)

    def ask(self) -> float:
        self.watchdog._ask()
        return self.now_s

    def look_after(self, wait_s: float) -> None:
        self.now_s += wait_s
        self.watchdog._look()

    def turn_after(self, wait_s: float) -> None:
        self.now_s += wait_s
        self.posted.pop()()


def test_a_short_block_is_none(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    rig = Rig(monkeypatch)
    start_s = rig.ask()
    rig.look_after(0.05)
    rig.look_after(0.04)
    rig.turn_after(0.0)
    assert not rig.watchdog.blocked_during(start_s, rig.now_s)
    rig.ask()
    rig.look_after(0.05)
    rig.look_after(0.06)
    rig.turn_after(0.01)
    assert rig.watchdog.blocked_during(start_s, rig.now_s)
    assert rig.watchdog.blocked_s == pytest.approx(0.12)
    assert told.blocks.qsize() == 1


def test_what_a_late_thread_saw_counts_only_where_the_loop_is_known_to_be_blocked(
    monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    rig = Rig(monkeypatch)
    rig.ask()
    rig.look_after(3.0)  # after the process was suspended
    rig.look_after(0.08)
    rig.look_after(0.07)
    assert told.blocks.empty()
    assert told.doubts.qsize() == 2
    rig.look_after(0.07)
    assert told.blocks.qsize() == 1
    rig.look_after(3.0)
    rig.turn_after(0.01)
    assert rig.watchdog.blocked_s == pytest.approx(0.07 + 0.07 + 3.01)
    assert told.blocks.qsize() == 1
    assert told.doubts.qsize() == 2


def test_what_is_told_of_an_episode_is_when_the_loop_turned(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    rig = Rig(monkeypatch)
    rig.ask()
    rig.look_after(0.07)
    rig.look_after(0.07)
    rig.turn_after(0.07)
    rig.now_s += 3.0
    rig.watchdog.watching = 1
    rig.watchdog.release()
    rig.watchdog._tell_end()
    assert told.ends.get_nowait().getMessage().endswith("blocked for 0.21 s")
    assert rig.watchdog.blocked_s == pytest.approx(0.21)


def test_a_loop_that_was_seen_idle_or_that_answers_meanwhile_is_not_accused(
    monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    rig = Rig(monkeypatch)
    rig.ask()
    monkeypatch.setattr(module, "_holder", lambda *_: None)
    rig.look_after(0.06)
    rig.look_after(0.06)

    def sample_too_late(*_: object) -> str:
        rig.turn_after(0.0)
        return "the line after"

    monkeypatch.setattr(module, "_holder", sample_too_late)
    rig.look_after(0.06)
    assert len(rig.posted) == told.doubts.qsize() == 1
    rig.look_after(0.06)
    assert rig.posted == []
    assert told.blocks.empty()


def test_the_last_episodes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    starts_s = []
    for _ in range(KEPT + 3):
        starts_s.append(rig.ask())
        rig.look_after(0.07)
        rig.look_after(0.04)
        rig.turn_after(0.01)
        rig.now_s += 1
    known = [rig.watchdog.blocked_during(start_s, start_s + 0.1) for start_s in starts_s]
    assert known == [False] * 3 + [True] * KEPT
    assert rig.watchdog.blocked_s == pytest.approx(0.12 * (KEPT + 3))


# The line that is named

LIB = Path(threading.__file__).parent
FILES = {
    "user": "/srv/bot/bot.py",
    "user 2": "<stdin>",
    "ours": str(Path(module.__file__).parent / "connection.py"),
    "standard": str(LIB / "ssl.py"),
    "frozen": "<frozen importlib._bootstrap>",
    "installed": "/venv/lib/python3.11/site-packages/bot/handlers.py",
    "installed 2": str(LIB / "site-packages" / "requests" / "api.py"),  # without an environment of its own
    "installed 3": "/usr/lib/python3/dist-packages/lib.py",
    "asyncio": str(LIB / "asyncio" / "sslproto.py"),
    "trio": "/venv/lib/python3.11/site-packages/trio/_core/_run.py",
}


@pytest.mark.parametrize(
    ("stack", "named"),
    [
        ("user", "user"),
        ("user, user 2", "user 2"),
        ("user, standard", "user, standard"),
        ("user, installed, frozen", "user, frozen"),
        ("user, installed 2", "user, installed 2"),
        ("user, installed 3", "user, installed 3"),
        ("user, ours", "user, ours"),
        ("user, asyncio, standard", "user, standard"),
        ("asyncio, user", "user"),
        ("installed, standard", "standard"),
        ("trio, installed", "installed"),
        ("ours", "ours"),
        ("ours, standard", "standard"),
        # A handler is the user's code, even where the program is installed. What is around our app is not to blame.
        ("ours, installed 2, installed 3, standard", "installed 2, standard"),
        ("user, ours, installed", "installed"),
        # Nothing holds these loops.
        ("asyncio, standard", ""),
        ("trio", ""),
        ("standard, standard", ""),  # trio as a guest
        ("", ""),
    ],
)
def test_the_line_named_is_the_users(stack: str, named: str) -> None:
    below = {sys._getframe().f_code}

    def sample() -> str | None:
        return module._holder(sys._getframe(1), frozenset(below))

    function: Callable[[], str | None] = sample
    for name in reversed(split(stack)):
        scope = {"inner": function, "__name__": f"{name}.inner"}
        exec(compile("def run():\n    return inner()", FILES[name], "exec"), scope)
        function = scope["run"]  # type: ignore[assignment]
    places = [f"{FILES[name]}:2 in run" for name in split(named)]
    assert function() == (f"{places[0]} (in {places[1]})" if places[1:] else "".join(places) or None)


def split(names: str) -> list[str]:
    return [name for name in names.split(", ") if name]


@pytest.mark.anyio
async def test_a_turn_of_many_short_steps_is_not_blamed_on_one_of_them(told: Told) -> None:
    watchdog = watch()

    async def short() -> None:
        time.sleep(0.004)  # noqa: ASYNC251 (it is what holds the loop)

    await anyio.sleep(2 * POLL_S)
    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(short)
    message = (await next_line(told.blocks)).getMessage()
    assert "many steps, of which none is long; one of them is " in message
    assert "short" in message
    watchdog.release()
