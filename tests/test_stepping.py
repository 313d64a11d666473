"""`FirstStep` under both event loops: what runs at once, and what is left to await."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest
import trio
from anyio.lowlevel import checkpoint
from outcome import Value

from vonage_audio_connector_server.stepping import FirstStep, call, is_being_cancelled

pytestmark = pytest.mark.anyio


class Work:
    """A coroutine that waits for `door`, and what became of it."""

    def __init__(self) -> None:
        self.door = anyio.Event()
        self.history: list[str] = []

    async def run(self, error: Exception | None = None) -> str:
        self.history.append("started")
        try:
            await self.door.wait()
        except BaseException as exc:
            self.history.append(type(exc).__name__)
            raise
        self.history.append("went on")
        if error is not None:
            raise error
        return "result"


@asynccontextmanager
async def opened_soon(work: Work) -> AsyncIterator[None]:
    async def open_door() -> None:
        await checkpoint()
        work.door.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_door)
        yield


async def test_what_never_waits_is_finished_at_once() -> None:
    async def work() -> str:
        return "result"

    step = FirstStep(work())
    assert step.finished
    assert step.result == "result"


async def test_a_finished_step_may_be_awaited_any_number_of_times() -> None:
    async def work() -> str:
        return "result"

    step = FirstStep(work())
    assert [await step, await step] == ["result", "result"]


async def test_what_waits_runs_up_to_its_wait_and_then_on() -> None:
    work = Work()
    step = FirstStep(work.run())
    assert not step.finished
    assert work.history == ["started"]
    async with opened_soon(work):
        assert await step == "result"
    assert work.history == ["started", "went on"]


async def test_what_it_waited_for_may_come_before_the_await() -> None:
    work = Work()
    step = FirstStep(work.run())
    work.door.set()
    assert await step == "result"


async def test_it_may_wait_often() -> None:
    turns = 0

    async def work() -> int:
        nonlocal turns
        for _ in range(5):
            await checkpoint()
            turns += 1
        return turns

    step = FirstStep(work())
    assert turns == 0
    assert await step == 5


async def test_an_error_in_the_first_step_is_raised_at_once() -> None:
    async def work() -> None:
        raise LookupError("first")

    with pytest.raises(LookupError, match="first"):
        FirstStep(work())


async def test_a_later_error_is_raised_by_the_await() -> None:
    work = Work()
    step = FirstStep(work.run(LookupError("later")))
    async with opened_soon(work):
        with pytest.raises(LookupError, match="later"):
            await step


async def test_a_cancellation_reaches_the_work_and_goes_through() -> None:
    work = Work()
    with anyio.move_on_after(0) as scope:
        step = FirstStep(work.run())
        await step
    assert scope.cancelled_caught
    assert work.history in (["started", "CancelledError"], ["started", "Cancelled"])


async def test_a_cancel_scope_around_the_await_alone_reaches_it_too() -> None:
    work = Work()
    step = FirstStep(work.run())
    with anyio.move_on_after(0) as scope:
        await step
    assert scope.cancelled_caught
    assert len(work.history) == 2


async def test_work_that_survives_its_cancellation_goes_on() -> None:
    async def work() -> str:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        await checkpoint()
        return "survived"

    assert await FirstStep(work()) == "survived"


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_a_value_that_trio_sends_back_reaches_the_work() -> None:
    task = trio.lowlevel.current_task()

    async def work() -> object:
        return await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    async def wake() -> None:
        trio.lowlevel.reschedule(task, Value("sent"))

    step = FirstStep(work())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wake)
        assert await step == "sent"


def test_values_and_errors_of_the_loop_reach_the_work() -> None:
    """Without a loop: what is sent, what is thrown, and what is yielded goes through unchanged."""

    class Talk:
        def __await__(self) -> Generator[str, str, list[str]]:
            heard = [(yield "first")]
            try:
                yield "second"
            except KeyError as exc:
                heard.append(str(exc))
            heard.append((yield "third"))
            return heard

    step = FirstStep(Talk())
    rest = step.__await__()
    assert next(rest) == "first"
    assert rest.send("a") == "second"
    assert rest.throw(KeyError("b")) == "third"
    with pytest.raises(StopIteration) as stop:
        rest.send("c")
    assert stop.value.value == ["a", "'b'", "c"]


async def test_closing_the_rest_closes_the_work() -> None:
    work = Work()
    rest = FirstStep(work.run()).__await__()
    next(rest)
    rest.close()
    assert work.history == ["started", "GeneratorExit"]


def test_a_step_that_waited_has_its_result_ever_after() -> None:
    class Talk:
        def __await__(self) -> Generator[str, None, int]:
            yield "wait"
            return 5

    step = FirstStep(Talk())
    assert list(step.__await__()) == ["wait"]
    assert list(step.__await__()) == []  # nothing to wait for any more
    with pytest.raises(StopIteration) as stop:
        next(step.__await__())
    assert stop.value.value == 5


# call, is_being_cancelled


async def test_call_takes_plain_functions_and_coroutine_functions() -> None:
    calls: list[object] = []

    async def later(value: object) -> None:
        await checkpoint()
        calls.append(value)

    class Hook:
        async def __call__(self) -> None:
            calls.append("object")

    await call(calls.append, "plain")
    await call(later, "coroutine")
    await call(lambda: later("returned"))
    await call(Hook())
    assert calls == ["plain", "coroutine", "returned", "object"]


async def test_being_cancelled_is_told() -> None:
    told = []
    with anyio.move_on_after(0):
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            told.append(is_being_cancelled())
            raise
    assert told == [True]


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_waiting_for_a_cancelled_task_is_not_being_cancelled() -> None:
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    told = []
    try:
        await task
    except asyncio.CancelledError:
        told.append(is_being_cancelled())
    assert told == [False]
