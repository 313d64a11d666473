"""Why it stuttered, and why it closed: what the log and `client.close_report` say of calls over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import FIRST_MESSAGE
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as sync_connect

from vonage_audio_connector_server import AudioConnectorServerConfig, Client, CloseReport, Video

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.alone]

SECOND = b"\1\1" * 16_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def report_of(
    on_connect: Callable[[Client], Awaitable[None]],
    session: Callable[[ClientConnection], Awaitable[None]],
    **options: Any,
) -> CloseReport:
    """Hold a call, and return the report of its end."""
    clients: list[Client] = []

    async def remember(client: Client) -> None:
        clients.append(client)
        await on_connect(client)

    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=remember, **options)
    async with await Video().start_audio_connector_server(config) as handle:
        async with connect(handle.get_address(), proxy=None, compression=None) as peer:
            await peer.send(FIRST_MESSAGE)
            listening = asyncio.create_task(listen(peer, 60))  # or its close would wait for what it has not read
            await session(peer)
        await listening
        async with asyncio.timeout(5):
            while clients[0].close_report is None:  # noqa: ASYNC110 (the end of a call tells nobody else)
                await asyncio.sleep(0.01)
    report = clients[0].close_report
    assert report is not None
    return report


async def listen(peer: ClientConnection, seconds: float) -> None:
    with contextlib.suppress(TimeoutError, ConnectionClosed):
        async with asyncio.timeout(seconds):
            while True:
                await peer.recv()


async def test_a_handler_that_blocks_the_loop_is_named_and_the_gap_is_put_down_to_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "vonage_audio_connector_server")

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            if message == '{"block":1}':
                time.sleep(0.3)  # noqa: ASYNC251 (that is what is tested)

        client.set_handler(on_message=on_message)
        await client.send_audio_buffer(SECOND * 3)

    async def session(peer: ClientConnection) -> None:
        await asyncio.sleep(0.5)
        await peer.send('{"block":1}')
        await asyncio.sleep(1.0)

    report = await report_of(on_connect, session, lead_s=0.04)
    assert report.stats.gaps == {"producer late": 0, "loop blocked": 1, "socket backed up": 0}
    assert 0.15 < report.stats.gap_s < 0.6
    assert report.stats.late_wakeups >= 1
    lines, first = inspect.getsourcelines(on_connect)
    line = first + next(number for number, text in enumerate(lines) if "time.sleep" in text)
    blamed = [text for text in caplog.messages if "is blocked" in text]
    assert len(blamed) == 1
    assert f"{__file__}:{line} in " in blamed[0]
    (told,) = [record for record in caplog.records if "closed by the" in record.getMessage()]
    assert told.levelno == logging.INFO
    assert "gaps: 1 loop blocked" in told.getMessage()
    assert "closed by the session with 1000" in told.getMessage()


async def test_an_echo_that_blocks_has_its_gap_from_the_loop_though_nothing_was_queued() -> None:
    blocked = False

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            nonlocal blocked
            if isinstance(message, bytes):
                if client.stats().frames_in == 20:
                    blocked = True
                    time.sleep(0.4)  # noqa: ASYNC251 (that is what is tested)
                await client.send_audio_buffer(message)

        client.set_handler(on_message=on_message)

    async def session(peer: ClientConnection) -> None:
        started_s = time.monotonic()
        for number in range(60):
            await asyncio.sleep(max(0.0, started_s + number * 0.02 - time.monotonic()))
            await peer.send(b"\1\1" * 320)

    report = await report_of(on_connect, session)
    assert blocked
    assert report.stats.gaps["loop blocked"] >= 1


async def test_a_program_that_brings_its_audio_late_has_its_gap_from_itself() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        await client.send_audio_buffer(SECOND)
        await asyncio.sleep(1.4)
        await client.send_audio_buffer(SECOND, pad_last_frame=True)
        await client.drain()
        await asyncio.sleep(0.3)
        await client.send_audio_buffer(SECOND)  # another utterance: a pause, no gap

    async def session(peer: ClientConnection) -> None:
        await asyncio.sleep(4.0)

    report = await report_of(on_connect, session)
    assert report.stats.gaps == {"producer late": 1, "loop blocked": 0, "socket backed up": 0}
    assert report.stats.gap_s == pytest.approx(0.4, abs=0.15)


@pytest.mark.parametrize("who", ["session", "network", "program", "library"])
async def test_who_closed(who: str, caplog: pytest.LogCaptureFixture) -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        if who == "program":
            await client.disconnect(4_001, "no more\nmoney")
        elif who == "library":
            raise ValueError("a mistake of the program")

    async def session(peer: ClientConnection) -> None:
        await asyncio.sleep(0.1)
        if who == "session":
            await peer.close(4_002, "tired")
        elif who == "network":
            peer.transport.abort()

    caplog.set_level(logging.INFO, "vonage_audio_connector_server")
    report = await report_of(on_connect, session)
    assert report.closed_by == who
    expected = {"session": (4_002, "tired"), "network": (1006, ""), "program": (4_001, "no more\nmoney")}
    assert (report.code, report.reason) == expected.get(who, (1011, "internal error"))
    assert report.last_in_s is not None
    assert 0 <= report.last_in_s < 1
    assert report.last_out_s is None  # nothing was ever sent to it
    (line,) = [text for text in caplog.messages if "closed by the" in text]
    assert "\n" not in line  # a peer must not be able to write lines of a log
    assert f"closed by the {who} with {report.code}" in line


@pytest.mark.parametrize(
    ("breach", "code"), [("x" * 70_000, 1009), (b"\0" * 70_000, 1009), (b"\x83\x00", 1002), (b"\x81\x01\xff", 1007)]
)
async def test_a_breach_of_the_protocol_is_closed_by_the_library(breach: str | bytes, code: int) -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()

    async def session(peer: ClientConnection) -> None:
        if len(breach) > 9:
            await peer.send(breach)
        else:
            assert isinstance(breach, bytes)
            mask = bytes(4)
            peer.transport.write(bytes([breach[0], breach[1] | 0x80]) + mask + breach[2:])
        await peer.wait_closed()

    report = await report_of(on_connect, session)
    assert (report.closed_by, report.code) == ("library", code)


async def test_a_peer_that_answers_no_ping_is_lost_in_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.server.launcher.PING_S", 0.2)

    async def on_connect(client: Client) -> None:
        await client.wait_format()

    async def session(peer: ClientConnection) -> None:
        peer.transport.pause_reading()  # so it doesn't see the ping
        await asyncio.sleep(0.7)
        peer.transport.abort()

    report = await report_of(on_connect, session)
    assert (report.closed_by, report.code, report.reason) == ("network", 1006, "no answer to a ping")


async def test_a_slow_handler_is_named_once_and_its_lag_is_in_the_stats(caplog: pytest.LogCaptureFixture) -> None:
    lags: list[float] = []

    async def on_connect(client: Client) -> None:
        async def slow_transcriber(message: bytes | str) -> None:
            await asyncio.sleep(0.08 if isinstance(message, bytes) else 0)  # four times as long as a frame
            lags.append(client.stats().receive_lag_s)

        client.set_handler(on_message=slow_transcriber)

    async def session(peer: ClientConnection) -> None:
        started_s = time.monotonic()
        for number in range(90):
            await asyncio.sleep(max(0.0, started_s + number * 0.02 - time.monotonic()))
            await peer.send(bytes(640))

    await report_of(on_connect, session)
    assert max(lags) > 1.0
    (line,) = [text for text in caplog.messages if "behind real time" in text]
    assert "slow_transcriber is 1." in line


async def test_a_handler_that_blocks_a_little_on_every_frame_falls_behind_too(caplog: pytest.LogCaptureFixture) -> None:
    lags: list[float] = []

    async def on_connect(client: Client) -> None:
        def blocking_transcriber(message: bytes | str) -> None:
            time.sleep(0.04 if isinstance(message, bytes) else 0)  # twice as long as a frame
            lags.append(client.stats().receive_lag_s)

        client.set_handler(on_message=blocking_transcriber)

    def speak(url: str) -> None:
        """What a session says in 2.6 s, from a thread that the handler doesn't hold up; it takes twice as long."""
        with sync_connect(url, proxy=None, compression=None) as peer:
            started_s = time.monotonic()
            for number in range(130):
                time.sleep(max(0.0, started_s + number * 0.02 - time.monotonic()))
                peer.send(bytes(640))

    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect)
    async with await Video().start_audio_connector_server(config) as handle:
        await asyncio.to_thread(speak, handle.get_address())
    assert max(lags) > 1.0
    assert len([text for text in caplog.messages if "blocking_transcriber is 1." in text]) == 1
