"""The same calls over real sockets, and so in real time, on asyncio and on trio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
import uvicorn
from bots import answering, silent
from serving import on_own_thread
from starlette.applications import Starlette
from starlette.routing import Mount

from vonage_audio_connector_server import AudioConnector, SharedSecret, WebSocketProtocol
from vonage_audio_connector_server.errors import AudioConnectorConfigError
from vonage_audio_connector_server.testing import DialError, Faults, NothingHeardError, recording, session, tone

pytestmark = pytest.mark.anyio

ANSWER = recording("librivox-5", 16_000)[:16_000]
SECRET = SharedSecret("a-long-secret-value", query="token")
APP = Starlette(
    routes=[
        Mount("/bot", AudioConnector(answering(ANSWER))),
        Mount("/silent", AudioConnector(silent)),
        Mount("/guarded", AudioConnector(answering(ANSWER), authorize=SECRET)),
    ]
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    ws: Any = WebSocketProtocol
    with on_own_thread(uvicorn.Config(APP, log_config=None, lifespan="off", ws=ws)) as port:
        yield f"ws://127.0.0.1:{port}"


async def test_a_conversation(url: str) -> None:
    async with session(f"{url}/bot/") as call:
        await call.say(tone(0.3))
        await call.speaks(within_s=2)
        await call.wait(0.2)
        interruption = await call.interrupt(tone(0.2))
        call.assert_silent_within(ms=400, of=interruption)  # of a busy machine
        await call.hears(ANSWER, within_s=2, quiet_s=0.3)
        call.assert_no_gap(over_ms=100)

    assert [event.data for event in call.events].count({"action": "clear"}) >= 2
    assert call.ended is not None
    assert (call.ended.code, call.ended.by) == (1000, "simulator")


async def test_who_hears_nothing(url: str) -> None:
    async with session(f"{url}/silent/") as call:
        await call.say(tone(0.1))
        with pytest.raises(NothingHeardError, match=r"within 0.2 s"):
            await call.hears(within_s=0.2)


async def test_a_refusal_and_nobody_there(url: str) -> None:
    with pytest.raises(DialError, match="HTTP 403"):
        async with session(f"{url}/guarded/"):
            pytest.fail("nobody is let in")
    with pytest.raises(DialError, match=r"nothing listens at 127\.0\.0\.1:1"):
        async with session("ws://127.0.0.1:1"):
            pytest.fail("nobody is there")
    async with session(f"{url}/guarded/?token=a-long-secret-value") as call:
        await call.wait(0.1)


async def test_a_bad_network(url: str) -> None:
    async with session(f"{url}/bot/", faults=Faults(delay_s=0.1)) as call:
        said = await call.say(tone(0.2) + bytes(12_800))
        heard = await call.hears(within_s=2, quiet_s=0.3)
        assert said.start_s is not None
        assert heard.start_s - said.start_s > 0.2 + 0.2 + 2 * 0.1 - 0.05
        call.drop()
        with anyio.fail_after(2):
            ended = await call.wait_ended()
    assert ended is not None
    assert ended.kind == "lost"


async def test_a_program_in_this_process_takes_real_time_without_a_virtual_clock() -> None:
    began_s = anyio.current_time()
    async with session(answering(ANSWER)) as call:
        await call.say(tone(0.1))
        await call.hears(within_s=1, quiet_s=0.1)
    assert anyio.current_time() - began_s > 0.6


async def test_what_can_not_be_called() -> None:
    for url in ("http://127.0.0.1/", "bot.py"):
        with pytest.raises(AudioConnectorConfigError, match="must begin with ws:// or wss://"):
            async with session(url):
                pytest.fail("there is nothing to call")
