"""Who reads the sockets of a server, and when: at once while little comes, on a timer while much does."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from vonage_audio_connector_server import sweeper as module
from vonage_audio_connector_server.sweeper import SWEEP_S, Sweeper, sweeper_of

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="this system has no epoll")

Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    factory = pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None

    def run(main: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(10.0):
                await main()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(whole())

    return run


class Line:
    """A pair of sockets: what one end sends, a sweeper reads from the other."""

    def __init__(self, sweeper: Sweeper) -> None:
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.got: asyncio.Queue[bytes] = asyncio.Queue()
        self.sweeper = sweeper
        self.add()

    def add(self) -> None:
        self.sweeper.add(self.near.fileno(), self.read)

    def remove(self) -> None:
        self.sweeper.remove(self.near.fileno())

    def read(self) -> None:
        self.got.put_nowait(self.near.recv(100))

    def close(self) -> None:
        self.far.close()
        self.near.close()


@contextmanager
def lines(count: int) -> Iterator[tuple[Sweeper, list[Line]]]:
    sweeper = Sweeper(asyncio.get_running_loop())
    made = [Line(sweeper) for _ in range(count)]
    try:
        yield sweeper, made
    finally:
        for line in made:
            line.close()


def is_on_timer(sweeper: Sweeper) -> bool:
    return sweeper._timer is not None


async def flood(all_lines: list[Line], until: Callable[[], bool]) -> None:
    """One byte on each line, and again, until something is so."""
    while not until():
        for line in all_lines:
            line.far.send(b".")
        for line in all_lines:
            assert await line.got.get() == b"."


def test_what_comes_alone_is_read_when_it_arrives(run: Run) -> None:
    async def main() -> None:
        with lines(2) as (sweeper, (one, other)):
            for number in range(100):
                one.far.send(bytes([number]))
                assert await one.got.get() == bytes([number])
                await asyncio.sleep(SWEEP_S)  # not much, in that time
            assert not is_on_timer(sweeper)
            assert other.got.empty()

    run(main)


def test_much_is_read_on_a_timer_and_little_again_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with lines(20) as (sweeper, all_lines):
            await flood(all_lines, lambda: is_on_timer(sweeper))
            all_lines[3].far.send(b"x")
            assert await all_lines[3].got.get() == b"x"
            awaiting = asyncio.Event()
            await_readable = sweeper._await_readable

            def told() -> None:
                await_readable()
                awaiting.set()

            monkeypatch.setattr(sweeper, "_await_readable", told)
            await awaiting.wait()  # nothing comes
            assert not is_on_timer(sweeper)
            all_lines[5].far.send(b"y")
            assert await all_lines[5].got.get() == b"y"

    run(main)


@pytest.mark.parametrize("on_timer", [False, True])
def test_a_socket_can_leave_and_come_back_and_so_can_all(run: Run, on_timer: bool) -> None:
    async def main() -> None:
        with lines(20) as (sweeper, all_lines):
            if on_timer:
                await flood(all_lines, lambda: is_on_timer(sweeper))
            for line in all_lines:
                line.remove()
                line.far.send(b"later")
            assert (sweeper._epoll, sweeper._timer) == (None, None)
            await asyncio.sleep(3 * SWEEP_S)
            assert all(line.got.empty() for line in all_lines)
            for line in all_lines:
                line.add()
            for line in all_lines:
                assert await line.got.get() == b"later"

    run(main)


@pytest.mark.parametrize("on_timer", [False, True])
def test_a_read_may_end_itself_and_all_others(run: Run, on_timer: bool) -> None:
    async def main() -> None:
        with lines(20) as (sweeper, all_lines):
            if on_timer:
                await flood(all_lines, lambda: is_on_timer(sweeper))
            calls: list[Line] = []

            def end_all() -> None:
                calls.append(all_lines[0])
                for line in all_lines:
                    line.remove()

            for line in all_lines:
                line.remove()
                sweeper.add(line.near.fileno(), end_all)
                line.far.send(b".")
            await asyncio.sleep(5 * SWEEP_S)
            assert len(calls) == 1
            all_lines[0].add()  # and it still works
            assert await all_lines[0].got.get() == b"."

    run(main)


def test_what_was_held_back_goes_behind_some_reads_and_behind_the_last(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 4)

    async def main() -> None:
        with lines(10) as (sweeper, all_lines):
            seen: list[str] = []

            def read_of(line: Line) -> Callable[[], None]:
                def read() -> None:
                    assert sweeper.is_reading
                    line.read()
                    seen.append("read")
                    sweeper.held.append(lambda: seen.append("write"))

                return read

            for line in all_lines:
                line.remove()
            for line in all_lines:
                line.far.send(b".")
                sweeper.add(line.near.fileno(), read_of(line))
            for line in all_lines:
                await line.got.get()
            assert seen == (["read"] * 4 + ["write"] * 4) * 2 + ["read"] * 2 + ["write"] * 2
            assert not sweeper.is_reading
            assert not sweeper.held

    run(main)


def test_a_turn_of_the_loop_reads_a_bounded_number_and_the_next_the_rest(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 8)

    async def main() -> None:
        with lines(20) as (sweeper, all_lines):
            for line in all_lines:
                line.far.send(b".")
            assert sweeper._read_all() == 8
            for line in all_lines:
                assert await line.got.get() == b"."

    run(main)


def test_a_read_that_fails_does_not_stop_the_others(run: Run) -> None:
    async def main() -> None:
        told: asyncio.Queue[object] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.put_nowait(context["exception"]))
        with lines(20) as (sweeper, all_lines):
            await flood(all_lines, lambda: is_on_timer(sweeper))
            bad = all_lines[0]

            def fail() -> None:
                bad.remove()
                raise LookupError("a defect")

            bad.remove()
            sweeper.add(bad.near.fileno(), fail)
            bad.far.send(b".")
            assert isinstance(await told.get(), LookupError)
            for line in all_lines[1:]:
                line.far.send(b"x")
            for line in all_lines[1:]:
                assert await line.got.get() == b"x"
            assert told.empty()

    run(main)


def test_a_server_has_one_and_leaves_none_behind(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sweeper = sweeper_of(Server(), loop)
        assert sweeper is not None
        one, two = Server(), Server()
        assert sweeper_of(one, loop) is sweeper_of(one, loop)
        assert sweeper_of(one, loop) is not sweeper_of(two, loop)
        del one, two
        assert not [key for key in module._SWEEPERS if isinstance(key, Server)]

    run(main)


class Server:
    """Stands for uvicorn's `ServerState`."""


def test_where_there_is_no_epoll_the_transport_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    loop = asyncio.new_event_loop()
    try:
        assert sweeper_of(Server(), loop) is None
    finally:
        loop.close()
