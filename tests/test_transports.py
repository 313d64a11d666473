"""Binary and JSON audio over real sockets: a simulated session gets the same samples back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from vonage_audio_connector_server import (
    Audio,
    AudioConnectorServerConfig,
    Client,
    Connected,
    Disconnected,
    Event,
    JSONTransport,
    MediaUpdate,
    Video,
)
from vonage_audio_connector_server.simulator import SimulationReport, simulate
from vonage_audio_connector_server.simulator.wav import read_wav

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SPEECH = Path(__file__).parent.parent / "examples" / "audio" / "librivox-2.wav"
NAMED = JSONTransport("from_session", "to_session", {"kind": "answer"})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def repeat_after_me(client: Client) -> None:
    """Say what was said once there was a second of it: with a lead, so that a busy machine makes no gap."""
    heard = bytearray()

    async def on_audio(pcm: bytes) -> None:
        heard.extend(pcm)
        assert client.audio_format is not None
        if len(heard) == client.audio_format.rate_hz * 2:
            await client.send_audio_buffer(heard, pad_last_frame=True)

    client.set_handler(on_audio=on_audio)


async def call(rate_hz: int, *, settings: dict[str, Any], **how: Any) -> SimulationReport:
    pcm, _ = read_wav(SPEECH, rate_hz=rate_hz)
    second = pcm[: rate_hz * 2]
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=repeat_after_me, **settings)
    async with await Video().start_audio_connector_server(config) as handle:
        return await simulate(
            handle.get_address(), second, rate_hz, quiet_s=0.5, timeout_s=5, compare=True, **how, router="strict"
        )


@pytest.mark.parametrize(
    ("settings", "how"),
    [
        ({}, {}),
        ({}, {"transport": JSONTransport()}),
        ({"audio_transport": "json"}, {"transport": JSONTransport()}),
        ({"audio_transport": NAMED}, {"transport": NAMED}),
    ],
    ids=["binary", "json noticed", "json", "json with names"],
)
async def test_the_same_samples_come_back(settings: dict[str, Any], how: dict[str, Any]) -> None:
    async def at(rate_hz: int) -> None:
        pcm, _ = read_wav(SPEECH, rate_hz=rate_hz)
        report = await call(rate_hz, settings=settings, **how)
        assert report.ok, report.problems
        assert report.outcome == "answered"
        assert report.gaps == ()
        assert report.heard.strip(b"\0") == pcm[: rate_hz * 2].strip(b"\0")
        assert report.same_as_question == pytest.approx(1.0, abs=1e-6)

    async with anyio.create_task_group() as calls:
        for rate_hz in (8_000, 16_000, 24_000):
            calls.start_soon(at, rate_hz)


async def test_who_says_ten_milliseconds_gets_the_same_sound_in_frames_of_twenty() -> None:
    heard = bytearray()

    async def on_connect(client: Client) -> None:
        def on_audio(pcm: bytes) -> None:
            heard.extend(pcm)
            if len(heard) == 32_000:
                client.send_audio_buffer(heard, bytes_per_sample=320, frames_ms=10, pad_last_frame=True)

        client.set_handler(on_audio=on_audio)

    pcm, rate_hz = read_wav(SPEECH)
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect)
    async with await Video().start_audio_connector_server(config) as handle:
        report = await simulate(handle.get_address(), pcm[:32_000], rate_hz, quiet_s=0.5, timeout_s=5, router="strict")
    assert report.ok, report.problems  # frames of another length would be one
    assert report.gaps == ()
    assert report.heard.strip(b"\0") == pcm[:32_000].strip(b"\0")


async def test_a_call_as_typed_events() -> None:
    events: list[Event] = []

    async def on_connect(client: Client) -> None:
        async for event in client.events():
            events.append(event)  # noqa: PERF401 (one by one, as programs do)

    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect)
    pcm, rate_hz = read_wav(SPEECH)
    async with await Video().start_audio_connector_server(config) as handle:
        await simulate(
            handle.get_address(), pcm[:6_400], rate_hz, timeout_s=0.1, headers={"room": "7"}, router="strict"
        )
    assert isinstance(events[0], Connected)
    assert events[0].custom == {"room": "7"}
    assert isinstance(events[-1], Disconnected)
    assert events[-1].custom == {"room": "7"}
    audio = [event.pcm for event in events if isinstance(event, Audio)]
    assert b"".join(audio).startswith(pcm[:6_400])
    assert not any(isinstance(event, MediaUpdate) for event in events)
