"""A call joined to a Realtime session, on a virtual clock, against the stand-in."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest
from realtime_calls import answer, stretches, words
from realtime_program import Program, virtual
from realtime_stand_in import RATE_HZ, TEXT, Answer, StandIn

from vonage_audio_connector_server import AudioConnectorConfigError, Client
from vonage_audio_connector_server.integrations.openai_realtime import (
    RealtimeCall,
    Transcript,
)
from vonage_audio_connector_server.testing import on_virtual_clock, session, tone


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


TOOL = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]


@virtual
async def test_a_wrong_setting_is_told_by_its_name() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"connect": "wss://"}, "connect must be a function"),
        ({"session": ["x"]}, "session must be a dict"),
        ({"session": {"type": "transcription"}}, r"session\['type'\] must be 'realtime'"),
        ({"session": {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}}, r"\['output'\]\['format'\] must be"),
        ({"tools": {"weather": len}}, "does not describe it"),
        ({"session": {"tools": TOOL}}, "describes 'weather'"),
        ({"session": {"tools": TOOL}, "tools": {"weather": 5}}, "must be a function"),
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
