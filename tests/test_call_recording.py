"""Recording a call as it is heard, whatever becomes of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from test_examples import free_port
from test_playback import SECOND, talking

from vonage_audio_connector_server import AudioConnector, AudioConnectorAudioError, AudioConnectorClosedError, Client
from vonage_audio_connector_server.testing import assert_same_speech, on_virtual_clock, recording, session

CALLER = b"\2\2" * 16_000  # a second of it, loud enough to be told from silence


def sides(path: Path, rate_hz: int = 16_000) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    samples, file_hz = soundfile.read(path, dtype="int16")
    assert file_hz == rate_hz
    return samples[:, 0], samples[:, 1]


def seconds(samples: NDArray[np.int16]) -> float:
    return np.count_nonzero(samples) / 16_000


@pytest.mark.parametrize("ending", ["wav", "flac"])
@on_virtual_clock
async def test_a_call_of_four_seconds_of_which_two_are_muted_is_four_seconds_long(tmp_path: Path, ending: str) -> None:
    clients = []

    async def on_connect(client: Client) -> None:
        clients.append(client.record(tmp_path / f"call.{ending}"))
        await client.wait_closed()

    async with session(AudioConnector(on_connect), silence="none") as call:
        await call.say(CALLER)
        call.mute()
        await anyio.sleep(2)
        call.unmute()
        await call.say(CALLER)
        accepted_s = call.now_s
    left, right = sides(tmp_path / f"call.{ending}")
    assert len(left) / 16_000 == pytest.approx(accepted_s, abs=0.05)
    assert len(left) / 16_000 == pytest.approx(4.05, abs=0.06)
    assert seconds(left) == pytest.approx(2, abs=0.021)
    loud = np.flatnonzero(left)
    assert np.diff(loud).max() / 16_000 == pytest.approx(2, abs=0.07)
    assert not right.any()
    assert clients[0].duration_s == pytest.approx(len(left) / 16_000, abs=0.001)


@on_virtual_clock
async def test_both_sides_are_where_they_were_heard_and_what_was_interrupted_is_not(tmp_path: Path) -> None:
    async with talking(silence="frames") as (client, call):
        recorded = client.record(tmp_path / "call.wav")
        began_s = call.now_s
        await anyio.sleep(0.5)
        client.send_audio_buffer(SECOND * 3)
        await anyio.sleep(1.0)
        client.flush_buffer()
        await anyio.sleep(0.5)
        saying = call.say(recording("go-forward-ten-meters", 16_000))
        await saying
        await anyio.sleep(3)
        await recorded.stop()
        assert saying.start_s is not None
        spoken = saying.start_s - began_s
        heard = np.frombuffer(call.heard, "<i2")
    left, right = sides(tmp_path / "call.wav")
    assert len(left) / 16_000 == recorded.duration_s == pytest.approx(7.8, abs=0.1)
    loud = np.flatnonzero(right)
    assert loud[0] / 16_000 == pytest.approx(0.5, abs=0.03)
    assert len(loud) / 16_000 == pytest.approx(1.0, abs=0.03)
    assert abs(len(loud) - np.count_nonzero(heard)) <= 640
    assert_same_speech(left.tobytes(), recording("go-forward-ten-meters", 16_000))
    at = np.flatnonzero(np.abs(left) > 2_000)[0]
    first = np.flatnonzero(np.abs(np.frombuffer(recording("go-forward-ten-meters", 16_000), "<i2")) > 2_000)[0]
    assert (at - first) / 16_000 == pytest.approx(spoken, abs=0.05)


@on_virtual_clock
async def test_it_can_be_stopped_and_begun_again(tmp_path: Path) -> None:
    async with talking(silence="frames") as (client, _):
        for name in ("one.wav", "two.wav"):
            recorded = client.record(tmp_path / name)
            client.send_audio_buffer(SECOND)
            await anyio.sleep(1.5)
            assert await recorded.stop() is recorded
            assert await recorded.stop() is recorded
            assert seconds(sides(tmp_path / name)[1]) == pytest.approx(1, abs=0.01)
            assert len(sides(tmp_path / name)[1]) / 16_000 == pytest.approx(1.5, abs=0.01)
        client.send_audio_buffer(SECOND)
        await anyio.sleep(1.5)


@on_virtual_clock
async def test_two_at_once_and_a_flight_recorder(tmp_path: Path) -> None:
    async with talking(silence="frames") as (client, _):
        first, second = client.record(tmp_path / "one.wav"), client.record(tmp_path / "two.flac")
        client.send_audio_buffer(SECOND)
        await anyio.sleep(1)
        await first.stop()
        client.send_audio_buffer(SECOND)
        await anyio.sleep(1)
        await second.stop()
    assert seconds(sides(tmp_path / "one.wav")[1]) == pytest.approx(1, abs=0.02)
    assert seconds(sides(tmp_path / "two.flac")[1]) == pytest.approx(2, abs=0.02)


@on_virtual_clock
async def test_what_can_not_be_recorded_is_refused_at_once(tmp_path: Path) -> None:
    async with talking() as (client, call):
        with pytest.raises(AudioConnectorAudioError, match=r"\.wav or a \.flac"):
            client.record(tmp_path / "call.mp3")
        with pytest.raises(FileNotFoundError):
            client.record(tmp_path / "none" / "call.wav")
        call.hang_up()
        await client.wait_closed()
        with pytest.raises(AudioConnectorClosedError):
            client.record(tmp_path / "call.wav")


@on_virtual_clock
async def test_a_disk_that_is_full_ends_the_recording_and_not_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from vonage_audio_connector_server.audio import recorder

    def full(left: bytes, right: bytes) -> bytes:
        raise OSError(28, "No space left on device")

    async with talking(silence="frames") as (client, call):
        recorded = client.record(tmp_path / "call.wav")
        await anyio.sleep(1)
        monkeypatch.setattr(recorder, "interleaved", full)
        await anyio.sleep(1)
        assert "its recording ends, because it can't be written: [Errno 28]" in caplog.text
        with pytest.raises(OSError, match="No space left"):
            await recorded.stop()
        await client.send_audio_buffer(SECOND).wait()
        assert call.heard.count(1) == 32_000


PROGRAM = """
import sys
from vonage_audio_connector_server import AudioConnectorServerConfig, Video

async def on_connect(client):
    client.record(sys.argv[1])
    async for message in client:
        if isinstance(message, bytes):
            client.send_audio_buffer(message)

async def on_start():
    print("ready", flush=True)

Video().run_audio_connector_server(
    AudioConnectorServerConfig(host="127.0.0.1", port=int(sys.argv[2]), on_connect=on_connect, on_start=on_start))
"""


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_after_a_kill_all_but_the_last_fifth_of_a_second_is_there(tmp_path: Path, ending: str) -> None:
    port = free_port()
    path = tmp_path / f"call.{ending}"
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), str(port)], stdout=subprocess.PIPE, text=True)
    killed_s = []

    async def talk() -> None:
        with anyio.fail_after(30):
            async with session(f"ws://127.0.0.1:{port}/") as call:
                call.say(recording("librivox-1", 16_000))
                await anyio.sleep(4)
                killed_s.append(call.now_s)
                program.send_signal(signal.SIGKILL)
                await call.wait_ended(within_s=10)

    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        began_s = time.monotonic()
        anyio.run(talk)
        assert time.monotonic() - began_s < 20
    finally:
        program.kill()
        program.communicate()
    left, right = sides(path)
    assert len(left) / 16_000 >= killed_s[0] - 0.2 - 0.03  # the router's clock began 30 ms earlier at most
    for side in (left, right):
        assert_same_speech(side.tobytes(), recording("librivox-1", 16_000)[: 2 * 16_000 * 3])
