"""Programs of 0.1.x, as people write them, are run as they are, and a simulated session speaks human speech to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_examples import EXAMPLES, RATE_HZ, SPEECH, call, free_port, running

from vonage_audio_connector_server.simulator import simulate

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.alone]

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_thread_with_its_own_event_loop_says_sentences_back() -> None:
    port = free_port()
    with running(str(PROGRAMS / "readme_0_1.py"), port=port) as program:
        report = await call(port, 2.99)
        assert program.stdout is not None
        told = list(iter(program.stdout.readline, "Speaker ended.\n"))  # the end of the call has reached the thread
    assert report.ok
    assert report.outcome == "answered"
    assert report.gaps == ()
    assert report.same_as_question is not None
    assert report.same_as_question >= 0.99
    assert report.furthest_ahead_s <= 0.35  # although the thread sends a whole sentence at once
    assert "Server started.\n" in told
    assert not [line for line in told if line.startswith("Error")]
    assert program.returncode == 0


async def test_a_coroutine_that_blocks_the_loop_and_never_sleeps() -> None:
    port = free_port()
    with running(str(PROGRAMS / "microphone_0_1.py"), str(EXAMPLES / "audio" / "librivox-2.wav"), port=port) as program:
        question = SPEECH[: RATE_HZ // 2]
        reports = [
            await simulate(f"ws://localhost:{port}", question, RATE_HZ, limit_s=limit_s, router="strict")
            for limit_s in (3.7, 0.8)
        ]
    for report in reports:  # the second call is served as well as the first
        assert report.ok
        assert report.outcome == "limit"
        assert report.gaps == ()
        assert report.furthest_ahead_s <= 0.35
    assert SPEECH in reports[0].heard  # every sample of it, in one piece
    assert SPEECH[: RATE_HZ // 2] in reports[1].heard
    assert program.returncode == 0
