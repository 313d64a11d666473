"""Test a program: calls of it in the test's own process and on a virtual clock, or over a real socket.

    from vonage_audio_connector_server.testing import on_virtual_clock, session

    @on_virtual_clock
    async def test_it_answers():
        async with session(bot.on_connect) as call:
            await call.say("question.wav")
            await call.hears(within_s=2)
            call.assert_no_gap(over_ms=20)

It needs the extra `testing`. With `pytest_plugins = ["vonage_audio_connector_server.testing.plugin"]` in `conftest.py`
a test that fails keeps what was said and heard, with the report.
"""

from __future__ import annotations

from ..simulator.call import Saying
from ..simulator.carrier import DialError
from ..simulator.heard import Heard, NothingHeardError
from ..simulator.network import Faults
from ..simulator.setup import Setup
from ..simulator.speech import recording
from .call import ServerText, TestCall
from .clock import VirtualClock, VirtualClockLoop
from .frames import first_message, frames, silence, tone
from .running import VIRTUAL_ASYNCIO, VIRTUAL_TRIO, on_virtual_clock, run
from .session import session
from .sounds import assert_same_speech
from .stuck import StuckError

__all__ = [
    "VIRTUAL_ASYNCIO",
    "VIRTUAL_TRIO",
    "DialError",
    "Faults",
    "Heard",
    "NothingHeardError",
    "Saying",
    "ServerText",
    "Setup",
    "StuckError",
    "TestCall",
    "VirtualClock",
    "VirtualClockLoop",
    "assert_same_speech",
    "first_message",
    "frames",
    "on_virtual_clock",
    "recording",
    "run",
    "session",
    "silence",
    "tone",
]
