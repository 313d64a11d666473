"""The example of a pipecat bot, on real speech, with its real ears and its real voice."""

from __future__ import annotations

from typing import Any

import pytest
from example_programs import load_example, words_of

from vonage_audio_connector_server.audio import resample
from vonage_audio_connector_server.testing import recording, session

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # pipecat's own
]

QUESTION = recording("go-forward-ten-meters", 16_000)[2 * 6_400 :]  # without the silence before it


@pytest.fixture
def bot() -> Any:
    return load_example("pipecat_bot")


async def test_it_answers_lets_itself_be_interrupted_and_says_goodbye(
    bot: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with session(bot.app, "/vonage") as call:
        await call.hears(within_s=20)
        await call.say(QUESTION)
        answer = await call.hears(within_s=8)
        understood = words_of(await bot.shared_recogniser().text_of(answer.pcm))
        assert {"go", "forward", "ten", "meters"} <= set(understood)

        await call.say(recording("librivox-2", 16_000))
        await call.speaks(within_s=8)
        await call.wait(2.5)
        interruption = call.interrupt(QUESTION)
        await interruption
        call.assert_silent_within(ms=500, of=interruption)  # its detector of voice takes 0.2 s, and begins late
        await call.hears(within_s=8)

        leaving = call.say(resample(await bot.voice().say("Goodbye now. Goodbye."), bot.VOICE_HZ, 16_000))
        await leaving
        lost = await call.wait_ended(15)
        assert leaving.end_s is not None
        goodbye = call.heard_between(leaving.end_s, call.now_s)
    assert lost is not None
    assert lost.code == 1000
    assert {"have", "nice", "day"} <= set(words_of(await bot.shared_recogniser().text_of(goodbye)))
    lines = capsys.readouterr().out.splitlines()
    assert "bot: Hello. What can I do for you? " in lines
    cut = next(line for line in lines if line.endswith(" -"))
    assert cut.startswith("bot: You said: He was not")
