"""Typed handlers and iterators of a client, beside the plain ones."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from conftest import FIRST_MESSAGE
from starlette.testclient import TestClient
from test_threads import Socket

from vonage_audio_connector_server import (
    DTMF,
    Audio,
    AudioConnector,
    AudioConnectorConfigError,
    Cleared,
    Client,
    Connected,
    Disconnected,
    MediaUpdate,
    Notified,
    UnknownEvent,
)

pytestmark = pytest.mark.anyio

DTMF_TEXT = '{"event":"websocket:dtmf","digit":"5","duration":260}'
JSON_AUDIO = '{"audio":"AQD/fwCA/v8="}'
PCM = b"\x01\x00\xff\x7f\x00\x80\xfe\xff"


async def call(on_connect: Callable[[Client], Awaitable[None]], *messages: str | bytes, **options: Any) -> Socket:
    """A call in which the session says these after its first message, and then hangs up."""
    socket = Socket()
    for message in messages:
        socket.say(message)
    socket.hang_up()

    async def without_hanging_up(client: Client) -> None:
        await on_connect(client)

    await socket.serve(without_hanging_up, **options)
    return socket


async def test_typed_handlers_are_called_after_the_plain_one_in_order() -> None:
    told: list[Any] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(
            on_message=lambda message: told.append(message),
            on_audio=lambda pcm: told.append(("audio", pcm)),
            on_event=lambda event: told.append(event),
        )

    await call(on_connect, b"\1\1", DTMF_TEXT, JSON_AUDIO, "no JSON", audio_transport="json")
    assert isinstance(told[1], Connected)
    assert told[1].custom == {"caller": "Ann"}
    assert told == [
        *(FIRST_MESSAGE, told[1]),
        *(b"\1\1", ("audio", b"\1\1")),
        *(DTMF_TEXT, DTMF(DTMF_TEXT, "5", 260)),
        *(PCM, ("audio", PCM)),
        *("no JSON", UnknownEvent("no JSON", None, None)),
    ]


@pytest.mark.parametrize("which", ["on_audio", "on_event"])
async def test_one_of_them_alone_takes_its_own_and_the_rest_is_not_kept(which: str) -> None:
    told: list[Any] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(**{which: told.append})

    await call(on_connect, b"\1\1", DTMF_TEXT)
    if which == "on_audio":
        assert told == [b"\1\1"]
    else:
        assert [type(event) for event in told] == [Connected, DTMF]


@pytest.mark.parametrize("which", ["on_audio", "on_event"])
async def test_what_they_raise_is_an_error_like_any_other(which: str) -> None:
    told: list[Any] = []

    def broken(message: object) -> None:
        raise ValueError("a mistake of the program")

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=told.append, on_error=told.append, **{which: broken})

    await call(on_connect, b"\1\1", DTMF_TEXT)
    errors = [entry for entry in told if isinstance(entry, ValueError)]
    assert len(errors) == (1 if which == "on_audio" else 2)
    assert told[-2:] == [DTMF_TEXT, errors[-1]] if which == "on_event" else told[-1] == DTMF_TEXT  # it goes on


async def test_events_are_all_of_them_typed() -> None:
    texts = {
        '{"event":"websocket:media:update","method":"update","active":false}': MediaUpdate,
        '{"event":"websocket:cleared"}': Cleared,
        '{"event":"websocket:notify","payload":{"mark":1}}': Notified,
        '{"digit":"5"}': DTMF,
        '{"event":"websocket:disconnected","method":"delete","caller":"Ann"}': Disconnected,
        '{"event":"new"}': UnknownEvent,
    }
    events: list[Any] = []

    async def on_connect(client: Client) -> None:
        async for event in client.events():
            events.append(event)  # noqa: PERF401 (one by one, as programs do)
        with pytest.raises(StopAsyncIteration):
            await anext(client.events())
        assert client.stats().clears_acknowledged == 1

    await call(on_connect, b"\1\1", *texts)
    assert [type(event) for event in events] == [Connected, Audio, *texts.values()]
    assert events[1] == Audio(b"\1\1")


async def test_a_handler_and_an_iterator_exclude_each_other() -> None:
    async def on_connect(client: Client) -> None:
        client.set_handler(on_event=print)
        with pytest.raises(AudioConnectorConfigError, match="either it or 'async for'"):
            client.events()
        with pytest.raises(AudioConnectorConfigError, match="either it or 'async for'"):
            aiter(client)
        client.set_handler()
        events = client.events()
        assert isinstance(await anext(events), Connected)
        client.set_handler(on_audio=print)
        with pytest.raises(AudioConnectorConfigError, match="either it or 'async for'"):
            await anext(events)

    await call(on_connect)


async def test_the_transport_is_noticed_from_the_first_audio_and_answers_take_it() -> None:
    async def on_connect(client: Client) -> None:
        async for message in client:
            if isinstance(message, bytes):
                await client.send_audio_buffer(PCM * 80)
                await client.drain()
                return

    socket = Socket()
    socket.say(JSON_AUDIO)
    await socket.serve(on_connect)
    assert socket.frames == []
    (answer,) = socket.texts
    assert answer.startswith('{"audio":"AQD/fwCA/v8B')
    socket = Socket()
    socket.say(PCM)
    socket.say(JSON_AUDIO)  # it has spoken binary before: this is a text
    await socket.serve(on_connect)
    assert (len(socket.frames), socket.texts) == (1, [])


async def test_a_handler_that_takes_itself_away_leaves_the_rest_to_an_iterator() -> None:
    told: list[str] = []
    texts = [f'{{"n":{number}}}' for number in range(5)]

    async def on_connect(client: Client) -> None:
        removed = anyio.Event()

        async def on_message(message: str | bytes) -> None:
            await anyio.sleep(0.02)  # the others come meanwhile
            told.append(f"handler {message!r}")
            client.set_handler()
            removed.set()

        client.set_handler(on_message=on_message)
        await removed.wait()
        async for message in client:
            told.append(f"iterator {message!r}")  # noqa: PERF401

    await call(on_connect, *texts)
    assert told == [f"handler {FIRST_MESSAGE!r}", *(f"iterator {text!r}" for text in texts)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anext_with_a_default_gets_what_comes_while_it_waits(backend: str) -> None:
    frame = bytes(range(128)) * 5
    heard: list[object] = []

    async def on_connect(client: Client) -> None:
        messages = aiter(client)
        heard.append(await anext(messages, None))
        heard.append(await anext(messages, None))
        heard.append(await anext(messages, "over"))

    with TestClient(AudioConnector(on_connect), backend=backend) as host:  # type: ignore[arg-type]
        with host.websocket_connect("/") as session:
            for message in (frame, frame[::-1]):
                time.sleep(0.05)  # it waits
                session.send_bytes(message)
            time.sleep(0.05)
            session.close()
    assert heard == [frame, frame[::-1], "over"]
