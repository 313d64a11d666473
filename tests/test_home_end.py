"""Calls to another thread's connection when that ends, when an event loop is gone, and what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
from anyio.lowlevel import checkpoint
from owners import ENDED, Gate, Owner, Work, cancelled_wait, fail, fail_later, go_on

from vonage_audio_connector_server.errors import AudioConnectorClosedError
from vonage_audio_connector_server.home import Away, Home

# The end


@pytest.mark.anyio
async def test_the_end_of_the_connection_ends_every_wait(owner: Owner) -> None:
    work = Work()
    errors: list[AudioConnectorClosedError] = []

    async def wait(away: Away[object]) -> None:
        with pytest.raises(AudioConnectorClosedError, match=ENDED) as caught:
            await away
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(wait, owner.home.call(work))
            assert work.next() == "begun"
        await anyio.to_thread.run_sync(owner.close)
    assert work.next() == "Cancelled"
    assert errors[0] is not errors[1]  # an error that is raised twice has a traceback of both


def test_the_end_of_the_connection_ends_a_blocked_thread(owner: Owner) -> None:
    work = Work()
    away = owner.home.call(work)

    def close() -> None:
        assert work.next() == "begun"
        owner.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(AudioConnectorClosedError, match=ENDED):
        away.result()
    closing.join(10)


def test_what_has_not_begun_at_the_end_never_does(home: Home) -> None:
    gate = Gate()
    calls: list[str] = []

    def end() -> None:
        home.call(calls.append, "on its way at the end")
        home.end(ENDED)
        home.end("again")

    home.call(gate)
    home.call(end)
    away = home.call(calls.append, "in the queue at the end")
    gate.open()
    with pytest.raises(AudioConnectorClosedError, match=ENDED):
        away.result()
    with pytest.raises(AudioConnectorClosedError, match=ENDED):
        home.call(calls.append, "after the end")
    done = threading.Event()
    assert home._post(done.set)  # behind all that was posted
    assert done.wait(10)
    assert calls == []


def test_a_loop_that_was_closed_ends_the_waits_that_it_never_served() -> None:
    async def make() -> Home:
        return Home()

    loop = asyncio.new_event_loop()
    home = loop.run_until_complete(make())
    away = home.call(int)
    loop.close()
    with pytest.raises(AudioConnectorClosedError, match="loop of this connection is gone"):
        home.call(int)
    with pytest.raises(AudioConnectorClosedError, match="loop of this connection is gone"):
        away.result()


def test_a_loop_of_trio_that_is_gone_is_the_end() -> None:
    homes: list[Home] = []

    async def make() -> None:
        homes.append(Home())

    trio.run(make)
    for _ in range(2):
        with pytest.raises(AudioConnectorClosedError, match="loop of this connection is gone"):
            homes[0].call(int)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_callers_loop_may_be_gone_before_the_answer(
    home: Home, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    home.call(gate)
    away = home.call(int, "7")
    if backend == "asyncio":
        loop = asyncio.new_event_loop()
        task = loop.create_task(away)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    else:
        wait = away.__await__()  # trio cancels what waits: so leave it in the middle, as a crash would

        async def begin() -> None:
            next(wait)

        trio.run(begin)
    gate.open()
    assert home.call(go_on, 5).result() == 5
    assert away.result() == 7
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


# No leak


@pytest.mark.anyio
async def test_nothing_holds_a_call_that_is_done(home: Home) -> None:
    refs: list[weakref.ref[Any]] = []

    def called(function: Callable[..., Any], *args: object) -> Away[Any]:
        away = home.call(partial(function), *args)
        refs.extend([weakref.ref(away), weakref.ref(away._answer)])
        return away

    def block(function: Callable[..., Any]) -> None:
        with contextlib.suppress(LookupError):
            called(function).result()

    async def use() -> None:
        work = Work()
        called(int, "7")
        called(fail)
        await called(int, "7")
        await called(go_on, 5)
        for function in (fail, fail_later):
            with contextlib.suppress(LookupError):
                await called(function)
            thread = threading.Thread(target=block, args=(function,))
            thread.start()
            thread.join(10)
        await cancelled_wait(called(work), work.next)
        assert work.next() == "Cancelled"

    gc.collect()
    gc.disable()  # all that is left must go without the collector
    try:
        await use()
        await home.call(go_on, None)  # the owner has turned to something else
        await checkpoint()
        assert [ref() for ref in refs if ref() is not None] == []
    finally:
        gc.enable()


@pytest.mark.anyio
async def test_calls_that_waited_leave_no_task_behind(home: Home) -> None:
    def count() -> int:
        return len(anyio.get_running_tasks())

    await home.call(go_on, None)
    before = await home.call(count)
    for _ in range(5):
        await home.call(go_on, None)
    assert await home.call(count) == before
