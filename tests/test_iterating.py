"""`async for` goes on in place: what its loop does between two messages must not be felt to be. And the one context of
a call's user code. Alone, over TestClient on asyncio and trio, and on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from conftest import FIRST_MESSAGE
from starlette.websockets import WebSocketDisconnect
from ways import ClosedByServerError, SharedServers, Told, Way

from vonage_audio_connector_server import Audio, AudioConnector, AudioConnectorConfigError, Client, Connected

ON_ASYNCIO = pytest.mark.parametrize("carrier", ["asyncio", "uvicorn", "our class"])

FRAMES = [number.to_bytes(2, "little") * 320 for number in range(60)]


@pytest.fixture
def way(carrier: str, shared_servers: SharedServers) -> Iterator[Way]:
    """How it is mounted makes no difference here."""
    way = Way("alone", carrier, shared_servers)
    with way.stack, contextlib.suppress(WebSocketDisconnect):
        yield way


def test_a_loop_that_waits_now_and_then_gets_all_in_order(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        number = 0
        async for message in client:
            if number % 3 == 1:
                await checkpoint()
            elif number % 7 == 2:
                for _ in range(5):
                    await checkpoint()
            told(message)
            number += 1

    caller = way.serve(AudioConnector(on_connect))()
    for frame in FRAMES:
        caller.send(frame)
    assert [told.next() for _ in FRAMES] == FRAMES
    caller.hang_up()


def test_events_come_in_the_same_way(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async for event in client.events():
            told(event)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FIRST_MESSAGE)
    first = told.next()
    assert isinstance(first, Connected)
    for frame in FRAMES[:5]:
        caller.send(frame)
    events: list[Any] = [told.next() for _ in range(5)]
    assert all(isinstance(event, Audio) for event in events)
    assert [event.pcm for event in events] == FRAMES[:5]
    assert sorted(event.at_s for event in events) == [event.at_s for event in events]
    caller.hang_up()


def test_a_time_limit_ends_the_wait_and_loses_nothing(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        messages = aiter(client)
        told(await anext(messages))
        with anyio.move_on_after(0.02) as limit:
            await anext(messages)
        told(limit.cancelled_caught)
        async for message in messages:
            told(message)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FRAMES[0])
    assert told.next() == FRAMES[0]
    assert told.next() is True
    for frame in FRAMES[1:4]:
        caller.send(frame)
    assert [told.next() for _ in range(3)] == FRAMES[1:4]
    caller.hang_up()


def test_a_scope_that_is_cancelled_in_the_loop_ends_it_at_the_next_wait(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        with anyio.CancelScope() as scope:
            async for message in client:
                told(message)
                if message == FRAMES[2]:
                    scope.cancel()
        told("left")
        async for message in client:  # and it may begin anew
            told(message)

    caller = way.serve(AudioConnector(on_connect))()
    for frame in FRAMES[:3]:
        caller.send(frame)
    assert [told.next() for _ in range(4)] == [*FRAMES[:3], "left"]
    caller.send(FRAMES[3])
    assert told.next() == FRAMES[3]
    caller.hang_up()


def test_an_error_in_the_loop_is_told(way: Way, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    async def on_connect(client: Client) -> None:
        async for message in client:
            if message == FRAMES[1]:
                raise LookupError("no model")

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FRAMES[0])
    caller.send(FRAMES[1])
    with pytest.raises(ClosedByServerError) as closed:
        caller.receive()
    assert closed.value.code == 1011
    assert "no model" in caplog.text
    caplog.clear()


def test_a_disconnect_in_the_loop_ends_it(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async for message in client:
            told(message)
            if message == FRAMES[1]:
                client.disconnect(4001)
        told("behind")

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FRAMES[0])
    caller.send(FRAMES[1])
    with pytest.raises(ClosedByServerError) as closed:
        caller.receive()
    assert closed.value.code == 4001
    assert [told.next() for _ in range(3)] == [*FRAMES[:2], "behind"]


def test_a_default_of_anext_comes_at_the_end(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        messages = aiter(client)
        while (message := await anext(messages, None)) is not None:
            told(message)
        told("end")

    caller = way.serve(AudioConnector(on_connect))()
    for frame in FRAMES[:3]:
        caller.send(frame)
    assert [told.next() for _ in range(3)] == FRAMES[:3]
    caller.hang_up()
    assert told.next() == "end"


@ON_ASYNCIO
def test_the_next_message_can_be_made_a_task(way: Way, told: Told) -> None:
    """As whoever waits for a message or something else does."""

    async def on_connect(client: Client) -> None:
        messages = aiter(client)
        for _ in range(3):
            told(await asyncio.create_task(anext(messages)))  # type: ignore[arg-type]  # the stub: any Awaitable
            told(await asyncio.wait_for(anext(messages), 5))
        pending: asyncio.Task[Any] = asyncio.create_task(anext(messages))  # type: ignore[arg-type]  # as above
        while not client._call.dispatcher.is_awaited:
            await checkpoint()
        pending.cancel()
        told("cancelled")
        told(await anext(messages))

    caller = way.serve(AudioConnector(on_connect))()
    for frame in FRAMES[:6]:
        caller.send(frame)
    assert [told.next() for _ in range(7)] == [*FRAMES[:6], "cancelled"]
    caller.send(FRAMES[6])
    assert told.next() == FRAMES[6]
    caller.hang_up()


@ON_ASYNCIO
def test_a_task_that_cancels_itself_in_the_loop_is_cancelled(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            async for message in client:
                told(message)
                if message == FRAMES[1]:
                    task.cancel("of its own")
        except asyncio.CancelledError as exc:
            told(*exc.args)
        told(task.uncancel())
        async for message in client:
            told(message)

    caller = way.serve(AudioConnector(on_connect))()
    for frame in FRAMES[:2]:
        caller.send(frame)
    assert [told.next() for _ in range(4)] == [*FRAMES[:2], "of its own", 0]
    caller.send(FRAMES[2])
    assert told.next() == FRAMES[2]
    caller.hang_up()


@ON_ASYNCIO
def test_code_in_the_loop_runs_in_its_own_task(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        task = asyncio.current_task()
        async for _ in client:
            same = asyncio.current_task() is task
            async with asyncio.timeout(5):
                await asyncio.sleep(0)
            told(same and asyncio.current_task() is task)

    caller = way.serve(AudioConnector(on_connect))()
    for frame in FRAMES[:5]:
        caller.send(frame)
    assert [told.next() for _ in range(5)] == [True] * 5
    caller.hang_up()


def test_several_loops_share_the_messages_and_end_with_the_call(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def take() -> None:
            async for message in client:
                told(message)
                await checkpoint()
            told(b"end")

        for _ in range(3):
            client.start_soon(take)
        await take()

    caller = way.serve(AudioConnector(on_connect))()
    for frame in FRAMES[:20]:
        caller.send(frame)
        if frame < FRAMES[10]:
            assert told.next() == frame  # so all of them wait for the next one
    assert sorted(told.next() for _ in range(10)) == FRAMES[10:20]
    caller.hang_up()
    assert [told.next() for _ in range(4)] == [b"end"] * 4


def test_a_handler_that_another_thread_sets_ends_a_loop_that_waits(way: Way, told: Told) -> None:
    """That thread asked whether it may while the loop was busy, and nobody waited for a message."""

    async def on_connect(client: Client) -> None:
        handlers = type(client._call.dispatcher.handlers)(on_message=told)

        async def set_late() -> None:
            client._call.dispatcher.set_handlers(handlers)

        try:
            async for message in client:
                told(message)
                client.start_soon(set_late)
        except AudioConnectorConfigError as exc:
            told("either it or" in str(exc))

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FRAMES[0])
    assert told.next() == FRAMES[0]
    assert told.next() is True
    caller.send(FRAMES[1])
    assert told.next() == FRAMES[1]  # to the handler
    caller.hang_up()


def test_a_handler_that_closes_and_then_waits_has_its_time(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            await client.disconnect(4001)
            await checkpoint()  # to store something
            told("stored")

        client.set_handler(on_message, lambda: told("gone"))

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FRAMES[0])
    assert [told.next() for _ in range(2)] == ["stored", "gone"]


@ON_ASYNCIO
def test_a_handler_that_cancels_its_task_is_told_when_it_waits(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel("of its own")
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError as exc:
                told(*exc.args)
                task.uncancel()
            told("goes on")

        client.set_handler(on_message)

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FRAMES[0])
    assert [told.next() for _ in range(2)] == ["of its own", "goes on"]
    caller.send(FRAMES[1])
    assert [told.next() for _ in range(2)] == ["of its own", "goes on"]
    caller.hang_up()


@ON_ASYNCIO
def test_a_loop_that_cancels_its_task_cancels_what_it_waits_for(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def child() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                told("child ends")

        await anext(aiter(client))
        worker = asyncio.create_task(child())
        await asyncio.sleep(0)
        told("begun")
        async for _ in client:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            try:
                await worker
            except asyncio.CancelledError:
                told(worker.done())
                task.uncancel()
                break

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FRAMES[0])
    assert told.next() == "begun"
    caller.send(FRAMES[1])
    assert [told.next() for _ in range(2)] == ["child ends", True]
    caller.hang_up()


@ON_ASYNCIO
def test_a_loop_that_cancels_its_task_and_fails_is_cancelled_in_on_error(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        async def on_error(error: Exception) -> None:
            told(str(error))
            try:
                await anyio.sleep_forever()
            finally:
                told("ends")

        client.set_handler(on_error=on_error)
        async for _ in client:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            raise LookupError("no model")

    caller = way.serve(AudioConnector(on_connect))()
    caller.send(FRAMES[0])
    assert [told.next() for _ in range(2)] == ["no model", "ends"]


# The context

CALL_ID: ContextVar[str] = ContextVar("CALL_ID", default="none")
TURN: ContextVar[int] = ContextVar("TURN", default=0)


def test_all_user_code_of_a_call_runs_in_one_context(way: Way, told: Told) -> None:
    """So that the id of a call in a log, or the span of a trace, is seen by its handlers, and what these set, too."""

    async def on_connect(client: Client) -> None:
        CALL_ID.set("before")

        async def on_message(message: bytes | str) -> None:
            TURN.set(TURN.get() + 1)
            if TURN.get() % 2:
                await checkpoint()
            told(CALL_ID.get(), TURN.get())

        def on_error(error: Exception) -> None:
            told(CALL_ID.get(), str(error))

        async def beside() -> None:
            told(CALL_ID.get(), "beside")

        client.set_handler(on_message, lambda: told(CALL_ID.get(), TURN.get(), "gone"), on_error)
        CALL_ID.set("call 7")
        client.start_soon(beside)
        raise LookupError("no model")

    caller = way.serve(AudioConnector(on_connect))()
    assert sorted(told.next() for _ in range(2)) == [("call 7", "beside"), ("call 7", "no model")]
    for frame in FRAMES[:4]:
        caller.send(frame)
    assert [told.next() for _ in range(4)] == [("call 7", turn) for turn in (1, 2, 3, 4)]
    caller.hang_up()
    assert told.next() == ("call 7", 4, "gone")
    assert CALL_ID.get() == "none"


def test_a_setting_can_be_undone_between_two_messages(way: Way, told: Told) -> None:
    async def on_connect(client: Client) -> None:
        token = CALL_ID.set("one")
        async for message in client:
            CALL_ID.reset(token)
            token = CALL_ID.set("next")
            told(message)

    caller = way.serve(AudioConnector(on_connect))()
    for frame in FRAMES[:3]:
        caller.send(frame)
    assert [told.next() for _ in range(3)] == FRAMES[:3]
    caller.hang_up()
