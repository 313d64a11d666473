"""A call answered by an agent of the Agents SDK, on a virtual clock: the SDK's own model speaks with the stand-in."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from agents import GuardrailFunctionOutput, OutputGuardrail, function_tool
from agents.realtime import OpenAIRealtimeWebSocketModel, RealtimeAgent, RealtimeRunner, RealtimeSession
from realtime_calls import answer, stretches, words
from realtime_pipe import Pipe
from realtime_stand_in import RATE_HZ, TEXT, Answer, StandIn

from vonage_audio_connector_server import AudioConnectorConfigError, Client
from vonage_audio_connector_server.integrations.openai_agents import RealtimeClosedError, Transcript, agent_session
from vonage_audio_connector_server.testing import on_virtual_clock, session, tone

virtual = on_virtual_clock(backends=("asyncio",))


class PipedModel(OpenAIRealtimeWebSocketModel):
    """The SDK's model, over a pipe."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    async def _create_websocket_connection(self, *args: Any, **settings: Any) -> Any:
        return self._pipe


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


class Program:
    """A program whose agent is the stand-in."""

    def __init__(self, stand_in: StandIn, **model_settings: Any) -> None:
        self.stand_in = stand_in
        self.transcripts: list[Transcript] = []
        self.kinds: list[str] = []
        self.agent: RealtimeAgent[Any] = RealtimeAgent(name="Assistant", instructions="Be short.", tools=[weather])
        self.run_config: Any = None
        self.model_settings = {"tracing": None, "turn_detection": {"type": "server_vad"}} | model_settings

    @asynccontextmanager
    async def joined(self, client: Client) -> AsyncIterator[RealtimeSession]:
        async with self.stand_in.piped() as pipe:
            runner = RealtimeRunner(self.agent, model=PipedModel(pipe), config=self.run_config)
            config: Any = {"api_key": "none", "initial_model_settings": self.model_settings}
            said = self.transcripts.append
            async with agent_session(client, runner, model_config=config, on_transcript=said) as session:
                yield session

    async def talk(self, client: Client) -> None:
        async with self.joined(client) as self.session:
            await self.session.send_message("Greet the caller.")
            async for event in self.session:
                self.kinds.append(event.type)

    async def on_connect(self, client: Client) -> None:
        self.client = client
        await self.talk(client)


@virtual
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
async def test_the_agent_greets_hears_and_answers(rate_hz: int) -> None:
    program = Program(StandIn(answer(1.0, 440), answer(2.0, 660)))
    async with session(program.on_connect, rate_hz=rate_hz) as call:
        await call.hears(within_s=1)
        await call.say(words(rate_hz))
        heard = await call.hears(within_s=2)
        call.assert_no_gap(over_ms=20)
    assert [round(one.pitch_hz) for one in stretches(call)] == [440, 660]
    assert [one.duration_s for one in stretches(call)] == pytest.approx([1.0, 2.0], abs=0.005)
    assert heard.after_s < 0.8
    one = program.stand_in.session
    assert one.refused == []
    assert one.is_over
    assert [(said.text, said.interrupted) for said in program.transcripts] == [(TEXT, False)] * 2
    assert {"audio", "audio_end", "history_added", "agent_end"} <= set(program.kinds)
    assert len(one.heard) / 2 / RATE_HZ == pytest.approx(call.now_s, abs=0.3)


@virtual
@pytest.mark.parametrize(
    ("rate_hz", "count"), [pytest.param(16_000, 100, marks=pytest.mark.slow), (8_000, 5), (16_000, 5)]
)
async def test_an_interruption_cuts_the_conversation_where_it_was_heard(rate_hz: int, count: int) -> None:
    dice = random.Random(11)
    pitches = [300 + 50 * (number % 10) for number in range(count + 1)]
    answers = [answer(6.0, pitch, late=3, speed=dice.choice([1.0, 3.0, 20.0])) for pitch in pitches]
    program = Program(StandIn(*answers))
    async with session(program.on_connect, rate_hz=rate_hz) as call:
        began_s = await call.speaks(within_s=1)
        for _ in range(count):
            await call.wait(began_s + dice.uniform(0.1, 2.5) - call.now_s)
            interruption = call.interrupt()
            await interruption
            call.assert_silent_within(ms=300, of=interruption)
            began_s = await call.speaks(within_s=2)
        await call.hears()
    heard = stretches(call)
    assert [round(one.pitch_hz, -1) for one in heard] == pitches
    cuts = program.stand_in.session.truncations
    assert len(cuts) == count
    for cut, stretch in zip(cuts, heard, strict=False):
        assert cut.end_ms == pytest.approx(stretch.duration_s * 1000, abs=20)
    assert program.stand_in.session.refused == []
    assert [said.interrupted for said in program.transcripts] == [True] * count + [False]


@virtual
async def test_of_several_items_each_is_cut_where_it_was_heard() -> None:
    program = Program(StandIn(answer(1.0, 440, items=3, speed=20.0), answer(0.5)))
    async with session(program.on_connect) as call:
        began_s = await call.speaks(within_s=1)
        await call.wait(began_s + 1.5 - call.now_s)
        await call.interrupt()
        await call.hears()
    one = program.stand_in.session
    spoken = [item for item in one.items.values() if item.role == "assistant"][:3]
    assert spoken[0].cut_ms is None
    assert spoken[1].cut_ms == pytest.approx((stretches(call)[0].duration_s - 1.0) * 1000, abs=20)
    assert spoken[2].cut_ms == 0
    assert one.refused == []


@virtual
@pytest.mark.parametrize("by", ["client.flush_buffer", "session.interrupt"])
async def test_what_the_program_interrupts_is_cut_too(by: str) -> None:
    program = Program(StandIn(answer(6.0, speed=1.0)))
    async with session(program.on_connect) as call:
        await call.speaks(within_s=1)
        await call.wait(2.0)
        if by == "client.flush_buffer":
            program.client.flush_buffer()
        else:
            await program.session.interrupt()
        await call.wait(2.0)
    one = program.stand_in.session
    (heard,) = stretches(call)
    assert [cut.end_ms for cut in one.truncations] == [pytest.approx(heard.duration_s * 1000, abs=20)]
    assert [said.interrupted for said in program.transcripts] == [True]


@virtual
async def test_a_guardrail_that_trips_silences_the_call() -> None:
    async def judge(context: Any, agent: Any, output: str) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered="disposed" in output)

    program = Program(StandIn(answer(6.0, 440, speed=1.5, late=2), answer(0.5, 660, text="I am sorry.")))
    program.run_config = {
        "output_guardrails": [OutputGuardrail(guardrail_function=judge, name="words")],
        "guardrails_settings": {"debounce_text_length": 5},
    }
    async with session(program.on_connect) as call:
        await call.wait(8.0)
    heard = stretches(call)
    assert [round(one.pitch_hz) for one in heard] == [440, 660]  # the second one is the SDK's excuse
    assert 1.0 < heard[0].duration_s < 5.0
    assert [cut.end_ms for cut in program.stand_in.session.truncations] == [
        pytest.approx(heard[0].duration_s * 1000, abs=20)
    ]
    assert "guardrail_tripped" in program.kinds


@virtual
async def test_its_tools_are_called() -> None:
    program = Program(StandIn(Answer(pcm=b"", calls=[("weather", '{"city": "Oslo"}')]), answer(1.0)))
    async with session(program.on_connect) as call:
        await call.hears(within_s=2)
    outputs = [event["item"] for event in program.stand_in.session.received if "item" in event]
    assert [item.get("output") for item in outputs] == [None, "sun in Oslo"]


@virtual
@pytest.mark.parametrize("closes", [None, 1000, 1011])
@pytest.mark.parametrize("iterates", [True, False])
async def test_a_session_that_dies_in_an_answer_is_an_error_and_another_may_follow(
    closes: int | None, iterates: bool, caplog: pytest.LogCaptureFixture
) -> None:
    program = Program(StandIn(answer(6.0, 440, dies_after_s=2.0, closes=closes, speed=4.0), answer(1.0, 660)))
    errors: list[RealtimeClosedError] = []

    async def on_connect(client: Client) -> None:
        while client.close_report is None:
            try:
                if iterates:
                    await program.talk(client)
                else:
                    async with program.joined(client) as joined:
                        await joined.send_message("Greet the caller.")
                        with anyio.move_on_after(4.0):
                            await client.wait_closed()
            except RealtimeClosedError as exc:
                errors.append(exc)

    async with session(on_connect) as call:
        await call.wait(8.0)
        assert call.ended is None
    error = errors[0]
    assert error.in_answer
    assert "in the middle of an answer" in str(error)
    if closes is not None:
        assert error.code == "session_expired"
    assert error.__cause__ is not None
    assert sum(stretch.duration_s for stretch in stretches(call)) == pytest.approx(3.0, abs=0.02)
    told = [record.getMessage().partition(": ")[2] for record in caplog.records if record.levelno == logging.ERROR]
    assert told[0] == str(error)


@virtual
async def test_the_session_ends_with_the_call_in_an_answer() -> None:
    program = Program(StandIn(answer(6.0)))
    async with session(program.on_connect) as call:
        await call.speaks(within_s=1)
        await call.wait(1.0)
        call.hang_up()
        await call.wait_ended()
    assert program.stand_in.session.is_over
    (said,) = program.transcripts
    assert said.interrupted
    assert 0 < len(said.text) < len(TEXT)


@virtual
async def test_a_program_may_leave_it_and_go_on_with_the_call() -> None:
    program = Program(StandIn(answer(1.0)))

    async def on_connect(client: Client) -> None:
        async with program.joined(client) as joined:
            await joined.send_message("Greet the caller.")
            await anyio.sleep(2)
        await client.send_audio_buffer(tone(1.0, 16_000, pitch_hz=880)).wait()

    async with session(on_connect) as call:
        await call.wait(4)
    assert [round(one.pitch_hz) for one in stretches(call)] == [440, 880]
    assert program.stand_in.session.is_over


@virtual
@pytest.mark.parametrize("side", ["input", "output"])
async def test_another_audio_format_is_refused(side: str) -> None:
    stand_in = StandIn()
    stand_in.takes_every_format = True
    program = Program(stand_in, **{f"{side}_audio_format": "g711_ulaw"})
    failed: list[Exception] = []

    async def on_connect(client: Client) -> None:
        with pytest.raises(AudioConnectorConfigError, match=f"{side}_audio_format must be pcm16") as told:
            await program.talk(client)
        failed.append(told.value)

    async with session(on_connect) as call:
        await call.wait(2)
    assert len(failed) == 1


@virtual
async def test_its_tracker_is_its_own() -> None:
    async def on_connect(client: Client) -> None:
        config: Any = {"playback_tracker": object()}
        with pytest.raises(AudioConnectorConfigError, match="playback_tracker"):
            async with agent_session(client, RealtimeRunner(RealtimeAgent(name="A")), model_config=config):
                pass

    async with session(on_connect) as call:
        await call.wait(0.1)
