"""The agent of the page, on real speech, with its real ears and its real voice, over real sockets."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from example_programs import load_example, served, until, words_of
from livekit.agents import AgentSession, ChatMessage

from vonage_audio_connector_server import AudioConnector
from vonage_audio_connector_server.audio import resample
from vonage_audio_connector_server.testing import recording, session

example, parts = load_example("livekit_agent"), load_example("livekit_parts")


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.alone  # its ears are quicker than real time, but not by much
@pytest.mark.timeout(120)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_answers_lets_itself_be_interrupted_and_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[AgentSession[Any]] = []

    def make(**options: Any) -> AgentSession[Any]:
        sessions.append(AgentSession(**options))
        return sessions[0]

    monkeypatch.setattr(example, "AgentSession", make)
    bye = resample(await parts.shared_voice().say("Goodbye."), 24_000, 16_000)
    recogniser = parts.shared_recogniser()
    async with served(AudioConnector(example.on_connect)) as address, session(address) as call:
        await call.hears(within_s=10, quiet_s=0.5)
        await call.say(recording("go-forward-ten-meters", 16_000))
        answer = await call.hears(within_s=6, quiet_s=0.8)
        await call.say(recording("librivox-2", 16_000))
        began_s = await call.speaks(within_s=6)
        await anyio.sleep(began_s + 2.6 - call.now_s)
        interruption = call.interrupt()
        await interruption
        await anyio.sleep(0.5)
        call.assert_silent_within(ms=300, of=interruption)
        interrupted = call.heard_between(began_s, call.now_s)
        await call.speaks(within_s=6)  # what interrupted is a turn, too
        call.interrupt(bye)
        ended = await call.wait_ended(within_s=25)
        assert ended is not None
        assert ended.code == 1000
        call.assert_no_gap(over_ms=20)
        loud_until = call.twin.loud[-1][1] * call.twin.audio_format.frame_bytes
        assert len(call.heard) - loud_until < 2 * 16_000  # a second of silence at most, then it hangs up
        goodbye = await recogniser.text_of(call.heard[loud_until - 2 * 16_000 * 3 : loud_until])
        told = [await recogniser.text_of(pcm) for pcm in (answer.pcm, interrupted)]
    await until(lambda: sessions[0].agent_state == "initializing")  # it is closed
    lines = [item for item in sessions[0].history.items if isinstance(item, ChatMessage)]
    said = [line for line in lines if line.role == "assistant"]
    assert [line.interrupted for line in said[:3]] == [False, False, True]
    assert said[-1].text_content == "Goodbye. Have a nice day."
    assert words_of(goodbye)[-2:] == ["nice", "day"]
    assert {"go", "forward", "ten", "meters"} <= set(words_of(told[0]))
    # What was heard ends in the middle of a word, which the recogniser completes, leaves out, or guesses.
    assert abs(len(words_of(told[1])) - len(words_of(said[2].text_content or ""))) <= 1, (told[1], said[2].text_content)
