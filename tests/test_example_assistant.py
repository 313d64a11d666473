"""The assistant, on real speech, with its real ears and its real voice, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import pytest
from example_programs import load_example, served, until, words_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from vonage_audio_connector_server import AudioConnector, Client
from vonage_audio_connector_server.audio import resample
from vonage_audio_connector_server.simulator.report import report_of
from vonage_audio_connector_server.testing import TestCall, recording, session

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(400)]

assistant = load_example("assistant")

QUESTION = recording("go-forward-ten-meters", 16_000)[2 * 6_400 : -2 * 4_800]
WORDS = recording("librivox-4", 16_000)[2 * 8_320 : 2 * 17_920]  # 0.6 s of it
STATEMENT = recording("librivox-2", 16_000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(assistant.settings, "transcript", tmp_path / "conversation.jsonl")
    monkeypatch.setitem(assistant.settings, "answers", assistant.Dialogue)
    monkeypatch.setattr(assistant, "GREETING", "Yes?")


def lines(tmp_path: Path, who: str) -> list[dict[str, Any]]:
    path = tmp_path / "conversation.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if line["who"] == who]


@asynccontextmanager
async def talking() -> AsyncIterator[TestCall]:
    """A call to the assistant, whose models are ready and whose greeting is over."""
    async with served(assistant.app) as address, session(f"{address}/") as call:
        await call.hears(within_s=10)
        yield call


async def recognised(pcm: bytes) -> list[str]:
    return words_of(await assistant.recogniser().text_of(pcm))


async def test_it_says_back_what_it_was_asked(tmp_path: Path) -> None:
    async with talking() as call:
        saying = call.say(recording("go-forward-ten-meters", 16_000))
        await saying
        heard = await call.hears(within_s=4)
        assert saying.end_s is not None
        answer = await recognised(heard.pcm)
    assert {"go", "forward", "ten", "meters"} <= set(answer)
    (caller,) = lines(tmp_path, "caller")
    assert words_of(caller["text"]) == ["go", "forward", "ten", "meters"]
    assert [line["interrupted"] for line in lines(tmp_path, "assistant")] == [False, False]


async def test_interrupted_it_is_silent_at_once_and_remembers_up_to_which_word(tmp_path: Path) -> None:
    for after_s in (2.6, 4.5):
        (tmp_path / "conversation.jsonl").unlink(missing_ok=True)
        async with talking() as call:
            await call.say(STATEMENT)
            began_s = await call.speaks(within_s=4)
            await anyio.sleep(began_s + after_s - call.now_s)
            interruption = call.interrupt()
            await interruption
            await anyio.sleep(0.8)
            call.assert_silent_within(ms=300, of=interruption)
            heard = await recognised(call.heard_between(began_s, call.now_s))
        line = lines(tmp_path, "assistant")[1]
        assert line["interrupted"]
        remembered = words_of(line["text"])
        # What was heard ends in the middle of a word, which the recogniser completes, leaves out, or guesses.
        assert abs(len(remembered) - len(heard)) <= 1, (remembered, heard)


class Brief:
    """Twenty turns need not take five minutes."""

    async def answer(self, history: list[dict[str, str]], call: object) -> AsyncIterator[str]:
        yield "All right, I go."

    async def close(self) -> None: ...


async def test_twenty_turns_without_a_gap_and_twenty_other_calls_hear_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All on one server; the first sound comes 1.5 s behind the question at most, as the median has it."""
    monkeypatch.setitem(assistant.settings, "answers", Brief)
    music = resample(STATEMENT, 16_000, 16_000) * 60

    async def play(client: Client) -> None:
        await client.send_audio_buffer(music).wait()

    app = Starlette(
        routes=[Mount("/assistant", assistant.app), Mount("/music", AudioConnector(play))],
        lifespan=assistant.app.lifespan,
    )
    answered_s: list[float] = []
    async with served(app) as address, anyio.create_task_group() as tasks:
        others: list[TestCall] = []
        stop = anyio.Event()

        async def listen() -> None:
            async with session(f"{address}/music", silence="none") as other:
                others.append(other)
                await stop.wait()

        for _ in range(20):
            tasks.start_soon(listen)
        async with session(f"{address}/assistant") as call:
            await call.hears(within_s=10)
            for _ in range(20):
                saying = call.say(WORDS)
                await saying
                assert saying.end_s is not None
                answered_s.append(await call.speaks(within_s=5) - saying.end_s)
                await anyio.sleep(1.2)  # the answer, and a breath
        stop.set()
    call.assert_no_gap(over_ms=20)  # behind the others' end: to look for gaps blocks the event loop
    assert report_of(call.both_sides).gaps == ()
    for other in others:
        other.assert_no_gap(over_ms=20)
    assert len(others) == 20
    assert len(lines(tmp_path, "caller")) == 20
    own_s = [line["recognised_in_s"] for line in lines(tmp_path, "caller")]
    without_s = [all_s - took_s for all_s, took_s in zip(answered_s, own_s, strict=True)]
    assert median(answered_s) <= 1.5
    assert median(without_s) <= 0.8
    assert sorted(without_s)[17] <= 1.2  # a machine that is busy for a moment


# With a language model


class Endpoint:
    """A stand-in of an OpenAI-compatible chat endpoint: it streams, stalls, and fails."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = pieces  # a text, a tool call as a dict, a number of seconds to wait, or an error
        self.asked: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> Response:
        self.asked.append(await request.json())
        if isinstance(self.pieces[0], int):
            return Response("{}", status_code=self.pieces[0])
        return StreamingResponse(self.stream(), media_type="text/event-stream")

    async def stream(self) -> AsyncIterator[str]:
        for piece in self.pieces:
            if isinstance(piece, float):
                await anyio.sleep(piece)
                continue
            if isinstance(piece, Exception):
                raise piece
            delta = {"content": piece} if isinstance(piece, str) else {"tool_calls": [{"index": 0, "function": piece}]}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
            yield f"data: {json.dumps(chunk | {'choices': [{'index': 0, 'delta': delta}]})}\n\n"
        yield "data: [DONE]\n\n"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    @asynccontextmanager
    async def asked(*pieces: Any) -> AsyncIterator[Endpoint]:
        one = Endpoint(*pieces)
        async with served(one.app) as address:
            url = address.replace("ws:", "http:") + "/v1"
            monkeypatch.setitem(assistant.settings, "answers", partial(assistant.LanguageModel, url, "m"))
            yield one

    return asked  # type: ignore[return-value]  # pytest takes it as it is


async def test_a_language_model_answers_sentence_by_sentence(tmp_path: Path, endpoint: Any) -> None:
    pieces = ["The first", " sentence is", " here. ", 1.5, "The second", " one comes later."]
    async with endpoint(*pieces) as model, talking() as call:
        await call.say(QUESTION)
        began_s = await call.speaks(within_s=4)
        assert call.now_s - began_s < 1.0
        await until(lambda: len(lines(tmp_path, "assistant")) == 2, 12)
        words = await recognised(call.heard_between(began_s, call.now_s))
        assert words == words_of("The first sentence is here. The second one comes later.")
        await call.say(QUESTION)
        await call.speaks(within_s=4)
    roles = [message["role"] for message in model.asked[1]["messages"]]
    assert roles == ["system", "assistant", "user", "assistant", "user"]


async def test_a_model_that_stalls_is_interrupted(tmp_path: Path, endpoint: Any) -> None:
    async with endpoint("Let me think about that for a while. ", 60.0, "Never said.") as model, talking() as call:
        await call.say(QUESTION)
        await call.speaks(within_s=4)
        await anyio.sleep(1.0)
        await call.interrupt()
        await until(lambda: len(lines(tmp_path, "assistant")) == 2, 3)
        await until(lambda: len(model.asked) == 2, 5)  # what interrupted is a question, too
    line = lines(tmp_path, "assistant")[1]
    assert line["interrupted"]
    assert "let me" in line["text"].lower()


@pytest.mark.parametrize("pieces", [(401,), ("Half of", RuntimeError("gone"))], ids=["refused", "breaks off"])
async def test_a_model_that_fails_leaves_no_silence_and_the_call_goes_on(
    tmp_path: Path, endpoint: Any, pieces: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with endpoint(*pieces), talking() as call:
        await call.say(QUESTION)
        heard = await call.hears(within_s=15)
        assert {"sorry", "answer"} <= set(await recognised(heard.pcm))
        await call.say(QUESTION)
        await call.speaks(within_s=15)  # it tries again


async def test_it_hangs_up_and_sends_json_when_the_model_says_so(tmp_path: Path, endpoint: Any) -> None:
    tool = {"name": "send_to_session", "arguments": '{"data": {"show"'}
    async with endpoint("Here it is.", tool, {"arguments": ': "a page"}}'}), talking() as call:
        await call.say(QUESTION)
        await call.hears(within_s=5)
        assert {"show": "a page"} in [event.data for event in call.events]
    async with endpoint("Goodbye.", {"name": "hang_up", "arguments": "{}"}), talking() as call:
        await call.say(QUESTION)
        heard = await call.hears(within_s=5)
        assert await recognised(heard.pcm) == ["goodbye"]
        await call.wait_ended(within_s=5)
