"""The test kit: ten minutes of a conversation with twenty interruptions, on the virtual clock, over both backends."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.testing import recording, run, session, tone
from vonage_audio_connector_server.testing.running import Backend

QUESTION, STOP, ANSWER = tone(1.0), tone(0.5), recording("librivox-1", 16_000) * 5


async def on_connect(client: Client) -> None:
    spoken = 0

    def on_audio(frame: bytes) -> None:
        nonlocal spoken
        if any(frame[:64]):
            spoken += 1
            if spoken == 3:
                client.flush_buffer()
        else:
            if spoken > 20:
                client.send_audio_buffer(ANSWER, pad_last_frame=True)
            spoken = 0

    client.set_handler(on_audio=on_audio)


async def ten_minutes() -> int:
    async with session(on_connect) as call:
        for _ in range(20):
            await call.say(QUESTION)
            await call.speaks(within_s=1)
            await call.wait(26.5)
            call.assert_silent_within(ms=120, of=await call.interrupt(STOP))
            await call.wait(1.9)
        call.assert_no_gap(over_ms=0)
        return call.twin.frames_sent


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ten_minutes_of_a_conversation(benchmark: BenchmarkFixture, backend: Backend) -> None:
    frames = benchmark.pedantic(run, (ten_minutes,), {"backend": backend}, rounds=5, warmup_rounds=1)

    assert frames == pytest.approx(30_000, rel=0.02)
