"""Functions that a model calls, on a virtual clock."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from realtime_calls import answer, stretches, words
from realtime_program import Program, virtual
from realtime_stand_in import Answer, StandIn

from vonage_audio_connector_server.integrations.openai_realtime import (
    RealtimeToolError,
)
from vonage_audio_connector_server.testing import TestCall, session

TOOLS = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("weather", "book", "fail")]


async def call_functions(*calls: tuple[str, str]) -> tuple[Program, list[Any], TestCall]:
    """A call in which the model calls functions once, and answers then."""
    begun: list[Any] = []

    def weather(city: str) -> dict[str, object]:
        begun.append(city)
        return {"degrees": 21}

    async def book(seats: int = 1) -> str:
        begun.append(seats)
        await anyio.sleep(0.5)
        return "booked"

    def fail() -> None:
        raise LookupError("secret detail")

    program = Program(
        StandIn(Answer(pcm=b"", calls=calls), answer(1.0)),
        session={"tools": TOOLS},
        tools={"weather": weather, "book": book, "fail": fail},
    )
    async with session(program.on_connect) as call:
        await call.hears(within_s=2)
        await call.wait(1)
    return program, begun, call


def outputs(program: Program) -> list[str]:
    events = program.stand_in.session.received
    return [event["item"]["output"] for event in events if event["type"] == "conversation.item.create"]


@virtual
async def test_functions_are_called_and_their_results_answered_once() -> None:
    program, begun, _ = await call_functions(("weather", '{"city": "Oslo"}'), ("book", ""))
    assert begun == ["Oslo", 1]
    assert outputs(program) == ['{"degrees": 21}', "booked"]
    assert program.stand_in.session.kinds().count("response.create") == 2  # the greeting, and the answer to both
    assert program.stand_in.session.refused == []
    assert len(program.spoken) == 1


@virtual
@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("fail", "{}", "the function 'fail' failed: LookupError"),
        ("weather", '{"place": "Oslo"}', "the model called 'weather' with arguments that don't fit"),
        ("weather", "[1]", "the model called 'weather' with arguments that don't fit"),
        ("weather", "{", "the model called 'weather' with arguments that don't fit"),
        ("other", "{}", "the model called 'other': there is no such function"),
    ],
)
async def test_a_function_that_fails_is_told_to_both_and_the_model_goes_on(
    name: str, arguments: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    program, _, _ = await call_functions((name, arguments))
    assert [str(error) for error in program.errors] == [told]
    assert isinstance(program.errors[0], RealtimeToolError)
    assert program.errors[0].name == name
    assert outputs(program) == ['{"error": "the function failed"}']
    assert "secret" not in caplog.text
    assert len(program.spoken) == 1


@virtual
async def test_a_result_that_comes_while_the_caller_speaks_waits_for_the_models_own_answer() -> None:
    async def book() -> str:
        await anyio.sleep(1.5)
        return "booked"

    stand_in = StandIn(Answer(pcm=b"", calls=[("book", "{}")]), answer(1.0, 660))
    program = Program(stand_in, session={"tools": TOOLS[1:2]}, tools={"book": book})
    async with session(program.on_connect) as call:
        await call.wait(1.0)
        await call.say(words(16_000))  # 1.6 s: the result comes in its middle
        await call.hears()
        await call.wait(2.0)
    assert outputs(program) == ["booked"]
    assert len(stretches(call)) == 1
    assert stand_in.session.kinds().count("response.create") == 1
    assert stand_in.session.refused == []
