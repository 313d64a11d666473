"""A pipecat bot of the shape of Vonage's samples, in calls: on pipecat's own transport, and on ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from example_programs import served
from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import EndFrame, TTSSpeakFrame

from vonage_audio_connector_server import AudioConnector, Client
from vonage_audio_connector_server.audio import level_dbfs
from vonage_audio_connector_server.testing import TestCall, session, tone

from .bot import WORD_S, Run, TimedVoice, Voice, of_ours, of_pipecat, run_bot

pytestmark = [
    pytest.mark.anyio,
    # pipecat's own, and those of what it brings.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"),
]

QUESTION = tone(0.5)
NAMES = "Anna Bert Carl Dora Emil Fred Gina Hans Inge John Kate Liam"
"""Words of one length: where nothing tells when they are spoken, they share the sound by their letters."""


def fastapi_of_pipecat(run: Run) -> FastAPI:
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await run_bot(of_pipecat(websocket), run)

    return app


def fastapi_of_ours(run: Run) -> FastAPI:
    app = FastAPI()
    connector = AudioConnector()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket) -> None:
        async with connector.connect(websocket) as client:
            await run_bot(of_ours(client), run)

    return app


def connector_of_ours(run: Run) -> AudioConnector:
    async def on_connect(client: Client) -> None:
        await run_bot(of_ours(client), run)

    return AudioConnector(on_connect)


@asynccontextmanager
async def calling(run: Run, app: Callable[[Run], Any] = connector_of_ours, **settings: Any) -> AsyncIterator[TestCall]:
    """A call to the bot; when it is over the bot has left nothing behind."""
    before = asyncio.all_tasks()
    if app is fastapi_of_pipecat:
        async with served(app(run)) as address, session(address, **settings) as call:
            yield call
    else:
        async with session(app(run), **settings) as call:
            yield call
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert not left


def loud_until_s(pcm: bytes, rate_hz: int) -> float:
    """Where the last sound is."""
    size = rate_hz // 50 * 2
    return max(start + size for start in range(0, len(pcm), size) if level_dbfs(pcm[start : start + size]) > -40) / (
        2 * rate_hz
    )


@pytest.mark.slow
@pytest.mark.parametrize("app", [fastapi_of_pipecat, fastapi_of_ours, connector_of_ours])
async def test_the_bot_is_the_same_on_every_transport(app: Any) -> None:
    run = Run(answers=["one two three."])
    async with calling(run, app) as call:
        await call.wait(0.3)
        await call.say(QUESTION)
        heard = await call.hears(within_s=4)
        assert heard.end_s - heard.start_s == pytest.approx(3 * WORD_S - WORD_S / 6, abs=0.1)
        await call.wait(0.3)
        assert run.remembered == ["one two three."]
    assert run.events == ["connected", "disconnected"]
    if app is not fastapi_of_pipecat:
        call.assert_no_gap()


@pytest.mark.slow
@pytest.mark.parametrize("voice", [Voice, TimedVoice])
@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
async def test_interrupted_it_is_silent_and_remembers_what_was_heard(voice: Any, rate_hz: int) -> None:
    run = Run(answers=[NAMES], voice=voice)
    async with calling(run, rate_hz=rate_hz) as call:
        await call.wait(0.3)
        await call.say(tone(0.5, rate_hz=rate_hz))
        began_s = await call.speaks(within_s=4)
        await call.wait(1.4)
        interruption = call.interrupt(tone(0.8, rate_hz=rate_hz))
        await interruption
        await call.wait(0.5)
        call.assert_silent_within(ms=300, of=interruption)
        words = run.remembered[0].split()
        assert words == NAMES.split()[: len(words)]
        heard_s = loud_until_s(call.heard_between(began_s, call.now_s), rate_hz)
        # A word counts from its middle on; the clock of the call and that of the listener differ by a frame or two.
        assert abs(len(words) - heard_s / WORD_S) <= 0.5 + 0.06 / WORD_S
        assert 4 <= len(words) <= 7


async def test_the_goodbye_is_heard_to_its_end_before_the_call_is_closed() -> None:
    run = Run()

    async def goodbye(worker: Any) -> None:
        await worker.queue_frames([TTSSpeakFrame("good bye to you.", append_to_context=True), EndFrame()])

    run.began = goodbye
    async with calling(run) as call:
        lost = await call.wait_ended(6)
        heard = await call.hears(within_s=0.1)
    assert lost is not None
    assert lost.code == 1000
    assert heard.end_s - heard.start_s == pytest.approx(4 * WORD_S - WORD_S / 6, abs=0.05)
    assert run.remembered == ["good bye to you."]
    assert run.events == ["connected"]  # it was not the caller who hung up


async def test_a_caller_who_mutes_within_a_sentence_is_answered() -> None:
    """No frame comes then; pipecat's own clock ends the turn after a second."""
    run = Run(answers=["Yes"])
    async with calling(run) as call:
        await call.wait(0.3)
        await call.say(QUESTION)
        call.mute()
        await call.hears(within_s=3)
    assert run.remembered == ["Yes"]


async def test_cancelled_it_closes_at_once() -> None:
    run = Run()

    async def speak(worker: Any) -> None:
        await worker.queue_frames([TTSSpeakFrame(NAMES)])

    run.began = speak
    async with calling(run) as call:
        await call.speaks(within_s=3)
        now_s = call.now_s
        await run.worker.cancel()
        assert await call.wait_ended(2) is not None
        assert call.now_s - now_s < 0.5
    assert run.events == ["connected"]
    assert len(" ".join(run.remembered).split()) <= 3


async def test_a_caller_who_speaks_while_the_bot_is_silent_clears_nothing() -> None:
    run = Run(answers=["one."])
    async with calling(run) as call:
        await call.wait(0.3)
        await call.say(QUESTION)
        await call.hears(within_s=4)
        assert [event.text for event in call.events] == []


async def test_a_hang_up_amid_a_speech_ends_the_bot_and_its_memory() -> None:
    run = Run(answers=[NAMES])
    async with calling(run) as call:
        await call.wait(0.3)
        await call.say(QUESTION)
        await call.speaks(within_s=4)
        await call.wait(0.9)
        call.hang_up()
    assert run.events == ["connected", "disconnected"]
    assert 1 <= len(run.remembered[0].split()) <= 5
