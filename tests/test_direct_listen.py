"""The extension of the ASGI scope by which a frame is dealt with where it arrives, in the name of a task."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
from collections.abc import Awaitable, Callable, Sized
from typing import Any

import anyio
import pytest
from conftest import FIRST_MESSAGE, FRAME_BYTES
from websockets.asyncio.client import ClientConnection, connect

from vonage_audio_connector_server import AudioConnector, Client

pytest.importorskip("picows", reason="only the class on picows has it")
import uvicorn

from vonage_audio_connector_server.picows_protocol import PicowsProtocol
from vonage_audio_connector_server.picows_stream import Stream
from vonage_audio_connector_server.reader import Reader

FRAMES = [number.to_bytes(2, "little") * (FRAME_BYTES // 2) for number in range(1, 51)]
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")

Visit = Callable[[ClientConnection], Awaitable[None]]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What `Reader.take` returned, in order."""
    answers: list[bool] = []
    take = Reader.take

    def spy(self: Reader, data: bytes) -> bool:
        answers.append(take(self, data))
        return answers[-1]

    monkeypatch.setattr(Reader, "take", spy)
    return answers


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Any:
    return asyncio.new_event_loop if request.param == "asyncio" else pytest.importorskip("uvloop").new_event_loop


def serve(app: Any, visit: Visit, loop_factory: Any = None) -> None:
    """Let one peer visit an ASGI application over a real socket."""

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, ws=PicowsProtocol, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(10):
                async with connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/", compression=None) as peer:
                    await peer.send(FIRST_MESSAGE)
                    await (await peer.ping())  # it has been read, and the connection waits for the next one
                    await visit(peer)
        finally:
            server.should_exit = True
            await serving
            listener.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def until(things: Sized, count: int) -> None:
    while len(things) < count:  # noqa: ASYNC110 (the server runs in the same event loop)
        await asyncio.sleep(0)


def test_frames_come_in_order_and_none_wakes_the_task(taken: list[bool], loop_factory: Any) -> None:
    heard: list[bytes] = []
    tasks: set[object] = set()

    async def on_audio(message: bytes | str) -> None:
        if isinstance(message, bytes):
            heard.append(message)
            tasks.add(asyncio.current_task())

    async def visit(peer: ClientConnection) -> None:
        for frame in FRAMES:
            await peer.send(frame)
        await until(heard, len(FRAMES))

    serve(AudioConnector(lambda client: client.set_handler(on_message=on_audio)), visit, loop_factory)
    assert heard == FRAMES
    assert taken.count(True) > len(FRAMES) // 2
    assert len(tasks) == 1
    assert None not in tasks


def test_a_handler_that_waits_goes_on_in_its_own_task_and_context(taken: list[bool], loop_factory: Any) -> None:
    """It begins where the frame arrives, and goes on in the task that waited: for it that is one and the same."""
    heard: list[tuple[bytes, bool, str]] = []

    async def on_message(message: bytes | str) -> None:
        if isinstance(message, bytes):
            task = asyncio.current_task()
            token = WHO.set("the handler")
            with anyio.move_on_after(5) as scope:
                await asyncio.sleep(0.001)
            WHO.reset(token)  # fails in another context
            heard.append((message, asyncio.current_task() is task and not scope.cancelled_caught, WHO.get()))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        WHO.set("a middleware")
        await connector(scope, receive, send)

    async def visit(peer: ClientConnection) -> None:
        for frame in FRAMES:
            await peer.send(frame)
            await asyncio.sleep(0.002)
        await until(heard, len(FRAMES))

    connector = AudioConnector(lambda client: client.set_handler(on_message=on_message))
    serve(app, visit, loop_factory)
    assert heard == [(frame, True, "a middleware") for frame in FRAMES]
    assert taken
    assert not any(taken)  # each had to wait


def test_a_cancelled_scope_ends_the_wait_of_the_handler_and_no_more(taken: list[bool], loop_factory: Any) -> None:
    ended: list[bool] = []

    async def on_message(message: bytes | str) -> None:
        if isinstance(message, bytes):
            with anyio.CancelScope() as scope:
                scope.cancel()  # in the first step, which runs where the frame arrives
                await anyio.sleep_forever()
            ended.append(scope.cancelled_caught)

    async def visit(peer: ClientConnection) -> None:
        for number, frame in enumerate(FRAMES[:5], 1):
            await peer.send(frame)
            await until(ended, number)

    serve(AudioConnector(lambda client: client.set_handler(on_message=on_message)), visit, loop_factory)
    assert ended == [True] * 5
    assert taken


def test_an_error_goes_to_on_error_and_the_next_frame_comes(taken: list[bool], loop_factory: Any) -> None:
    errors: list[Exception] = []

    def on_message(message: bytes | str) -> None:
        if isinstance(message, bytes):
            raise LookupError(message[0])

    async def visit(peer: ClientConnection) -> None:
        for number, frame in enumerate(FRAMES[:5], 1):
            await peer.send(frame)
            await until(errors, number)

    app = AudioConnector(lambda client: client.set_handler(on_message=on_message, on_error=errors.append))
    serve(app, visit, loop_factory)
    assert [str(error) for error in errors] == ["1", "2", "3", "4", "5"]
    assert taken


def test_a_frame_that_is_too_long_closes(taken: list[bool]) -> None:
    heard: list[bytes | str] = []

    async def visit(peer: ClientConnection) -> None:
        await peer.send(FRAMES[0])
        await peer.send(bytes(66_000))
        await peer.send(FRAMES[1])
        await peer.wait_closed()
        assert peer.close_code == 1009

    serve(AudioConnector(lambda client: client.set_handler(on_message=heard.append)), visit)
    assert [message for message in heard if isinstance(message, bytes)] == [FRAMES[0]]
    assert taken


def test_who_stands_between_sees_every_message(taken: list[bool]) -> None:
    """A middleware that wraps `receive` and `send` is not passed by."""
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def watched_receive() -> Any:
            message = await receive()
            seen.append(message.get("bytes"))
            return message

        async def watched_send(message: Any) -> None:
            seen.append(message.get("bytes"))
            await send(message)

        await connector(scope, watched_receive, watched_send)

    async def visit(peer: ClientConnection) -> None:
        for frame in FRAMES[:3]:
            await peer.send(frame)
            assert await peer.recv() == frame

    async def echo(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            if isinstance(message, bytes):
                await client.send_audio_buffer(message)

        client.set_handler(on_message=on_message)

    connector = AudioConnector(echo)
    serve(app, visit)
    assert [entry for entry in seen if entry] == [FRAMES[0]] * 2 + [FRAMES[1]] * 2 + [FRAMES[2]] * 2
    assert not taken


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a task of CPython 3.11 doesn't tell its context")
def test_another_task_that_reads_gets_its_frames_where_they_arrive(taken: list[bool]) -> None:
    heard: list[bytes] = []
    waited = False

    async def on_message(message: bytes | str) -> None:
        nonlocal waited
        if isinstance(message, bytes):
            heard.append(message)
            if not waited:
                waited = True
                await asyncio.sleep(0.001)  # so another task reads on, from now on

    async def visit(peer: ClientConnection) -> None:
        for number, frame in enumerate(FRAMES, 1):
            await peer.send(frame)
            await until(heard, number)

    serve(AudioConnector(lambda client: client.set_handler(on_message=on_message)), visit)
    assert heard == FRAMES
    assert taken.count(True) > len(FRAMES) // 2


def test_the_stream_holds_nothing_of_the_application_in_the_end() -> None:
    streams: list[Stream] = []

    def on_connect(client: Client) -> None:
        listen: Any = client._connection.reader._listen
        streams.append(listen.__self__)
        client.set_handler(on_message=lambda message: None)

    async def visit(peer: ClientConnection) -> None:
        await peer.send(FRAMES[0])

    serve(AudioConnector(on_connect), visit)
    assert streams[0]._take is None
    assert streams[0]._task is None
    assert streams[0].app_task is None
