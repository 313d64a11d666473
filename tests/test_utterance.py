"""What is said as one thing: its turn, its interruption, and which of its words were heard."""

from __future__ import annotations

import random
from contextlib import suppress

import anyio
import anyio.to_thread
import pytest
from test_playback import SECOND, talking

from vonage_audio_connector_server import (
    AudioConnectorAudioError,
    AudioConnectorFullError,
    AudioConnectorInterruptedError,
    Client,
    Utterance,
    UtteranceResult,
)
from vonage_audio_connector_server.testing import on_virtual_clock

OLD, NEW = SECOND, b"\2\2" * 16_000


async def stubborn(utterance: Utterance) -> None:
    """A producer that is quicker than real time, and goes on whatever happens."""
    for _ in range(50):
        with suppress(AudioConnectorInterruptedError):
            utterance.send(OLD[:6_400])
        await anyio.sleep(0.05)


@on_virtual_clock
async def test_it_is_heard_to_its_end() -> None:
    async with talking() as (client, call):
        async with client.utterance() as utterance:
            await utterance.send(OLD, text="One two.")
            await utterance.send(OLD, text="Three")
            assert (utterance.duration_s, utterance.heard_s, utterance.heard_text) == (2.0, 0.0, "")
        assert repr(utterance) == "<Utterance 1 heard 0.00 of 2.00 s>"
        await anyio.sleep(0.6)
        assert utterance.heard_text == "One"
        result = await utterance.wait()
        assert result == UtteranceResult("1", "One two. Three", "One two. Three", 2.0, 2.0, interrupted=False)
        assert utterance.result == result
        utterance.interrupt()
        utterance.end()
        assert not utterance.interrupted
        with pytest.raises(RuntimeError, match="utterance 1 was ended"):
            utterance.send(OLD)
        assert call.heard.count(1) == 64_000


@pytest.mark.parametrize("how", ["flush", "interrupt", "flush_buffer"])
@pytest.mark.parametrize("cancel", [False, True])
@on_virtual_clock
async def test_late_pieces_of_what_was_interrupted_are_refused(how: str, cancel: bool) -> None:
    """A hundred times, each at another moment: no sample of the old answer is heard behind the new one's first."""
    dice = random.Random(f"{how} {cancel}")
    for _ in range(34):  # of each way: 102, cancelled or not, on either event loop
        async with talking() as (client, call), anyio.create_task_group() as tasks:
            left = anyio.Event()

            async def answer(client: Client = client, left: anyio.Event = left) -> None:
                async with client.utterance(cancel=cancel) as utterance:
                    for _ in range(60):
                        await utterance.send(OLD[:6_400])  # 0.2 s of it, ten times as fast as real time
                        await anyio.sleep(0.02)
                    await anyio.sleep(60)
                assert utterance.interrupted
                left.set()

            mine = client.utterance() if how == "interrupt" else None
            if mine is None:
                tasks.start_soon(answer)
            else:
                tasks.start_soon(stubborn, mine)
            await anyio.sleep(dice.uniform(0.1, 1.3))
            match how:
                case "flush":
                    client.flush_buffer()
                    client.send_audio_buffer(NEW)
                case "flush_buffer":
                    client.send_audio_buffer(NEW, flush_buffer=True)
                case _:
                    assert mine is not None
                    mine.interrupt()
                    client.send_audio_buffer(NEW)
            if mine is None and cancel:
                with anyio.fail_after(0.1):
                    await left.wait()
            await anyio.sleep(1.8)
            heard = call.heard
            assert heard.count(2) == 32_000
            assert 1 not in heard[heard.index(2) :]
            tasks.cancel_scope.cancel()


@on_virtual_clock
async def test_a_block_that_is_cancelled_ends_at_once_and_the_code_behind_it_runs() -> None:
    async with talking() as (client, _), anyio.create_task_group() as tasks:
        ended_s = []

        async def answer() -> None:
            async with client.utterance(cancel=True) as utterance:
                await utterance.send(SECOND)
                await anyio.sleep_forever()
            ended_s.append(anyio.current_time())
            assert (await utterance.wait()).interrupted

        tasks.start_soon(answer)
        await anyio.sleep(0.5)
        client.flush_buffer()
        flushed_s = anyio.current_time()
        await anyio.sleep(0.2)
        assert ended_s == [flushed_s]


@on_virtual_clock
async def test_without_cancel_the_block_ends_with_the_piece_that_is_refused() -> None:
    async with talking() as (client, _), anyio.create_task_group() as tasks:
        sent = []

        async def answer() -> None:
            async with client.utterance() as utterance:
                while True:
                    await utterance.send(SECOND[:3_200])
                    sent.append(anyio.current_time())
                    await anyio.sleep(0.1)

        tasks.start_soon(answer)
        await anyio.sleep(0.45)
        client.flush_buffer()
        await anyio.sleep(1)
        assert len(sent) == 5


@on_virtual_clock
async def test_what_was_sent_before_the_synthesis_failed_is_heard_and_its_error_is_raised() -> None:
    async with talking() as (client, call):
        with pytest.raises(ValueError, match="no voice"):  # noqa: PT012 (the block is the test)
            async with client.utterance() as utterance:
                await utterance.send(SECOND)
                raise ValueError("no voice")
        assert not (await utterance.wait()).interrupted
        assert call.heard.count(1) == 32_000


@on_virtual_clock
async def test_a_block_whose_task_is_cancelled_falls_silent() -> None:
    async with talking() as (client, _):
        with anyio.move_on_after(0.5):
            async with client.utterance() as utterance:
                await utterance.send(SECOND * 10)
                await anyio.sleep_forever()
        assert utterance.interrupted
        assert utterance.heard_s == pytest.approx(0.5, abs=0.01)


@on_virtual_clock
async def test_they_are_said_one_behind_the_other_and_the_urgent_ones_first() -> None:
    async with talking() as (client, call):
        sounds = {name: bytes([number, number]) * 3_200 for number, name in enumerate("abcdef", 1)}
        utterances = {}
        for name, priority in (("a", 0), ("b", 0), ("c", 1), ("d", 2), ("e", 1), ("f", -1)):
            utterances[name] = client.utterance(id=name, priority=priority)
            utterances[name].send(sounds[name])
        playback = client.send_audio_buffer(b"\7\7" * 3_200)  # in its turn, with priority 0
        assert playback.duration_s == 0.0
        for utterance in utterances.values():
            utterance.end()
        await client.drain()
        heard = call.heard
        order = sorted({value for value in heard if value}, key=heard.index)
        assert order == [1, 4, 3, 5, 2, 7, 6]
        assert [heard.count(value) for value in range(1, 8)] == [6_400] * 7
        assert not list(call.both_sides.notes("gap"))
        call.assert_no_gap(over_ms=40)
        assert (playback.duration_s, playback.heard_s) == (0.2, 0.2)


@on_virtual_clock
async def test_what_is_interrupted_alone_lets_the_others_go_on() -> None:
    async with talking() as (client, call):
        first, second, third = (client.utterance(id=name) for name in "abc")
        for value, utterance in enumerate((first, second, third), 1):
            utterance.send(bytes([value, value]) * 16_000)
            utterance.end()
        await anyio.sleep(0.3)
        second.interrupt()
        assert (second.interrupted, first.interrupted, second.heard_s, second.duration_s) == (True, False, 0.0, 1.0)
        first.interrupt()
        result = await third.wait()
        assert (result.interrupted, result.heard_s) == (False, 1.0)
        assert (await first.wait()).heard_s == pytest.approx(0.3, abs=0.01)
        assert call.heard.count(2) == 0
        assert call.heard.count(3) == 32_000


@on_virtual_clock
async def test_one_whose_sound_is_all_queued_can_still_be_interrupted() -> None:
    async with talking() as (client, _):
        async with client.utterance() as utterance:
            utterance.send(SECOND * 3, text="one two three")
        await anyio.sleep(1.2)
        client.flush_buffer()
        assert utterance.interrupted
        result = await utterance.wait()
        assert (result.heard_text, result.interrupted) == ("one", True)
        async with client.utterance() as heard:
            heard.send(SECOND)
        await client.drain()
        client.flush_buffer()
        assert not heard.interrupted


@on_virtual_clock
async def test_a_flush_ends_all_that_wait_and_what_was_sent_directly() -> None:
    async with talking() as (client, call):
        first, second = client.utterance(), client.utterance()
        first.send(OLD)
        second.send(OLD)
        playback = client.send_audio_buffer(OLD)
        await anyio.sleep(0.2)
        client.flush_buffer()
        for utterance in (first, second):
            assert utterance.interrupted
            with pytest.raises(AudioConnectorInterruptedError, match="was interrupted: nothing more of it is said"):
                utterance.send(OLD)
        result = await playback.wait()
        assert (result.duration_s, result.heard_s, result.interrupted) == (1.0, 0.0, True)
        await client.send_audio_buffer(NEW).wait()
        assert call.heard.count(2) == 32_000


@on_virtual_clock
async def test_whoever_waits_for_its_turn_is_held_back() -> None:
    async with talking(max_queued_s=2.0) as (client, _):
        first, second = client.utterance(), client.utterance()
        await first.send(OLD * 2)
        await second.send(OLD * 2)
        with anyio.move_on_after(0.5) as waiting:
            await second.send(OLD)
        assert waiting.cancelled_caught
        first.end()
        with anyio.fail_after(5):
            await second.send(OLD)
        assert second.duration_s == 4.0


@on_virtual_clock
async def test_one_that_is_never_ended_is_told_while_others_wait(caplog: pytest.LogCaptureFixture) -> None:
    async with talking() as (client, _):
        forgotten = client.utterance()
        forgotten.send(SECOND)
        await anyio.sleep(60)
        assert caplog.messages == []  # nobody waits
        waiting = [client.utterance(), client.utterance()]
        await anyio.sleep(9)
        forgotten.send(SECOND)
        await anyio.sleep(9)
        assert caplog.messages == []
        await anyio.sleep(60)
        (told,) = caplog.messages
        assert "an utterance has brought nothing for 10 s and was not ended; 2 more wait behind it" in told
        forgotten.end()
        waiting[0].end()
        await waiting[0].wait()
        await anyio.sleep(60)
        assert len(caplog.messages) == 1  # the last one waits behind nobody's turn


@on_virtual_clock
async def test_where_full_is_an_error_it_is_one_and_nothing_was_taken() -> None:
    async with talking(max_queued_s=2.0, when_full="raise") as (client, _):
        first, second = client.utterance(), client.utterance()
        first.send(OLD * 3)
        second.send(OLD * 3)
        for utterance in (first, second):
            with pytest.raises(AudioConnectorFullError):
                utterance.send(OLD)
            assert utterance.duration_s == 3.0


@on_virtual_clock
async def test_where_full_is_an_error_the_end_is_none() -> None:
    async with talking(max_queued_s=1.0, when_full="raise") as (client, _):
        utterance = client.utterance(sample_rate_hz=24_000)  # a resampler holds the last of it back
        utterance.send(OLD * 3)
        utterance.end()
        result = await utterance.wait()
        assert (result.heard_s, result.interrupted) == (2.0, False)


@on_virtual_clock
async def test_a_pause_keeps_it() -> None:
    async with talking() as (client, call):
        first, second = client.utterance(), client.utterance()
        for utterance in (first, second):
            utterance.send(OLD[:16_000])
            utterance.end()
        await anyio.sleep(0.3)
        client.pause()
        await anyio.sleep(2)
        assert second.heard_s == 0.0
        client.resume()
        assert not (await second.wait()).interrupted
        assert call.heard.count(1) >= 32_000


@on_virtual_clock
async def test_the_end_of_the_call_ends_every_wait() -> None:
    async with talking() as (client, call):
        first, second = client.utterance(), client.utterance()
        first.send(OLD)
        second.send(OLD)
        await anyio.sleep(0.5)
        call.hang_up()
        result = await first.wait()
        assert result.interrupted
        assert result.heard_s == pytest.approx(0.5, abs=0.05)
        assert (await second.wait()).heard_s == 0.0
        assert second.interrupted
        first.end()
        first.interrupt()
        with pytest.raises(ConnectionError):
            first.send(OLD)
        with pytest.raises(ConnectionError):
            client.utterance()


@on_virtual_clock
async def test_what_is_begun_before_the_format_is_known_waits_for_it() -> None:
    from vonage_audio_connector_server import AudioConnector
    from vonage_audio_connector_server.testing import session

    async def on_connect(client: Client) -> None:
        utterance = client.utterance()
        utterance.send(OLD)
        utterance.end()
        await client.wait_closed()

    async with session(AudioConnector(on_connect), silence="none") as call:
        await call.hears(within_s=1)
        await anyio.sleep(1.5)
        assert call.heard.count(1) == 32_000


def test_from_another_thread_and_its_event_loop() -> None:
    from vonage_audio_connector_server import AudioConnector
    from vonage_audio_connector_server.testing import session

    results = []

    async def on_connect(client: Client) -> None:
        async def elsewhere() -> None:
            async with client.utterance(id="there", cancel=True) as utterance:
                await utterance.send(OLD[:9_600], text="one two three")
            results.append(await utterance.wait())
            async with client.utterance(cancel=True) as utterance:
                await utterance.send(OLD * 10)
                client.flush_buffer()
                await anyio.sleep(30)
            results.append(await utterance.wait())

        await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere))
        client.disconnect()

    async def talk() -> None:
        async with session(AudioConnector(on_connect)) as call:
            with anyio.fail_after(20):
                await call.wait_ended()

    anyio.run(talk)
    assert results[0] == UtteranceResult("there", "one two three", "one two three", 0.3, 0.3, interrupted=False)
    assert results[1].interrupted


@on_virtual_clock
async def test_what_can_not_be_said_is_refused() -> None:
    async with talking() as (client, _):
        utterance = client.utterance()
        with pytest.raises(AudioConnectorAudioError):
            utterance.send(b"\1\2\3", text="a")
        with pytest.raises(AudioConnectorAudioError):
            client.utterance(sample_rate_hz=5)
        assert (utterance.text, utterance.duration_s) == ("", 0.0)
