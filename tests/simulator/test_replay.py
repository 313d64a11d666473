"""A recorded call once more, in virtual time: the same answer, another answer, the same error, a killed process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from vonage_audio_connector_server import AudioConnector, Client, FlightRecorder, JSONTransport
from vonage_audio_connector_server.recording import Kind, MemoryRecorder, Recording, read_folder, write_folder
from vonage_audio_connector_server.simulator.replay import Replayed, replay
from vonage_audio_connector_server.simulator.wav import read_wav
from vonage_audio_connector_server.testing import first_message, frames, on_virtual_clock, run, session, tone

EXAMPLES = Path(__file__).parents[2] / "examples"
LOUD = tone(0.3)


async def answers(client: Client) -> None:
    """Says back the first 0.2 s of what is loud, and a text with it."""
    rate_hz = (await client.wait_format()).rate_hz
    loud = bytearray()

    def on_audio(frame: bytes) -> None:
        if any(frame) and len(loud) < 10 * len(frame):
            loud.extend(frame)
            if len(loud) == 10 * len(frame):
                client.send_json_packet({"heard": len(loud) / 2 / rate_hz})
                client.send_audio_buffer(bytes(loud), pad_last_frame=True)

    client.set_handler(on_audio=on_audio)


async def answers_otherwise(client: Client) -> None:
    await client.wait_format()
    await client.send_json_packet({"hello": "you"})
    await client.send_audio_buffer(tone(0.2), pad_last_frame=True)


async def fails(client: Client) -> None:
    count = 0

    def on_audio(frame: bytes) -> None:
        nonlocal count
        count += 1
        if count == 20:
            raise LookupError("no such customer")

    client.set_handler(on_audio=on_audio)


async def record(on_connect: Callable[[Client], Any], **settings: Any) -> tuple[Recording, Recording]:
    """A call, as the router and as the server saw it."""
    recorder = MemoryRecorder()
    async with AsyncExitStack() as stack:
        stack.enter_context(suppress(LookupError))  # of `fails`
        call = await stack.enter_async_context(session(AudioConnector(on_connect, recorder=recorder), **settings))
        await call.say(LOUD if settings.get("rate_hz", 16_000) == 16_000 else tone(0.3, settings["rate_hz"]))
        await call.wait(1.0)
    return call.recording, recorder.recordings[0]


@on_virtual_clock
@pytest.mark.parametrize("settings", [{}, {"rate_hz": 8_000}, {"headers": {"caller": "Ann"}}, {"silence": "none"}])
async def test_the_same_program_gives_the_same_answer(settings: dict[str, Any]) -> None:
    for recording in await record(answers, **settings):
        again = await replay(recording, AudioConnector(answers))

        assert again.sentence == "The answer is the same."
        assert (again.differences, again.errors) == ((), ())
        assert again.same_error is None
        sent = [
            [entry for entry in one.entries if entry.kind <= Kind.AUDIO_TO_SERVER]
            for one in (recording, again.recording)
        ]
        assert [entry.payload for entry in sent[0]] == [entry.payload for entry in sent[1]]


@on_virtual_clock
async def test_another_program_is_told_apart_with_the_time() -> None:
    for recording in await record(answers):
        again = await replay(recording, AudioConnector(answers_otherwise))

        whats = [one.what for one in again.differences]
        assert "it sends another text" in whats
        assert "something is heard that was not" in whats
        assert "something isn't heard that was" in whats
        assert again.differences[0].at_s < 0.2
        assert again.sentence.startswith("The answer differs from 0.")


@on_virtual_clock
async def test_an_error_is_the_same_again_or_gone(caplog: pytest.LogCaptureFixture) -> None:
    _, recording = await record(fails)

    same = await replay(recording, AudioConnector(fails))
    gone = await replay(recording, AudioConnector(answers))

    assert same.same_error is True
    assert same.failed_at_s == pytest.approx(0.44, abs=0.021)  # at the twentieth frame
    assert same.sentence == (
        f"It fails again, at {same.failed_at_s:.2f} s, with the same error: LookupError: no such customer"
    )
    assert same.traceback.startswith("Traceback")
    assert "in on_audio" in same.traceback
    assert [data["code"] for _, data in same.recording.notes("closed")] == [1011]
    assert (gone.errors, gone.same_error) == ((), False)
    assert any(one.what == "it ends otherwise" for one in gone.differences)


@on_virtual_clock
async def test_a_program_with_a_recorder_of_its_own_is_not_recorded_and_its_error_is_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, recording = await record(fails)
    own = MemoryRecorder()

    again = await replay(recording, AudioConnector(fails, recorder=own))

    assert again.same_error is True
    assert own.recordings == []


@on_virtual_clock
async def test_json_audio_travels_in_the_field_of_the_program() -> None:
    transport = JSONTransport("question", "answer")
    recorder = MemoryRecorder()
    async with session(
        AudioConnector(answers, recorder=recorder, audio_transport=transport), transport=transport
    ) as call:
        await call.say(LOUD)
        await call.wait(1.0)
    (recording,) = recorder.recordings

    again = await replay(recording, AudioConnector(answers, audio_transport=transport))

    assert recording.meta["transport"] == "json"
    assert any(entry.kind is Kind.AUDIO_FROM_SERVER for entry in again.recording.entries)
    assert again.sentence == "The answer is the same."


@on_virtual_clock
async def test_other_speech_at_the_same_time_is_told() -> None:
    async def says(client: Client, pcm: bytes) -> None:
        await client.wait_format()
        await client.send_audio_buffer(pcm, pad_last_frame=True)

    whole, _ = read_wav(EXAMPLES / "audio" / "librivox-2.wav")
    speech, other = whole[6_400:38_400], whole[38_400:70_400]
    _, recording = await record(partial(says, pcm=speech))

    again = await replay(recording, AudioConnector(partial(says, pcm=other)))

    assert "something else is heard" in [one.what for one in again.differences]


@on_virtual_clock
@pytest.mark.parametrize(("code", "by"), [(1001, "session"), (1005, "session"), (1006, "network"), (1012, "server")])
async def test_it_ends_as_it_ended(code: int, by: str) -> None:
    _, recording = await record(answers)
    recording.entries.pop()
    recording.note(1.4, "closed", code=code, reason="", by=by)

    again = await replay(recording, AudioConnector(answers))

    assert again.sentence == "The answer is the same."


@on_virtual_clock
async def test_a_recording_that_begins_in_the_middle_gets_a_first_message() -> None:
    _, whole = await record(answers)
    rest = Recording(whole.meta, [entry for entry in whole.entries if entry.at_s > 0.1])

    again = await replay(rest, AudioConnector(answers))

    assert [entry.data.get("heard") for entry in again.recording.entries if entry.kind is Kind.TEXT_FROM_SERVER] == [
        0.2
    ]
    assert again.recording.entries[0].at_s > 0.0


def replayed(folder: Path, on_connect: Callable[[Client], Any]) -> Replayed:
    return run(replay, read_folder(folder), AudioConnector(on_connect))


@pytest.mark.usefixtures("caplog")
def test_a_flight_recording_of_a_call_that_failed_replays(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path / "calls")

    async def call() -> None:
        with suppress(LookupError):
            async with session(AudioConnector(fails, recorder=recorder)) as one:
                await one.say(LOUD)
                await one.wait(1.0)

    run(call)
    recorder.wait()

    (folder,) = (one for one in (tmp_path / "calls").iterdir() if one.is_dir() and not one.name.startswith("."))
    assert replayed(folder, fails).same_error is True


SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
import uvicorn
from test_replay import answers
from vonage_audio_connector_server import AudioConnector, FlightRecorder
app = AudioConnector(answers, recorder=FlightRecorder(sys.argv[2]))
uvicorn.run(app, port=int(sys.argv[3]), log_config=None)
"""


def dial(port: int) -> Connection:
    """Connect to a server that is being started."""
    until_s = time.monotonic() + 20
    while True:
        try:
            return connect(f"ws://127.0.0.1:{port}/", compression=None, proxy=None).__enter__()
        except OSError:
            assert time.monotonic() < until_s
            time.sleep(0.05)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_the_recording_of_a_killed_process_replays_as_far_as_it_goes(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(Path(__file__).parent), str(tmp_path / "calls"), str(port)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with ExitStack() as connections, subprocess.Popen(command, env=environment) as process:
        try:
            peer = connections.enter_context(dial(port))
            peer.send(first_message())
            for frame in frames(LOUD):
                peer.send(frame)
                time.sleep(0.02)
            assert peer.recv(timeout=5) == '{"heard":0.2}'
            assert isinstance(peer.recv(timeout=5), bytes)
        finally:
            process.kill()
    (folder,) = (one for one in (tmp_path / "calls").iterdir() if one.is_dir())

    again = replayed(folder, answers)

    texts = [entry.data for entry in again.recording.entries if entry.kind is Kind.TEXT_FROM_SERVER]
    assert texts == [{"heard": 0.2}]
    assert again.errors == ()
    write_folder(tmp_path / "replayed", again.recording)
    assert read_folder(tmp_path / "replayed").entries
