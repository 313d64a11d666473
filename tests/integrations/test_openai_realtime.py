"""A call joined to a Realtime session, on a virtual clock, against the stand-in."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from realtime_calls import answer, stretches, words
from realtime_stand_in import RATE_HZ, TEXT, Answer, StandIn

from vonage_audio_connector_server import AudioConnector, AudioConnectorConfigError, Client
from vonage_audio_connector_server.integrations.openai_realtime import (
    RealtimeCall,
    RealtimeClosedError,
    RealtimeError,
    RealtimeToolError,
    Transcript,
)
from vonage_audio_connector_server.testing import TestCall, on_virtual_clock, session, tone

virtual = on_virtual_clock(backends=("asyncio",))


class Program:
    """A program that joins its call to the stand-in, and keeps what it is told."""

    def __init__(self, stand_in: StandIn, **settings: Any) -> None:
        self.settings = {"on_transcript": self.transcripts.append, "on_error": self.errors.append} | settings
        self.stand_in = stand_in
        self.greets = True
        self.after: Callable[[Client], Awaitable[None]] | None = None

    @property
    def transcripts(self) -> list[Transcript]:
        return self.__dict__.setdefault("_transcripts", [])  # type: ignore[no-any-return]

    @property
    def errors(self) -> list[RealtimeError]:
        return self.__dict__.setdefault("_errors", [])  # type: ignore[no-any-return]

    @property
    def spoken(self) -> list[Transcript]:
        return [one for one in self.transcripts if one.role == "assistant"]

    async def on_connect(self, client: Client) -> None:
        self.client = client
        self.call = RealtimeCall(client, self.stand_in.connect, **self.settings)
        if self.greets:
            self.call.respond("Greet the caller.")
        try:
            await self.call.run()
        except RealtimeClosedError as exc:
            self.closed = exc
            if self.after is None:
                raise
            await self.after(client)


async def done(client: Client) -> None:
    """Nothing more is done."""


def detection(**settings: Any) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": {"type": "server_vad"} | settings}}}


@virtual
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
async def test_the_model_greets_hears_and_answers(rate_hz: int) -> None:
    transcribed = {"audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}}
    program = Program(StandIn(answer(1.0, 440), answer(2.0, 660)), session=transcribed)
    async with session(program.on_connect, rate_hz=rate_hz) as call:
        greeting = await call.hears(within_s=1)
        await call.say(words(rate_hz))
        heard = await call.hears(within_s=2)
        call.assert_no_gap(over_ms=20)
    assert [round(one.pitch_hz) for one in stretches(call)] == [440, 660]
    assert [one.duration_s for one in stretches(call)] == pytest.approx([1.0, 2.0], abs=0.005)
    assert greeting.start_s < 0.5
    assert heard.after_s < 0.5 + 0.3  # the API's silence, and the way there and back
    one = program.stand_in.session
    assert one.received[0]["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert one.received[1]["response"] == {"instructions": "Greet the caller."}
    assert one.kinds() == ["session.update", "response.create"]
    assert one.refused == []
    assert [(said.role, said.text, said.interrupted) for said in program.transcripts] == [
        ("assistant", TEXT, False),
        ("caller", "go forward ten meters", False),
        ("assistant", TEXT, False),
    ]
    assert one.is_over
    # All that the caller's side sent was heard there, at 24 kHz.
    assert len(one.heard) / 2 / RATE_HZ == pytest.approx(call.now_s, abs=0.3)


@virtual
@pytest.mark.parametrize(
    ("rate_hz", "count"), [pytest.param(16_000, 100, marks=pytest.mark.slow), (8_000, 5), (16_000, 5), (24_000, 5)]
)
async def test_an_interruption_cuts_the_conversation_where_it_was_heard(rate_hz: int, count: int) -> None:
    """And nothing old is heard after it, though the stand-in goes on sending what it was interrupted in."""
    dice = random.Random(7)
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
        assert cut.end_ms <= cut.sent_ms
    assert {error["code"] for error in program.stand_in.session.refused} <= {"response_cancel_not_active"}
    assert program.errors == []
    assert [said.interrupted for said in program.spoken] == [True] * count + [False]


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
    assert [item.cut_ms for item in spoken] == [None, pytest.approx(700, abs=150), 0]
    assert spoken[1].cut_ms == pytest.approx((stretches(call)[0].duration_s - 1.0) * 1000, abs=20)
    assert [said.interrupted for said in program.spoken] == [False, True, True, False]
    assert [bool(said.text) for said in program.spoken] == [True, True, False, True]
    assert "response.cancel" not in one.kinds()  # all of it had come


@virtual
async def test_a_running_answer_is_cancelled_and_a_second_cancel_is_no_error() -> None:
    program = Program(StandIn(answer(10.0, speed=1.2), answer(0.5)))
    async with session(program.on_connect) as call:
        await call.speaks(within_s=1)
        await call.wait(1.0)
        await call.interrupt()
        await call.hears()
    one = program.stand_in.session
    assert one.kinds().count("response.cancel") == 1
    assert [error["code"] for error in one.refused] == ["response_cancel_not_active"]  # it had cancelled by itself
    assert program.errors == []
    assert len(one.truncations) == 1


@virtual
async def test_where_speech_does_not_interrupt_only_the_program_does() -> None:
    program = Program(
        StandIn(answer(4.0, speed=1.0)), session=detection(interrupt_response=False, create_response=False)
    )
    async with session(program.on_connect) as call:
        began_s = await call.speaks(within_s=1)
        await call.say(words(16_000))
        await call.wait(began_s + 3.0 - call.now_s)
        assert program.stand_in.session.truncations == []
        program.call.interrupt()
        await call.wait(1.0)
    one = program.stand_in.session
    assert [cut.end_ms for cut in one.truncations] == [pytest.approx(stretches(call)[0].duration_s * 1000, abs=20)]
    assert one.kinds()[-2:] == ["response.cancel", "conversation.item.truncate"]
    assert one.refused == []


@virtual
async def test_what_the_program_flushes_is_cut_too() -> None:
    program = Program(StandIn(answer(6.0, speed=1.0)))
    async with session(program.on_connect) as call:
        await call.speaks(within_s=1)
        await call.wait(2.0)
        program.client.flush_buffer()
        await call.wait(2.0)
    one = program.stand_in.session
    (heard,) = stretches(call)
    assert [cut.end_ms for cut in one.truncations] == [pytest.approx(heard.duration_s * 1000, abs=20)]
    assert "response.cancel" in one.kinds()
    assert [said.interrupted for said in program.spoken] == [True]


@virtual
async def test_an_answer_that_comes_slower_than_it_is_said_is_cut_where_it_was_heard() -> None:
    program = Program(StandIn(answer(6.0, speed=0.4), answer(0.5, 660)))
    async with session(program.on_connect) as call:
        await call.speaks(within_s=1)
        await call.wait(2.0)
        await call.interrupt()
        await call.hears()
    (cut,) = program.stand_in.session.truncations
    heard_s = sum(one.duration_s for one in stretches(call)[:-1])  # 0.2 s each, with holes in between
    assert cut.end_ms == pytest.approx(heard_s * 1000, abs=20 + 2 * len(stretches(call)))
    assert cut.end_ms <= cut.sent_ms


@virtual
async def test_an_interruption_is_silent_at_once_whatever_else_the_program_plays() -> None:
    program = Program(StandIn(answer(0.5)))
    async with session(program.on_connect) as call:
        await call.speaks(within_s=1)
        program.client.send_audio_buffer(tone(8.0, 16_000, pitch_hz=800))
        await call.wait(2.0)
        interruption = call.interrupt()
        await interruption
        await call.wait(0.5)
        call.assert_silent_within(ms=300, of=interruption)
    assert program.stand_in.session.truncations == []  # the answer had been heard


@virtual
async def test_a_transcript_has_the_words_as_they_were_written() -> None:
    text = "It is 3.5 degrees, in the U.S. only! Yes."
    program = Program(StandIn(answer(3.0, text=text), answer(3.0, text=text)))
    async with session(program.on_connect) as call:
        await call.hears(within_s=1)
        program.call.respond()
        await call.speaks(within_s=3)
        await call.wait(1.5)
        program.call.interrupt()
        await call.wait(0.2)
    first, second = program.spoken
    assert (first.text, first.full_text, first.interrupted) == (text, text, False)
    assert second.interrupted
    assert text.startswith(second.text)
    assert 0.3 < len(second.text) / len(text) < 0.7
    assert second.full_text == text


# Functions

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


# Errors


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


# The caller's side


@virtual
@pytest.mark.parametrize("silence", ["frames", "none"])
@pytest.mark.parametrize("is_muted", [True, False])
async def test_a_turn_ends_where_no_sound_comes_any_more(silence: str, is_muted: bool) -> None:
    program = Program(StandIn(answer(1.0)))
    program.greets = False
    async with session(program.on_connect, silence=silence) as call:
        await call.wait(0.5)
        saying = call.say(words(16_000))
        if is_muted:
            await call.wait(1.0)
            call.mute()
        else:
            await saying
        muted_s = call.now_s
        await call.hears(within_s=3)
    (heard,) = stretches(call)
    assert 0.3 < heard.start_s - muted_s < 0.8


@virtual
async def test_the_session_ends_with_the_call() -> None:
    program = Program(StandIn(answer(6.0)))
    async with session(program.on_connect) as call:
        await call.speaks(within_s=1)
        await call.wait(1.0)
        call.hang_up()
        await call.wait_ended()
    assert program.stand_in.session.is_over
    (said,) = program.spoken
    assert said.interrupted
    assert 0 < len(said.text) < len(TEXT)
    assert program.errors == []
    program.call.interrupt()  # which makes no difference any more


@virtual
async def test_a_program_may_leave_it_and_go_on_with_the_call() -> None:
    stand_in = StandIn(answer(6.0, speed=1.5))

    async def on_connect(client: Client) -> None:
        joined = RealtimeCall(client, stand_in.connect)
        joined.respond()
        with anyio.move_on_after(1.0):
            await joined.run()
        assert not joined.is_ready
        await client.send_audio_buffer(bytes(3_200) + tone(1.0, 16_000, pitch_hz=880)).wait()

    async with session(on_connect) as call:
        await call.wait(6)
    assert stand_in.session.is_over
    assert [round(one.pitch_hz) for one in stretches(call)] == [440, 880]
    assert [one.duration_s for one in stretches(call)] == pytest.approx([1.6, 1.0], abs=0.21)


@virtual
async def test_texts_are_answered_one_after_the_other() -> None:
    rest = bytes(2 * RATE_HZ // 10)
    program = Program(StandIn(*(Answer(pcm=tone(1.0, RATE_HZ, pitch_hz=pitch) + rest) for pitch in (440, 660, 880))))
    async with session(program.on_connect) as call:
        await call.speaks(within_s=1)
        program.call.send_text("The caller pressed 1.")
        program.call.send_text("The caller pressed 2.")
        await call.wait(4)
    one = program.stand_in.session
    assert [round(stretch.pitch_hz) for stretch in stretches(call)] == [440, 660, 880]
    assert one.refused == []
    assert one.kinds().count("response.create") == 3


@virtual
async def test_an_answer_that_is_wanted_comes_behind_the_one_that_the_session_begins_by_itself() -> None:
    rest = bytes(2 * RATE_HZ // 10)
    program = Program(StandIn(Answer(pcm=tone(1.0, RATE_HZ, pitch_hz=440) + rest), answer(1.0, 660)))
    program.greets = False
    async with session(program.on_connect) as call:
        await call.wait(0.5)
        call.say(words(16_000))
        await call.wait(1.0)
        program.call.respond("Tell the time, too.")  # while the caller speaks
        await call.wait(6.0)
    one = program.stand_in.session
    assert [round(stretch.pitch_hz) for stretch in stretches(call)] == [440, 660]
    assert [error["code"] for error in one.refused] == ["conversation_already_has_active_response"]
    assert program.errors == []
    assert [event["response"]["instructions"] for event in one.received[1:]] == ["Tell the time, too."] * 2


@virtual
async def test_events_come_typed_and_in_order_and_hold_up_nothing() -> None:
    kinds: list[str] = []

    async def on_event(event: Any) -> None:
        kinds.append(event.type)
        if event.type == "response.output_audio.delta":
            await anyio.sleep(1.0)

    program = Program(StandIn(answer(1.0, 440)), on_event=on_event)
    async with session(program.on_connect) as call:
        await call.hears(within_s=1)
        assert stretches(call)[0].duration_s == pytest.approx(1.0, abs=0.01)
        await call.wait(6)
    assert kinds[:2] == ["session.created", "session.updated"]
    assert kinds[-1] == "response.done"
    assert kinds.count("response.output_audio.delta") == 5


@virtual
async def test_what_on_event_raises_is_an_error_of_a_handler() -> None:
    failed: list[Exception] = []

    def on_event(event: Any) -> None:
        if event.type == "response.created":
            raise LookupError("of the program")

    program = Program(StandIn(answer(1.0)), on_event=on_event)

    async def on_connect(client: Client) -> None:
        client.set_handler(on_error=failed.append)
        await program.on_connect(client)

    async with session(on_connect) as call:
        await call.hears(within_s=1)
    assert [str(error) for error in failed] == ["of the program"]


@virtual
async def test_a_wrong_setting_is_told_by_its_name() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"connect": "wss://"}, "connect must be a function"),
        ({"session": ["x"]}, "session must be a dict"),
        ({"session": {"type": "transcription"}}, r"session\['type'\] must be 'realtime'"),
        ({"session": {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}}, r"\['output'\]\['format'\] must be"),
        ({"tools": {"weather": len}}, "does not describe it"),
        ({"session": {"tools": TOOLS[:1]}}, "describes 'weather'"),
        ({"session": {"tools": TOOLS[:1]}, "tools": {"weather": 5}}, "must be a function"),
        ({"on_event": lambda: None}, "on_event must be a function of one argument"),
    ]

    async def on_connect(client: Client) -> None:
        for settings, message in wrong:
            with pytest.raises(AudioConnectorConfigError, match=message):
                RealtimeCall(client, **({"connect": StandIn().connect} | settings))
        call = RealtimeCall(client, StandIn().connect)
        with anyio.move_on_after(1):
            await call.run()
        with pytest.raises(RuntimeError, match="runs once"):
            await call.run()

    async with session(on_connect) as call:
        await call.wait(2)


@on_virtual_clock(backends=("trio",))
async def test_trio_has_no_connection_to_the_api() -> None:
    async def on_connect(client: Client) -> None:
        with pytest.raises(RuntimeError, match="on asyncio"):
            await RealtimeCall(client, StandIn().connect).run()

    async with session(on_connect) as call:
        await call.wait(1)


def test_what_was_said_is_in_no_repr() -> None:
    assert "secret" not in repr(Transcript("caller", "secret", "item_1", full_text="secret"))
