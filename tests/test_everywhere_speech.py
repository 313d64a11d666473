"""Speech, both ways, over every way of serving the application, as `test_everywhere.py` has them; and under TLS."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import anyio
import pytest
import soundfile
import trustme
from conftest import FIRST_MESSAGE
from ways import Told, Way

from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Client, Video
from vonage_audio_connector_server.speech import SpeechEnded
from vonage_audio_connector_server.testing import frames, recording, session

QUESTION = recording("go-forward-ten-meters", 16_000)
ANSWER = recording("librivox-1", 24_000)
MUTE = ' {"event":"websocket:media:update","method":"update","active":false}'


@pytest.mark.parametrize("first", [FIRST_MESSAGE, None], ids=["a first message", "none"])
def test_speech_interrupts_and_is_a_turn_and_the_call_is_recorded(
    way: Way, told: Told, tmp_path: Path, first: str | None
) -> None:
    path = tmp_path / "call.wav"

    async def on_connect(client: Client) -> None:
        client.record(path)
        client.interrupt_on_speech(on_interrupt=lambda: told("interrupted"))
        client.set_handler(on_disconnect=lambda: told("gone"))
        await client.wait_format()
        async with client.utterance(sample_rate_hz=24_000, cancel=True) as utterance:
            utterance.send(ANSWER, text="and mister john dashwood")
            told("speaks")
            await anyio.sleep_forever()
        told(utterance.interrupted)
        async for turn in turns[0]:
            if isinstance(turn, SpeechEnded):
                told(round(turn.end_s - turn.start_s, 1))

    turns = []

    async def listening(client: Client) -> None:
        turns.append(client.turns(sample_rate_hz=8_000))
        await on_connect(client)

    caller = way.serve(AudioConnector(listening))()
    said = frames(QUESTION)
    if first is not None:
        caller.send(first)
    else:
        caller.send(said[0])
    assert told.next() == "speaks"
    for frame in said:
        caller.send(frame)
    assert {told.next(), told.next()} == {"interrupted", True}
    caller.send(MUTE)
    assert told.next() == pytest.approx(1.8, abs=0.3)
    caller.hang_up()
    assert told.next() == "gone"
    assert len(soundfile.read(path)[0]) > 0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # of our server
async def test_under_tls_with_a_first_message_that_comes_late(tmp_path: Path) -> None:
    authority = trustme.CA()
    server_tls, client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server_tls)
    authority.configure_trust(client_tls)

    async def on_connect(client: Client) -> None:
        client.record(tmp_path / "call.flac")
        turns = client.turns(sample_rate_hz=24_000)
        async with client.utterance(sample_rate_hz=24_000) as utterance:
            utterance.send(ANSWER[:48_000], text="hello")
        result = await utterance.wait()
        client.send_json_packet({"heard": result.heard_text})
        async for turn in turns:
            if isinstance(turn, SpeechEnded):
                client.send_audio_buffer(turn.pcm, sample_rate_hz=24_000, pad_last_frame=True)

    config = AudioConnectorServerConfig(host="localhost", port=0, ssl=server_tls, on_connect=on_connect)
    async with await Video().start_audio_connector_server(config) as handle:
        address = f"wss://localhost:{handle.port}/"
        async with session(address, ssl_context=client_tls, first_s=0.7, silence="none") as call:
            await call.hears(within_s=3)
            await call.say(QUESTION)
            await call.hears(QUESTION, within_s=3)
            call.assert_no_gap(over_ms=20)
            assert json.dumps({"heard": "hello"}) in [json.dumps(event.data) for event in call.events]
    assert len(soundfile.read(tmp_path / "call.flac")[0]) / 16_000 > 4
