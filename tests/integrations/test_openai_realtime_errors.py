"""What goes wrong with a Realtime session, and what becomes of the call: on a virtual clock."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from realtime_calls import answer, stretches, words
from realtime_program import Program, done, virtual
from realtime_stand_in import RATE_HZ, Answer, StandIn

from vonage_audio_connector_server import AudioConnector, Client
from vonage_audio_connector_server.integrations.openai_realtime import (
    RealtimeCall,
    RealtimeClosedError,
)
from vonage_audio_connector_server.testing import session, tone


@virtual
@pytest.mark.parametrize("closes", [None, 1000, 1001, 1011])
async def test_a_session_that_dies_in_an_answer_is_an_error_and_the_call_goes_on(
    closes: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    program = Program(StandIn(answer(6.0, 440, dies_after_s=2.0, closes=closes, speed=4.0)))

    async def after(client: Client) -> None:
        await client.drain()  # what has come of the answer is said to its end
        await client.send_audio_buffer(bytes(3_200) + tone(1.0, 16_000, pitch_hz=880)).wait()

    program.after = after
    async with session(program.on_connect) as call:
        await call.wait(6.0)
        assert call.ended is None
    error = program.closed
    assert error.in_answer
    assert error.close_code == (closes or 1006)
    assert error.code == (None if closes is None else "session_expired")
    assert "in the middle of an answer" in str(error)
    assert program.errors[-1] is error
    assert error.__cause__ is not None
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage().partition(": ")[2] for record in told] == [str(error)]
    assert "\n" not in str(error)
    assert [round(one.pitch_hz) for one in stretches(call)] == [440, 880]
    assert [one.duration_s for one in stretches(call)] == pytest.approx([2.0, 1.0], abs=0.01)
    with pytest.raises(RealtimeClosedError, match="joined to no Realtime session"):
        program.call.respond()


@virtual
async def test_it_reconnects_with_the_same_settings() -> None:
    stand_in = StandIn(answer(6.0, 440, dies_after_s=2.0), answer(1.0, 660))
    program = Program(stand_in, session={"instructions": "Be short."}, reconnect=True)
    async with session(program.on_connect) as call:
        await call.hears(within_s=1)
        await call.say(words(16_000))
        await call.hears(within_s=2)
    first, second = stand_in.sessions
    assert first.received[0]["session"] == second.received[0]["session"]
    assert second.kinds() == ["session.update"]  # nothing of the first
    assert [round(one.pitch_hz) for one in stretches(call)] == [440, 660]
    (error,) = program.errors
    assert isinstance(error, RealtimeClosedError)
    assert error.in_answer
    assert second.is_over


@virtual
async def test_what_the_caller_says_meanwhile_waits_for_the_next_session() -> None:
    """Five seconds of it; the rest is dropped."""
    stand_in = StandIn(answer(1.0, 440, dies_after_s=0.1), answer(1.0, 660))
    opened = 0

    def connect() -> Any:
        nonlocal opened
        opened += 1
        if opened in (2, 3, 4):
            raise ConnectionRefusedError(111, "nobody is there")
        return stand_in.connect()

    program = Program(stand_in, reconnect=True)

    async def on_connect(client: Client) -> None:
        program.call = RealtimeCall(client, connect, **program.settings)
        program.call.respond()
        await program.call.run()

    async with session(on_connect) as call:
        await call.speaks(within_s=1)
        await call.wait(3.0)  # the next session opens 0.5 + 1 + 2 + 4 s behind the first
        await call.say(words(16_000))
        await call.wait(5.0)
        assert len(stretches(call)) == 2  # said while nobody was there, and answered
    second = stand_in.sessions[1]
    assert 4.5 < len(second.heard) / 2 / RATE_HZ - (call.now_s - 7.5 - stretches(call)[0].start_s) < 5.5
    assert [str(error).partition(": ")[2] for error in program.errors][1:] == [
        "the network failed: [Errno 111] nobody is there"
    ] * 3


@virtual
async def test_it_gives_up_after_five_attempts_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    at_s: list[float] = []
    program = Program(StandIn(), reconnect=True)

    def connect() -> Any:
        at_s.append(anyio.current_time())
        raise ConnectionRefusedError(111, "nobody is there")

    async def on_connect(client: Client) -> None:
        call = RealtimeCall(client, connect, **program.settings)
        call.respond()
        with pytest.raises(RealtimeClosedError, match="nobody is there"):
            await call.run()

    async with session(on_connect) as call:
        await call.wait(30)
        assert call.ended is None
    assert [later - at_s[0] for later in at_s] == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5], abs=0.01)
    assert len(program.errors) == 6


@virtual
@pytest.mark.parametrize(("lasts_s", "is_joined"), [(12.0, True), (5.0, False)])
async def test_a_session_that_was_a_good_one_lets_it_try_anew(lasts_s: float, is_joined: bool) -> None:
    program = Program(StandIn(lasts_s=lasts_s), reconnect=True)
    program.after = done
    program.greets = False
    async with session(program.on_connect) as call:
        await call.wait(8 * 12.6)
        assert program.call.is_ready is is_joined
    assert len(program.stand_in.sessions) == (9 if is_joined else 6)


@virtual
async def test_a_greeting_waits_for_a_session_that_opens_late() -> None:
    stand_in = StandIn(answer(1.0))
    opened = 0

    def connect() -> Any:
        nonlocal opened
        opened += 1
        if opened == 1:
            raise TimeoutError
        return stand_in.connect()

    async def on_connect(client: Client) -> None:
        call = RealtimeCall(client, connect, reconnect=True)
        call.respond("Greet.")
        await call.run()

    async with session(on_connect) as call:
        await call.hears(within_s=2)
    assert stand_in.session.received[1]["response"] == {"instructions": "Greet."}


@virtual
async def test_settings_that_are_refused_end_it_at_once() -> None:
    refuses = {"type": "invalid_request_error", "code": "invalid_value", "message": "Invalid value:\n 'x'"}
    program = Program(StandIn(refuses=refuses), reconnect=True)
    program.after = done
    async with session(program.on_connect) as call:
        await call.wait(2)
    assert len(program.stand_in.sessions) == 1
    assert program.closed.is_final
    assert program.closed.code == "invalid_value"
    assert str(program.closed).endswith("invalid_value: Invalid value: 'x'")


@virtual
async def test_a_session_that_says_nothing_is_given_up() -> None:
    program = Program(StandIn(silent=True))
    program.after = done
    async with session(program.on_connect) as call:
        await call.wait(11)
    assert "did not answer in time" in str(program.closed)
    assert program.stand_in.session.is_over


@virtual
async def test_an_error_of_an_answer_is_told_and_the_next_one_comes() -> None:
    limit = {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "Rate limit reached."}
    program = Program(StandIn(Answer(failed=limit), answer(1.0)))
    async with session(program.on_connect) as call:
        await call.wait(1)
        await call.say(words(16_000))
        await call.hears(within_s=2)
    (error,) = program.errors
    assert (error.code, str(error)) == (
        "rate_limit_exceeded",
        "the model's answer is failed: rate_limit_exceeded: Rate limit reached.",
    )


@virtual
async def test_garbage_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    program = Program(StandIn(answer(2.0, garbage=True)))
    async with session(program.on_connect) as call:
        await call.hears(within_s=1)
        call.assert_no_gap()
    assert stretches(call)[0].duration_s == pytest.approx(2.0, abs=0.01)
    assert program.errors == []
    messages = {record.getMessage().partition(": ")[2] for record in caplog.records if record.levelname == "WARNING"}
    assert "the Realtime API sent 9 bytes that are no event" in messages
    assert any(message.startswith("can't use an event of the Realtime API: ") for message in messages)


@virtual
async def test_an_answer_that_is_too_much_is_cut_off_where_the_queue_says_so() -> None:
    program = Program(StandIn(answer(8.0, speed=100.0)))
    async with session(AudioConnector(program.on_connect, max_queued_s=1.0, when_full="raise")) as call:
        await call.hears(within_s=1)
    (error,) = program.errors
    assert "too much of it waits" in str(error)
    assert stretches(call)[0].duration_s < 3
    assert "response.cancel" in program.stand_in.session.kinds()
