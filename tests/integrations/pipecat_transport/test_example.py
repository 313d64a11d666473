"""The example of a pipecat bot, on real speech, with its real ears and its real voice."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from example_programs import EXAMPLES, load_example, words_of

from vonage_audio_connector_server.audio import resample
from vonage_audio_connector_server.testing import assert_same_speech, recording, session

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.alone,  # its ears are quicker than real time, but not by much
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # pipecat's own
]

QUESTION = recording("go-forward-ten-meters", 16_000)[2 * 6_400 :]  # without the silence before it


@pytest.fixture
def bot() -> Any:
    return load_example("pipecat_bot")


async def test_the_program_of_the_page_says_what_it_hears() -> None:
    spec = importlib.util.spec_from_file_location("pipecat_echo", EXAMPLES / "howto" / "pipecat_echo.py")
    assert spec is not None
    assert spec.loader is not None
    echo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(echo)
    async with session(echo.app, "/vonage") as call:
        await call.say(QUESTION)
        heard = await call.hears(within_s=1)
    assert_same_speech(heard, QUESTION)
    call.assert_no_gap(over_ms=40)  # an echo has no lead


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
        leaving = call.interrupt(resample(await bot.voice().say("Thank you and goodbye."), bot.VOICE_HZ, 16_000))
        await leaving
        call.assert_silent_within(ms=500, of=leaving)  # its detector of voice takes 0.2 s, and begins late
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
