"""What becomes of a call to another thread's connection when the wait for it is cancelled, and of its result."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from functools import partial
from threading import get_ident

import pytest
from anyio.lowlevel import checkpoint
from owners import ENDED, Gate, Owner, Work, cancelled_wait, fail, fail_later, go_on

from vonage_audio_connector_server.errors import AudioConnectorClosedError
from vonage_audio_connector_server.home import Home

# Cancelling


@pytest.mark.anyio
async def test_cancelling_the_wait_cancels_the_function(home: Home) -> None:
    work = Work()
    await cancelled_wait(home.call(work), work.next)
    assert work.next() == "Cancelled"
    assert await home.call(int, "7") == 7  # and nothing else


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.anyio
@pytest.mark.parametrize("begun", [True, False])
async def test_cancelling_a_task_cancels_the_function(home: Home, begun: bool) -> None:
    work = Work()
    task = asyncio.create_task(home.call(work))
    if begun:
        await checkpoint()
    assert work.next() == "begun"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.next() == "Cancelled"


@pytest.mark.anyio
async def test_a_function_is_begun_even_if_its_wait_was_cancelled_before(home: Home) -> None:
    gate, work = Gate(), Work()
    calls: list[str] = []
    home.call(gate)
    await cancelled_wait(home.call(calls.append, "plain"), gate.await_reached)
    await cancelled_wait(home.call(work), gate.await_reached)
    gate.open()
    assert work.next() == "begun"
    assert work.next() == "Cancelled"
    assert calls == ["plain"]


@pytest.mark.anyio
async def test_a_function_that_fails_after_that_disturbs_nobody(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    work = Work()

    async def work_and_fail() -> None:
        try:
            await work()
        finally:
            fail()

    await cancelled_wait(home.call(work_and_fail), work.next)
    assert work.next() == "Cancelled"
    assert await home.call(int, "7") == 7
    assert caplog.records == []


@pytest.mark.anyio
async def test_another_wait_for_a_cancelled_call_ends_too(home: Home) -> None:
    work = Work()
    away = home.call(work)
    await cancelled_wait(away, work.next)
    with pytest.raises(concurrent.futures.CancelledError):
        await away


@pytest.mark.anyio
async def test_a_function_that_waited_for_a_cancelled_task_cancels_nothing_else() -> None:
    async def wait_for_cancelled() -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task

    with Owner("asyncio") as owner:
        with pytest.raises(concurrent.futures.CancelledError):
            await owner.home.call(wait_for_cancelled)
        assert await owner.home.call(int, "7") == 7


# Results that come too late


def finish_unseen(home: Home, work: Work) -> None:
    """Let a work that has been called get its result, and block this loop until then, so that it learns of nothing."""
    assert work.next() == "begun"
    home.call(work.let_go)
    assert work.next() == "done"
    turned = threading.Event()
    home.call(turned.set)
    assert turned.wait(10)


class Lost:
    """An `on_lost`: the results it was told, and the threads it ran in."""

    def __init__(self) -> None:
        self.results: list[object] = []
        self.threads: list[int] = []

    def __call__(self, result: object) -> None:
        self.results.append(result)
        self.threads.append(get_ident())


@pytest.mark.anyio
async def test_a_result_that_comes_after_the_cancellation_is_handed_back(home: Home) -> None:
    work, lost = Work(), Lost()
    await cancelled_wait(home.call(partial(work, "message", shield=True), on_lost=lost), work.next)
    await home.call(work.let_go)
    assert work.next() == "done"
    assert await home.call(lost.results.copy) == ["message"]
    assert lost.threads == [home.thread_id]


@pytest.mark.anyio
async def test_a_result_that_comes_with_the_cancellation_is_handed_back_ahead_of_later_calls(home: Home) -> None:
    work, lost = Work(), Lost()
    away = home.call(work, "message", on_lost=lost)

    def finish() -> None:
        finish_unseen(home, work)

    await cancelled_wait(away, finish)
    assert await home.call(lost.results.copy) == ["message"]
    assert lost.threads == [home.thread_id]


@pytest.mark.anyio
async def test_a_result_is_handed_back_when_the_loop_of_its_connection_is_gone(owner: Owner) -> None:
    work, lost = Work(), Lost()
    away = owner.home.call(work, "message", on_lost=lost)

    def finish() -> None:
        finish_unseen(owner.home, work)
        owner.close()

    await cancelled_wait(away, finish)
    assert lost.results == ["message"]
    assert lost.threads == [get_ident()]


@pytest.mark.anyio
async def test_a_result_that_comes_after_the_end_is_handed_back(home: Home) -> None:
    work, lost = Work(), Lost()
    away = home.call(work, "message", on_lost=lost)
    assert work.next() == "begun"

    def end() -> None:
        home.end(ENDED)
        work.let_go()

    home.call(end)
    assert work.next() == "done"
    with pytest.raises(AudioConnectorClosedError, match=ENDED):
        await away
    turned = threading.Event()
    assert home._post(turned.set)
    assert turned.wait(10)
    assert lost.results == ["message"]


@pytest.mark.anyio
async def test_nothing_is_handed_back_that_was_taken_or_never_was(home: Home) -> None:
    work, lost = Work(), Lost()
    assert await home.call(go_on, 5, on_lost=lost) == 5
    with pytest.raises(LookupError):
        await home.call(fail_later, on_lost=lost)
    await cancelled_wait(home.call(work, on_lost=lost), work.next)
    assert work.next() == "Cancelled"

    gate, turned = Gate(), threading.Event()

    def fail_unseen() -> None:
        gate.open()
        home.call(turned.set)
        assert turned.wait(10)

    home.call(gate)
    await cancelled_wait(home.call(fail, on_lost=lost), fail_unseen)
    await home.call(int)
    assert lost.results == []
