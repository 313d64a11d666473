"""One conversation in each framework: question, answer, interruption, second answer, goodbye."""

from __future__ import annotations

from importlib.util import find_spec

import anyio
import pytest
from conversation_programs import ANSWERS, TEXTS, Program, livekit, openai, openai_agents, pipecat, plain

from vonage_audio_connector_server.testing import assert_same_speech, recording, session

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the frameworks' own
]

QUESTION = recording("go-forward-ten-meters", 16_000)[2 * 6_400 : -2 * 4_800]
NO_WAIT = recording("librivox-4", 16_000)[2 * 8_320 : 2 * 17_920]  # 0.6 s of it
INTERRUPTED_AFTER_S = 2.5

PROGRAMS = {"plain": plain, "pipecat": pipecat, "livekit": livekit, "openai": openai, "agents": openai_agents}
FRAMEWORKS = {name: program for name, program in PROGRAMS.items() if name == "plain" or find_spec(name) is not None}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def converse(program: Program) -> None:
    """The first message comes late, as over a slow network."""
    async with session(program.address, ssl_context=program.tls, first_s=0.6) as call:
        await call.say(QUESTION)
        assert_same_speech(await call.hears(within_s=3), recording(ANSWERS[0], 16_000))

        await call.say(QUESTION)
        began_s = await call.speaks(within_s=3)
        await anyio.sleep(began_s + INTERRUPTED_AFTER_S - call.now_s)
        interruption = call.interrupt(NO_WAIT)
        await interruption
        third = await call.hears(within_s=3)
        call.assert_silent_within(ms=300, of=interruption)
        assert_same_speech(call.heard_between(began_s, began_s + INTERRUPTED_AFTER_S), recording(ANSWERS[1], 16_000))
        assert_same_speech(third, recording(ANSWERS[2], 16_000))

        await call.say(QUESTION)
        fourth = await call.hears(within_s=3)
        assert_same_speech(fourth, recording(ANSWERS[3], 16_000))
        assert len(fourth.pcm) / 32_000 > 1.5  # it was not cut off
        assert await call.wait_ended(within_s=5) is not None
        call.assert_no_gap(over_ms=20)


@pytest.mark.parametrize("name", FRAMEWORKS)
async def test_the_same_conversation(name: str) -> None:
    program = Program()
    async with FRAMEWORKS[name](program):
        await converse(program)
    texts = [" ".join(text.split()) for text in program.texts]
    assert texts[0] == TEXTS[0]
    heard, whole = texts[1].split(), TEXTS[1].split()
    assert whole[: len(heard)] == heard
    # By the share of the time: it was interrupted 2.5 s into 7.1 s, and spoke 0.2 s on.
    share = (INTERRUPTED_AFTER_S + 0.2) / (len(recording(ANSWERS[1], 16_000)) / 32_000)
    assert abs(len(heard) - share * len(whole)) <= 2
    assert texts[2:] == TEXTS[2:]
