"""Calls with JSON texts and with frames of 10 ms, against servers that write and read the JSON themselves."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from vonage_audio_connector_server.core.json_audio import JSONTransport
from vonage_audio_connector_server.errors import AudioConnectorAudioError, AudioConnectorConfigError
from vonage_audio_connector_server.simulator import Progress, SimulationReport, simulate
from vonage_audio_connector_server.simulator.form import AudioForm

pytestmark = pytest.mark.anyio

Serving = Callable[..., AbstractAsyncContextManager[str]]
Tone = Callable[..., bytes]
Handler = Callable[[ServerConnection], Awaitable[None]]

LEAD_FRAMES = 20
quick = partial(simulate, quiet_s=0.2, timeout_s=0.2)


def audio_text(pcm: bytes, field: str = "audio", **static: object) -> str:
    return json.dumps({**static, field: base64.b64encode(pcm).decode()})


def echo(receive_field: str | None = None, send_field: str = "audio") -> Handler:
    """A server that sends each frame back, 20 frames early; as JSON if there is a field that it comes in."""

    async def handler(websocket: ServerConnection) -> None:
        early: list[bytes | str] = []
        async for message in websocket:
            if receive_field is None:
                if isinstance(message, str):
                    continue
                answer: bytes | str = message
            else:
                assert isinstance(message, str)
                data = json.loads(message)
                if receive_field not in data:
                    continue
                answer = audio_text(base64.b64decode(data[receive_field], validate=True), send_field, seq=1)
            if len(early) < LEAD_FRAMES:
                early.append(answer)
                if len(early) == LEAD_FRAMES:
                    for frame in early:
                        await websocket.send(frame)
            else:
                await websocket.send(answer)

    return handler


def saying(*messages: bytes | str) -> Handler:
    """A server that sends these and then listens."""

    async def handler(websocket: ServerConnection) -> None:
        for message in messages:
            await websocket.send(message)
        async for _ in websocket:
            pass

    return handler


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
async def test_an_echo_over_json_is_sample_for_sample_that_over_binary(
    serving: Serving, tone: Tone, rate_hz: int
) -> None:
    question = tone(0.6, rate_hz)  # whole frames of both lengths
    call = partial(quick, audio=question, rate_hz=rate_hz, compare=True)
    async with serving(echo()) as binary_url, serving(echo("q", "a")) as json_url:
        reports = await asyncio.gather(
            *(call(binary_url, frame_ms=frame_ms) for frame_ms in (20, 10)),
            *(call(json_url, frame_ms=frame_ms, transport=JSONTransport("q", "a")) for frame_ms in (20, 10)),
        )

    for report, transport, frame_ms in zip(reports, ["binary"] * 2 + ["json"] * 2, [20, 10, 20, 10], strict=True):
        assert report.problems == ()
        assert (report.outcome, report.transport, report.frame_ms) == ("answered", transport, frame_ms)
        assert (report.rate_hz, report.gaps, report.wrong_transport_frames) == (rate_hz, (), 0)
        assert report.same_as_question == pytest.approx(1.0)
        at = report.heard.index(question)  # equal after alignment, and so equal to each other
        assert at % (rate_hz * frame_ms // 1000 * 2) == 0
        assert set(report.heard[:at] + report.heard[at + len(question) :]) <= {0}
        assert report.frames_received >= report.frames_heard >= 600 // frame_ms
        assert report.furthest_ahead_s == pytest.approx(LEAD_FRAMES * frame_ms / 1000, abs=0.05)
        assert report.texts_received == 0
        assert report.question_end_s == pytest.approx(0.66, abs=0.03)


async def test_what_goes_over_the_wire_in_json(serving: Serving, tone: Tone) -> None:
    seen: list[bytes | str] = []

    async def handler(websocket: ServerConnection) -> None:
        seen.extend([message async for message in websocket])

    transport = JSONTransport("q", "a", {"of": "the server"})
    async with serving(handler) as url:
        report = await quick(url, tone(0.06), frame_ms=10, transport=transport, headers={"caller": "Ann"})

    first, *frames, last = map(str, seen)
    assert first == ' {"content-type":"audio/l16;rate=16000","event":"websocket:connected","caller":"Ann"}'
    assert last == (
        ' {"event":"websocket:disconnected","method":"delete","content-type":"audio/l16;rate=16000","caller":"Ann"}'
    )
    assert len(frames) == report.frames_sent > 6
    silence = [bytes(320)] * (len(frames) - 6)
    sent = [tone(0.06)[at : at + 320] for at in range(0, 1920, 320)] + silence
    assert frames == ['{"q":"' + base64.b64encode(pcm).decode() + '"}' for pcm in sent]


async def test_frames_of_10_ms_keep_to_their_deadlines(serving: Serving, tone: Tone) -> None:
    arrivals_s: list[float] = []
    sizes: set[int] = set()

    async def handler(websocket: ServerConnection) -> None:
        now = asyncio.get_running_loop().time
        async for message in websocket:
            if isinstance(message, bytes):
                arrivals_s.append(now())
                sizes.add(len(message))

    told: list[Progress] = []
    async with serving(handler) as url:
        report = await quick(url, tone(0.4), frame_ms=10, on_progress=told.append)

    lateness_s = [arrival_s - arrivals_s[0] - 0.01 * tick for tick, arrival_s in enumerate(arrivals_s)]
    assert abs(min(lateness_s[-10:])) < 0.02
    assert sizes == {320}
    assert len(arrivals_s) == report.frames_sent
    assert report.duration_s == pytest.approx(0.01 * report.frames_sent, abs=0.05)
    assert len(told) == (report.frames_sent - 1) // 10  # not at the tick that ends the call
    assert told[0].question_s == pytest.approx(0.4)
    assert told[0].sent_dbfs > -20


async def test_texts_without_audio_are_still_events_and_commands(serving: Serving, tone: Tone) -> None:
    answers: list[dict[str, Any]] = []

    async def handler(websocket: ServerConnection) -> None:
        await websocket.send(audio_text(tone(0.02)))
        await websocket.send('{"action":"notify","payload":{"n":1}}')
        for _ in range(20):
            await websocket.send(" " + audio_text(tone(0.02)))
        await websocket.send('{"action":"clear"}')
        await websocket.send("no JSON")
        async for message in websocket:
            data = json.loads(message)
            if "audio" not in data:
                answers.append(data)

    async with serving(handler) as url:
        report = await quick(url, tone(0.1), transport=JSONTransport())

    assert {"event": "websocket:cleared"} in answers
    assert (report.clears, report.texts_received, report.frames_received) == (1, 3, 21)
    assert report.cleared_frames + report.frames_heard == 21
    assert report.problems == ()


@pytest.mark.parametrize(
    ("transport", "wrong", "agreed"),
    [
        (None, audio_text(bytes(640)), "binary messages"),
        (JSONTransport(), bytes(640), "JSON texts with base64 in the agreed field"),
    ],
)
async def test_audio_in_another_form_is_a_problem_and_is_not_played(
    serving: Serving, tone: Tone, transport: JSONTransport | None, wrong: bytes | str, agreed: str
) -> None:
    async with serving(saying(wrong, "a text", wrong)) as url:
        report = await quick(url, tone(0.1), transport=transport)

    assert report.problems == (f"2 of the server's messages carried audio, but not as {agreed}",)
    assert not report.ok
    assert report.to_dict()["wrong_transport_frames"] == 2
    assert (report.frames_received, report.frames_heard, report.texts_received) == (0, 0, 1)
    assert report.outcome == "no answer"


@pytest.mark.parametrize(
    ("transport", "message"),
    [
        (None, audio_text(b"\1\0")),
        (None, " " + audio_text(b"\1\0", event="x")),
        (JSONTransport(), b"\1\0"),
        (JSONTransport(), b""),
        (JSONTransport(), '{"audio":"no base64!"}'),
        (JSONTransport(), '{"audio":"AQ=="}'),
        (JSONTransport(), '{"audio":null}'),
        (JSONTransport("q", "a"), audio_text(b"\1\0")),  # the default
        (JSONTransport("q", "a"), audio_text(b"\1\0", "q")),  # the other direction
    ],
)
def test_audio_in_another_form_is_told_from_other_texts(transport: JSONTransport | None, message: bytes | str) -> None:
    assert AudioForm(transport).read(message) is None


@pytest.mark.parametrize(
    ("transport", "text"),
    [
        (None, '{"audio":"off"}'),
        (None, '{"audio":true}'),
        (None, audio_text(b"\1\0", "sound")),
        (None, '["audio"]'),
        (None, '{"audio":' * 100_000),
        (JSONTransport("q", "a"), '{"audio":"off","q":""}'),
        (JSONTransport(), '{"event":"websocket:cleared","a":1}'),
        (JSONTransport(), '{"audio":' * 100_000),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_texts_are_no_audio(transport: JSONTransport | None, text: str) -> None:
    assert AudioForm(transport).read(text) is text


@pytest.mark.parametrize("frame_ms", [20, 10])
async def test_a_frame_of_the_other_length_has_a_wrong_size(serving: Serving, tone: Tone, frame_ms: int) -> None:
    sizes = {20: 640, 10: 320}
    for transport, write in ((None, bytes), (JSONTransport(), audio_text)):
        messages = [write(bytes(size)) for size in (320, 640, 640)]
        async with serving(saying(*messages)) as url:
            report = await quick(url, tone(0.1), frame_ms=frame_ms, transport=transport)

        wrong = 2 if frame_ms == 10 else 1
        assert report.wrong_size_frames == wrong
        assert report.problems == (f"{wrong} of the server's frames were not {sizes[frame_ms]} bytes long",)


async def test_the_transport_is_told_though_nobody_was_there(tone: Tone) -> None:
    report: SimulationReport = await quick("ws://127.0.0.1:1", tone(0.1), frame_ms=10, transport=JSONTransport())

    assert report.outcome == "not connected"
    assert (report.transport, report.frame_ms, report.wrong_transport_frames) == ("json", 10, 0)


@pytest.mark.parametrize("frame_ms", [0, 30, 20.0, "20", None])
async def test_another_frame_length_is_refused(frame_ms: Any) -> None:
    with pytest.raises(AudioConnectorAudioError, match=rf"frame_ms must be 10 or 20, not {frame_ms!r}"):
        await simulate("ws://127.0.0.1:1", bytes(2), frame_ms=frame_ms)


@pytest.mark.parametrize("transport", ["json", "binary", {"transport": "json"}, False])
async def test_another_transport_is_refused(transport: Any) -> None:
    with pytest.raises(AudioConnectorConfigError, match="transport must be a JSONTransport, or None for binary, not"):
        await simulate("ws://127.0.0.1:1", bytes(2), transport=transport)
