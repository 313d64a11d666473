"""What tasks wait on, one at a time: what one is brought, or told, belongs to it, whoever comes to wait next."""

from __future__ import annotations

import asyncio

import pytest

from vonage_audio_connector_server.waiter import WOKEN, AsyncioWaiter

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def wait(waiter: AsyncioWaiter) -> object:
    await waiter
    return waiter.take()


async def until_it_waits(waiter: AsyncioWaiter) -> None:
    while waiter.wakeup is None:  # noqa: ASYNC110 (it tells nobody)
        await asyncio.sleep(0)


def soon(function: object, *args: object) -> None:
    asyncio.get_running_loop().call_soon(function, *args)  # type: ignore[arg-type]


async def test_an_item_is_taken_in_place() -> None:
    waiter = AsyncioWaiter()
    task = asyncio.create_task(wait(waiter))
    await until_it_waits(waiter)
    soon(waiter.resume, "item")
    assert await task == "item"
    assert waiter.item is None


async def test_what_is_woken_before_it_waits_waits_not() -> None:
    waiter = AsyncioWaiter()
    waiter.wake()
    assert await wait(waiter) is WOKEN
    waiter.wake("item")
    waiter.wake()  # takes nothing away
    assert await wait(waiter) == "item"


async def test_a_cancellation_is_that_of_the_task_that_waited() -> None:
    waiter = AsyncioWaiter()
    first = asyncio.create_task(wait(waiter))
    await until_it_waits(waiter)
    first.cancel()
    second = asyncio.create_task(wait(waiter))
    second_waits = asyncio.get_running_loop().create_future()
    soon(lambda: soon(lambda: second_waits.set_result(waiter.wakeup is not None)))
    assert await second_waits
    soon(waiter.resume, "item")
    assert await second == "item"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_end_is_told_to_the_task_that_waits() -> None:
    waiter = AsyncioWaiter()
    first = asyncio.create_task(wait(waiter))
    await until_it_waits(waiter)
    waiter.nudge()  # what `first` finds is its affair
    second = asyncio.create_task(wait(waiter))
    await asyncio.sleep(0)
    await until_it_waits(waiter)
    waiter.fail(LookupError("over"))
    assert await first is None
    with pytest.raises(LookupError, match="over"):
        await second


async def test_an_item_that_a_cancelled_task_does_not_take_stays() -> None:
    waiter = AsyncioWaiter()

    async def cancelled_in_its_step() -> None:
        await waiter
        await wait_again()

    async def wait_again() -> None:
        waiter.take()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await waiter

    task = asyncio.create_task(cancelled_in_its_step())
    await until_it_waits(waiter)
    soon(waiter.resume, "first")
    with pytest.raises(asyncio.CancelledError):
        await task
    waiter.wake("second")  # nobody waits
    assert await wait(waiter) == "second"
