"""The extension of the ASGI scope by which a batch costs one call: what is due goes out in it, in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableSequence
from itertools import chain
from typing import Any

import pytest
from conftest import FIRST_MESSAGE, FRAME_BYTES

from vonage_audio_connector_server import AudioConnector, Client, JSONTransport
from vonage_audio_connector_server.direct import DIRECT, Direct

CLEAR = ['{"event":"websocket:cleared"}', '{"action":"clear"}']
FRAMES = [number.to_bytes(2, "little") * (FRAME_BYTES // 2) for number in range(1, 51)]

Batch = list[bytes | str]


class Server:
    """An ASGI server whose socket takes batches, unless it is backed up. Only asyncio has one."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.sent: list[Any] = []  # by ASGI's own way
        self.is_backed_up = False
        self.delays_s: list[float] = []  # of the timers that were asked for
        self.may_send = asyncio.Event()
        self.may_send.set()
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages.put_nowait({"type": "websocket.connect"})

    def say(self, text: str) -> None:
        self._messages.put_nowait({"type": "websocket.receive", "text": text})

    def hang_up(self) -> None:
        self._messages.put_nowait({"type": "websocket.disconnect", "code": 1000})

    def write(self, payloads: MutableSequence[bytes | str]) -> bool:
        if self.is_backed_up:
            return False
        assert payloads
        self.batches.append(list(payloads))
        payloads.clear()
        return True

    def call_later(self, delay_s: float, function: Callable[[], object]) -> asyncio.TimerHandle:
        self.delays_s.append(delay_s)
        return asyncio.get_running_loop().call_later(delay_s, function)

    async def send(self, message: Any) -> None:
        await self.may_send.wait()
        self.sent.append(message.get("bytes") or message.get("text") or message["type"])

    async def serve(self, app: AudioConnector) -> None:
        scope: dict[str, Any] = {"type": "websocket", "path": "/", "query_string": b"", "headers": []}
        direct = Direct(self._messages.get, self.send, self.write, self.call_later)
        scope["extensions"] = {DIRECT: direct}
        await app(scope, self._messages.get, self.send)


def serve(talk: Callable[[Client, Server], Awaitable[None]], *, known: bool = True, **settings: Any) -> Server:
    """Run one call; `talk` begins when the format is known, if it is to be."""

    async def call() -> Server:
        server = Server()
        if known:
            server.say(FIRST_MESSAGE)

        async def on_connect(client: Client) -> None:
            if known:
                await client.wait_format()
            try:
                await talk(client, server)
            finally:
                server.may_send.set()
                server.hang_up()

        async with asyncio.timeout(10):
            await server.serve(AudioConnector(on_connect, **settings))
        assert server.sent.pop(0) == "websocket.accept"
        return server

    return asyncio.run(call())


def test_what_is_due_goes_out_in_one_call() -> None:
    async def talk(client: Client, server: Server) -> None:
        await client.send_audio_buffer(b"".join(FRAMES))

    server = serve(talk)
    assert server.batches == [FRAMES[:15]]  # the lead and one batch
    assert server.sent == []


def test_a_long_answer_leaves_in_batches_of_five_frames() -> None:
    async def talk(client: Client, server: Server) -> None:
        await client.send_audio_buffer(b"".join(FRAMES[:35]))
        await client.drain()

    server = serve(talk)
    assert list(chain(*server.batches)) == FRAMES[:35]
    assert len(server.batches) <= 6  # 15 at once, then one every 100 ms; a late one takes more
    assert server.sent == []


def test_each_batch_is_sent_when_it_is_due_and_not_later() -> None:
    async def talk(client: Client, server: Server) -> None:
        await client.send_audio_buffer(b"".join(FRAMES[:30]))
        await client.drain()

    server = serve(talk)
    assert server.delays_s
    assert max(server.delays_s) < 0.101  # a batch, counted from the position and not from the last wake-up


def test_a_timer_gives_way_to_an_earlier_one() -> None:
    """What waits for the format waits a second at most; once that is known the next batch is due in 0.1 s."""

    async def talk(client: Client, server: Server) -> None:
        await client.send_audio_buffer(b"".join(FRAMES[:30]))
        assert server.batches == []
        server.say(FIRST_MESSAGE)
        await client.drain()
        assert client.stats().gaps == {"producer late": 0, "loop blocked": 0, "socket backed up": 0}
        assert client.stats().late_wakeups == 0

    server = serve(talk, known=False)
    assert [frame for batch in server.batches for frame in batch] == FRAMES[:30]
    assert 0.9 < server.delays_s[0] < 1.001
    assert len(server.batches) > 2


def test_a_socket_that_is_backed_up_when_a_batch_is_due_gets_it_by_send() -> None:
    async def talk(client: Client, server: Server) -> None:
        await client.send_audio_buffer(b"".join(FRAMES[:30]))
        server.is_backed_up = True  # from the second batch on
        await client.drain()

    server = serve(talk)
    assert [*chain(*server.batches), *server.sent] == FRAMES[:30]
    assert server.sent


def test_texts_go_before_audio_and_clear_commands_at_once() -> None:
    async def talk(client: Client, server: Server) -> None:
        await client.send_audio_buffer(FRAMES[0])
        await client.send_json_packet('{"n":1}')
        client.flush_buffer()
        assert server.batches == [[FRAMES[0]], ['{"n":1}'], CLEAR]  # not awaited, and yet on the wire
        await client.send_audio_buffer(FRAMES[1])

    server = serve(talk)
    assert server.batches[3:] == [[FRAMES[1]]]


def test_a_socket_that_is_backed_up_gets_everything_later_in_order() -> None:
    async def talk(client: Client, server: Server) -> None:
        server.is_backed_up = True
        server.may_send.clear()
        sending = asyncio.create_task(client.send_audio_buffer(b"".join(FRAMES[:5])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not sending.done()
        client.flush_buffer()  # takes back what the socket has not accepted: all but the frame that waits in `send`
        later = asyncio.create_task(client.send_audio_buffer(FRAMES[7]))
        await asyncio.sleep(0)
        server.is_backed_up = False
        await asyncio.sleep(0)
        assert server.batches == []  # a write that waits is not overtaken
        server.may_send.set()
        await sending
        await later

    server = serve(talk)
    assert [*server.sent, *chain(*server.batches)] == [FRAMES[0], *CLEAR, FRAMES[7]]


def test_the_close_comes_behind_what_was_written() -> None:
    async def talk(client: Client, server: Server) -> None:
        await client.send_json_packet('{"n":1}')
        await client.disconnect()

    server = serve(talk)
    assert (server.batches, server.sent) == ([['{"n":1}']], ["websocket.close"])


@pytest.mark.parametrize("frames", [1, 3])
def test_audio_in_texts_goes_the_ordinary_way(frames: int) -> None:
    async def talk(client: Client, server: Server) -> None:
        await client.send_audio_buffer(b"".join(FRAMES[:frames]))

    transport = JSONTransport()
    server = serve(talk, audio_transport=transport)
    assert server.batches == []
    assert server.sent == [transport.encode(frame) for frame in FRAMES[:frames]]


def test_nothing_is_written_after_the_end() -> None:
    async def talk(client: Client, server: Server) -> None:
        server.hang_up()
        async for _ in client:
            pass
        assert client.close_report is not None
        with pytest.raises(ConnectionError):
            await client.send_audio_buffer(FRAMES[0])
        client._connection.writer.write_now(0.0)

    assert serve(talk).batches == []
