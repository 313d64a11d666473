"""A conversation of ten minutes with twenty interruptions, on the virtual clock."""

from __future__ import annotations

import time

import pytest
from bots import answering

from vonage_audio_connector_server.testing import on_virtual_clock, recording, session, tone

CPU_S = 6.0  # 0.8 s on asyncio and 1.4 s on trio were measured; a busy machine may take longer


@on_virtual_clock
async def test_ten_minutes_take_no_time() -> None:
    bot, question = answering(recording("librivox-1", 16_000) * 5), tone(1.0)
    began_s, cpu_s = time.monotonic(), time.process_time()
    async with session(bot) as call:
        for _ in range(20):
            await call.say(question)
            await call.speaks(within_s=1)
            await call.wait(26)
            interruption = await call.interrupt(tone(0.5))
            call.assert_silent_within(ms=120, of=interruption)
            await call.wait(1.8)
        duration_s = call.now_s
        call.assert_no_gap(over_ms=0)

    assert time.process_time() - cpu_s < CPU_S
    assert time.monotonic() - began_s < 10 * CPU_S
    assert duration_s == pytest.approx(600, abs=10)
    assert call.twin.frames_sent == pytest.approx(30_000, rel=0.02)
    assert call.twin.router.frames_received > 25_000
    assert call.twin.router.clears >= 20
    assert call.twin.lateness_s < 1e-3
    assert call.twin.router.furthest_ahead_s < 0.31
