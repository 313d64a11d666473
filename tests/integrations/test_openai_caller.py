"""What a Realtime session hears of a caller while the program's event loop is blocked."""

from __future__ import annotations

import time
from array import array

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from example_programs import served

from vonage_audio_connector_server import DTMF, AudioConnector, Client
from vonage_audio_connector_server.integrations._openai_caller import RATE_HZ, CallerAudio
from vonage_audio_connector_server.testing import session

LEVEL = 10_000


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})])
async def test_a_blocked_event_loop_is_no_silence() -> None:
    """What came meanwhile is read first. The caller is in another thread, and speaks on."""
    heard: list[bytes] = []

    async def on_connect(client: Client) -> None:
        caller = CallerAudio(client._call)
        # Out of the reading of a socket: uvloop looks at its timers before the next one.
        client.set_handler(on_event=lambda event: time.sleep(0.5) if isinstance(event, DTMF) else None)
        await client.wait_closed()
        heard.append(caller.take())
        caller.stop()

    async def call_it(address: str) -> None:
        async with session(address) as call:
            saying = call.say(array("h", [LEVEL] * 20_800).tobytes())
            await call.wait(0.5)
            call.press("5")
            await saying

    async with served(AudioConnector(on_connect)) as address:
        await anyio.to_thread.run_sync(anyio.run, call_it, address)
        with anyio.fail_after(5):
            while not heard:
                await anyio.lowlevel.checkpoint()
    samples = array("h", heard[0])
    loud = [number for number, sample in enumerate(samples) if sample > LEVEL // 2]
    assert len(loud) == pytest.approx(1.3 * RATE_HZ, abs=0.01 * RATE_HZ)
    assert loud[-1] - loud[0] + 1 == len(loud)  # no silence in between
