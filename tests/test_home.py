"""Calls to a connection from other threads, with and without event loops, over both kinds of owner and caller."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import traceback
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
from anyio.lowlevel import checkpoint
from owners import Gate, Owner, Work, fail, fail_later, go_on, run

from vonage_audio_connector_server.home import Away, Home

# What it returns


@pytest.mark.anyio
async def test_functions_run_in_the_owners_thread(home: Home) -> None:
    assert await home.call(get_ident) == home.thread_id
    assert home.thread_id != get_ident()


@pytest.mark.anyio
async def test_the_result_comes_back(home: Home) -> None:
    assert await home.call(int, "7") == 7
    assert await home.call(go_on, "waited") == "waited"


@pytest.mark.anyio
async def test_a_function_may_use_anyio(home: Home) -> None:
    async def time_out() -> bool:
        with anyio.move_on_after(0) as scope:  # begun in the first step, ended in a later one
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert await home.call(anyio.current_time) > 0
    assert await home.call(time_out)


@pytest.mark.anyio
async def test_it_may_be_awaited_again(home: Home) -> None:
    away = home.call(int, "7")
    assert [await away, await away] == [7, 7]


@pytest.mark.anyio
@pytest.mark.parametrize("function", [fail, fail_later])
async def test_an_error_comes_with_its_traceback_and_goes_nowhere_else(
    home: Home, function: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LookupError, match="no such thing") as caught:
        await home.call(function)
    assert "fail" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert await home.call(int, "7") == 7  # the owner goes on
    assert caplog.records == []


@pytest.mark.anyio
@pytest.mark.parametrize("function", [fail, fail_later])
async def test_left_alone_it_warns_of_nothing(
    home: Home, function: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    home.call(calls.append, "done")
    home.call(function)
    await home.call(go_on, None)
    gc.collect()
    assert calls == ["done"]
    assert caplog.records == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.anyio
async def test_asyncio_makes_a_task_of_it(home: Home) -> None:
    tasks = [asyncio.create_task(home.call(go_on, number)) for number in range(2)]
    assert await asyncio.gather(*tasks) == [0, 1]
    with pytest.raises(LookupError, match="no such thing"):
        await asyncio.create_task(home.call(fail_later))


@pytest.mark.anyio
async def test_the_owners_loop_may_await_what_another_thread_called(home: Home) -> None:
    work = Work()
    away = home.call(work, "result")

    async def wait() -> object:
        home.call(work.let_go)
        return await away

    assert await home.call(wait) == "result"


@pytest.mark.anyio
async def test_an_owner_that_is_blocked_does_not_block_the_caller(home: Home) -> None:
    gate = Gate()
    results: list[object] = []

    async def wait() -> None:
        home.call(gate)
        results.append(await home.call(int, "7"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        for _ in range(20):  # a caller that is blocked never opens the gate
            await anyio.sleep(0.001)
        assert results == []
        gate.open()
    assert results == [7]


# Threads without event loop


def test_a_plain_thread_blocks_for_the_result(home: Home) -> None:
    assert home.call(int, "7").result() == 7
    assert home.call(go_on, "waited").result(timeout_s=10) == "waited"
    with pytest.raises(LookupError, match="no such thing"):
        home.call(fail_later).result()


def test_a_time_out_changes_nothing(home: Home) -> None:
    work = Work()
    away = home.call(work, "result")
    assert work.next() == "begun"
    with pytest.raises(TimeoutError):
        away.result(timeout_s=0)
    home.call(work.let_go)
    assert away.result() == "result"


@pytest.mark.anyio
async def test_an_event_loop_must_not_block(home: Home) -> None:
    away = home.call(int, "7")
    with pytest.raises(RuntimeError, match="use 'await'"):
        away.result()
    assert await away == 7


@pytest.mark.anyio
async def test_a_worker_thread_of_an_event_loop_may_block(home: Home, anyio_backend: str) -> None:
    away = home.call(int, "7")
    assert await anyio.to_thread.run_sync(away.result) == 7
    if anyio_backend == "asyncio":
        assert await asyncio.to_thread(away.result) == 7  # its context says that asyncio runs


@pytest.mark.parametrize("how", ["task", "callback"])
def test_the_owners_thread_must_not_block(owner: Owner, how: str) -> None:
    answers: queue.Queue[object] = queue.Queue()

    def block() -> None:
        try:
            answers.put(owner.home.call(int).result(timeout_s=10))
        except RuntimeError as exc:
            answers.put(str(exc))

    if how == "task":
        owner.home.call(block)
    elif owner.backend == "asyncio":
        owner.home.call(lambda: asyncio.get_running_loop().call_soon(block))
    else:
        owner.home.call(lambda: trio.lowlevel.current_trio_token().run_sync_soon(block))
    assert "use 'await'" in str(answers.get(timeout=20))


# Order


@pytest.mark.anyio
async def test_a_call_begins_when_the_one_before_has_come_to_its_first_wait(home: Home) -> None:
    begun: list[int] = []

    async def begin(number: int, *, wait: bool) -> None:
        begun.append(number)
        if wait:
            await checkpoint()

    functions: list[Callable[[int], Any]] = [begun.append, partial(begin, wait=False), partial(begin, wait=True)]
    for away in [home.call(functions[number % 7 % 3], number) for number in range(1_000)]:
        await away
    assert begun == list(range(1_000))


@pytest.mark.slow
def test_fifty_threads_call_a_thousand_times_each(home: Home) -> None:
    """Nothing is lost, nothing is done twice, and the order is that of each thread."""
    begun: dict[int, list[int]] = {thread: [] for thread in range(50)}
    results: dict[int, list[int]] = {}

    def begin(thread: int, number: int) -> int:
        begun[thread].append(number)
        return number

    async def begin_and_wait(thread: int, number: int) -> int:
        begin(thread, number)
        await checkpoint()
        return number

    def call_all(thread: int) -> list[Away[int]]:
        functions: list[Callable[[int, int], Any]] = [begin, begin, begin_and_wait, begin, begin]
        return [home.call(functions[number % 5], thread, number) for number in range(1_000)]

    async def wait(thread: int) -> None:
        results[thread] = [await away for away in call_all(thread)]

    def block(thread: int) -> None:
        results[thread] = [away.result() for away in call_all(thread)]

    def call(thread: int) -> None:
        if thread % 5 == 4:
            block(thread)
        else:
            run("trio" if thread % 2 else "asyncio", partial(wait, thread))

    threads = [threading.Thread(target=call, args=(thread,)) for thread in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    in_order = list(range(1_000))
    assert results == dict.fromkeys(range(50), in_order)
    assert begun == dict.fromkeys(range(50), in_order)
