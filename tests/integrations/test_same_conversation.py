"""One conversation in each framework: question, answer, interruption, second answer, goodbye."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec

import anyio
import pytest
from conversation_programs import ANSWERS, TEXTS, Program, livekit, openai, openai_agents, pipecat, plain

from vonage_audio_connector_server.testing import (
    NothingHeardError,
    Saying,
    TestCall,
    assert_same_speech,
    recording,
    session,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.alone,  # it looks at gaps of 20 ms
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the frameworks' own
]

QUESTION = recording("go-forward-ten-meters", 16_000)[2 * 6_400 : -2 * 4_800]
NO_WAIT = recording("librivox-4", 16_000)[2 * 8_320 : 2 * 17_920]  # 0.6 s of it
INTERRUPTED_AFTER_S = 2.5

PROGRAMS = {"plain": plain, "pipecat": pipecat, "livekit": livekit, "openai": openai, "agents": openai_agents}
FRAMEWORKS = {name: program for name, program in PROGRAMS.items() if name == "plain" or find_spec(name) is not None}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Conversation:
    """One conversation, when it is over.

    Attributes:
        call: the caller's side.
        answers: what was heard of each answer; of the second one up to the interruption.
        interruption: of the second answer.
        texts: what the program takes for heard of each answer.
        error: why it got no further.
    """

    call: TestCall
    answers: list[bytes] = field(default_factory=list)
    interruption: Saying | None = None
    texts: list[str] = field(default_factory=list)
    error: NothingHeardError | None = None


async def converse(talk: Conversation) -> None:
    call = talk.call
    await call.say(QUESTION)
    talk.answers.append((await call.hears(within_s=3)).pcm)

    await call.say(QUESTION)
    began_s = await call.speaks(within_s=3)
    await call.wait(began_s + INTERRUPTED_AFTER_S - call.now_s)
    talk.interruption = call.interrupt(NO_WAIT)
    await talk.interruption
    talk.answers.append(call.heard_between(began_s, began_s + INTERRUPTED_AFTER_S))
    talk.answers.append((await call.hears(within_s=3)).pcm)

    await call.say(QUESTION)
    talk.answers.append((await call.hears(within_s=3)).pcm)
    await call.wait_ended(within_s=5)


async def hold(program: Program, talks: dict[str, Conversation], name: str) -> None:
    """The first message comes late, as over a slow network."""
    async with session(program.address, ssl_context=program.tls, first_s=0.6) as call:
        talk = talks[name] = Conversation(call, texts=program.texts)
        try:
            await converse(talk)
        except NothingHeardError as exc:
            talk.error = exc


@pytest.fixture(scope="module")
async def talks() -> dict[str, Conversation]:
    """They are held side by side: each takes 25 s."""
    talks: dict[str, Conversation] = {}
    async with AsyncExitStack() as stack:
        programs = {name: Program() for name in FRAMEWORKS}
        for name, program in programs.items():
            await stack.enter_async_context(FRAMEWORKS[name](program))
        async with anyio.create_task_group() as tasks:
            for name, program in programs.items():
                tasks.start_soon(hold, program, talks, name)
    return talks


@pytest.mark.parametrize("name", FRAMEWORKS)
async def test_the_same_conversation(name: str, talks: dict[str, Conversation]) -> None:
    talk = talks[name]
    if talk.error is not None:
        raise talk.error
    talk.call.assert_no_gap(over_ms=20)
    assert talk.interruption is not None
    talk.call.assert_silent_within(ms=300, of=talk.interruption)
    for heard, answer in zip(talk.answers, ANSWERS, strict=True):
        assert_same_speech(heard, recording(answer, 16_000))
    assert len(talk.answers[-1]) / 32_000 > 1.5  # it was not cut off
    assert talk.call.ended is not None

    texts = [" ".join(text.split()) for text in talk.texts]
    assert texts[0] == TEXTS[0]
    heard_words, whole = texts[1].split(), TEXTS[1].split()
    assert whole[: len(heard_words)] == heard_words
    # By the share of the time: it was interrupted 2.5 s into 7.1 s, and spoke 0.2 s on.
    share = (INTERRUPTED_AFTER_S + 0.2) / (len(recording(ANSWERS[1], 16_000)) / 32_000)
    assert abs(len(heard_words) - share * len(whole)) <= 2
    assert texts[2:] == TEXTS[2:]
