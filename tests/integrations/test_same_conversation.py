"""One conversation with the same program in each framework: question, answer, interruption, second answer, goodbye.

Ears and mouths are stand-ins, so that what differs is the framework alone: each program answers the n-th thing that the
caller says with the n-th recording.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from example_programs import WORDS, served

from vonage_audio_connector_server import AudioConnector, Client
from vonage_audio_connector_server.speech import SpeechEnded
from vonage_audio_connector_server.testing import assert_same_speech, recording, session

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(120)]

QUESTION = recording("go-forward-ten-meters", 16_000)[2 * 6_400 : -2 * 4_800]
SECOND = recording("librivox-2", 16_000)
WAIT_NO = recording("librivox-4", 16_000)[2 * 8_320 : 2 * 17_920]  # 0.6 s of it
GOODBYE = recording("librivox-5", 16_000)

ANSWERS = ("librivox-5", "librivox-1", "librivox-2", "go-forward-ten-meters")
VOICE_HZ = 24_000
INTERRUPTED_AFTER_S = 2.5


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def text_of(number: int) -> str:
    return WORDS.get(ANSWERS[number], "go forward ten meters")


@dataclass
class Program:
    """What a framework's program is seen to believe.

    Attributes:
        address: where it listens.
        texts: what it takes for heard of each of its answers.
    """

    address: str = ""
    texts: list[str] = field(default_factory=list)


Make = Callable[[Program], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def plain(program: Program) -> AsyncIterator[None]:
    async def on_connect(client: Client) -> None:
        client.interrupt_on_speech()
        number = 0

        async def answer(number: int) -> None:
            async with client.utterance(sample_rate_hz=VOICE_HZ) as utterance:
                utterance.send(recording(ANSWERS[number], VOICE_HZ), text=text_of(number))
            program.texts.append((await utterance.wait()).heard_text)
            if number == 3:
                client.disconnect()

        async for turn in client.turns():
            if isinstance(turn, SpeechEnded):
                client.start_soon(answer, number)
                number += 1

    async with served(AudioConnector(on_connect)) as program.address:
        yield


FRAMEWORKS: dict[str, Make] = {"plain": plain}


async def converse(program: Program) -> None:
    async with session(program.address) as call:
        await call.say(QUESTION)
        assert_same_speech(await call.hears(within_s=3), recording(ANSWERS[0], 16_000))

        await call.say(SECOND)
        began_s = await call.speaks(within_s=3)
        await anyio.sleep(began_s + INTERRUPTED_AFTER_S - call.now_s)
        interruption = call.interrupt(WAIT_NO)
        await interruption
        third = await call.hears(within_s=3)
        call.assert_silent_within(ms=300, of=interruption)
        assert_same_speech(call.heard_between(began_s, began_s + INTERRUPTED_AFTER_S), recording(ANSWERS[1], 16_000))
        assert_same_speech(third, recording(ANSWERS[2], 16_000))

        await call.say(GOODBYE)
        fourth = await call.hears(within_s=3)
        assert_same_speech(fourth, recording(ANSWERS[3], 16_000))
        assert len(fourth.pcm) / 32_000 > 1.5  # it was not cut off
        assert await call.wait_ended(within_s=3) is not None
        call.assert_no_gap(over_ms=20)


async def test_the_same_conversation_in_each_framework() -> None:
    """All at once, on one event loop."""

    async def one(name: str) -> None:
        program = Program()
        async with FRAMEWORKS[name](program):
            await converse(program)
        assert program.texts[0] == text_of(0), name
        heard, whole = program.texts[1].split(), text_of(1).split()
        assert whole[: len(heard)] == heard, name
        # By the share of the time: it was interrupted 2.5 s into 7.1 s, and spoke 0.2 s on.
        share = (INTERRUPTED_AFTER_S + 0.2) / (len(recording(ANSWERS[1], 16_000)) / 32_000)
        assert abs(len(heard) - share * len(whole)) <= 2, name
        assert program.texts[2:4] == [text_of(2), text_of(3)], name

    async with anyio.create_task_group() as tasks:
        for name in FRAMEWORKS:
            tasks.start_soon(one, name)
