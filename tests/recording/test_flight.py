"""The flight recorder on real calls: what stays of a bad one, and that nothing stays of a good one."""

from __future__ import annotations

import errno
import json
import logging
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FIRST_MESSAGE
from telling import TellingRecorder, notes, payloads
from ways import ClosedByServerError, Way
from websockets.sync.client import connect

from vonage_audio_connector_server import AudioConnector, Client, JSONTransport
from vonage_audio_connector_server.config import AudioTransport
from vonage_audio_connector_server.recording import Kind, Recording, storage
from vonage_audio_connector_server.recording.folder import read_folder
from vonage_audio_connector_server.recording.ring import MOST_PENDING

logger = logging.getLogger("vonage_audio_connector_server")

FRAME = b"\1\2" * 320
ANSWER = b"\3\4" * 320

alone = pytest.mark.parametrize("way", ["alone"], indirect=True)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[TellingRecorder]:
    recorder = TellingRecorder(tmp_path / "calls", last_s=2)
    yield recorder
    recorder.wait()


async def answer_and_fail(client: Client) -> None:
    """Answers the first frame, and fails on the third."""
    frames = 0

    async def on_audio(frame: bytes) -> None:
        nonlocal frames
        frames += 1
        if frames == 1:
            client.send_json_packet({"action": "hello"})
            client.send_audio_buffer(ANSWER * 2)
        if frames == 3:
            raise RuntimeError("the model is gone")

    client.set_handler(on_audio=on_audio)


async def listen(client: Client) -> None:
    client.set_handler(on_audio=lambda frame: None)


@alone
def test_a_call_whose_handler_raises_leaves_all_that_the_server_saw(way: Way, recorder: TellingRecorder) -> None:
    caller = way.serve(AudioConnector(answer_and_fail, recorder=recorder))("/bots/7?secret=x")
    caller.send(FIRST_MESSAGE)
    caller.send(FRAME)
    assert [caller.receive() for _ in range(3)] == ['{"action":"hello"}', ANSWER, ANSWER]
    caller.send(FRAME)
    caller.send(FRAME)
    with pytest.raises(ClosedByServerError, match="1011"):
        caller.receive()
    caller.hang_up()
    assert recorder.wait_for_end()
    recording = recorder.the_one()
    assert recording.meta["place"].startswith("/bots/7 from ")
    check_failed_call(recording)


def check_failed_call(recording: Recording) -> None:
    meta = recording.meta
    known = {"seen_by": "server", "rate_hz": 16_000, "frame_ms": 20, "transport": "binary"}
    assert meta == meta | known
    assert meta.keys() == {*known, "began", "place", "connection_id", "origin_s"}
    assert payloads(recording, Kind.TEXT_TO_SERVER) == [FIRST_MESSAGE.encode()]
    assert payloads(recording, Kind.AUDIO_TO_SERVER) == [FRAME] * 3
    assert payloads(recording, Kind.TEXT_FROM_SERVER) == [b'{"action":"hello"}']
    assert payloads(recording, Kind.AUDIO_FROM_SERVER) == [ANSWER] * 2
    times_s = [entry.at_s for entry in recording.entries]
    assert times_s == sorted(times_s)
    assert 0 <= times_s[0] <= times_s[-1] < 60
    (error,) = notes(recording, "error")
    assert error["text"].startswith("Traceback")
    assert error["text"].endswith("RuntimeError: the model is gone")
    (line,) = [note for note in notes(recording, "log") if note["level"] == "ERROR"]
    assert line["text"].startswith(f"connection {meta['connection_id']}: a handler failed, closed with 1011\n")
    assert "the model is gone" in line["text"]
    (closed,) = notes(recording, "closed")
    assert closed == {"note": "closed", "code": 1011, "reason": "internal error", "by": "library"}
    stats = notes(recording, "stats")[-1]
    assert (stats["frames_in"], stats["frames_out"], stats["texts_out"]) == (3, 2, 1)
    assert stats["gaps"] == {"producer late": 0, "loop blocked": 0, "socket backed up": 0}


@alone
def test_a_call_that_ends_well_leaves_nothing(way: Way, recorder: TellingRecorder) -> None:
    async def greet(client: Client) -> None:
        client.set_handler(on_audio=lambda frame: None)
        await client.send_json_packet({"here": 1})

    caller = way.serve(AudioConnector(greet, recorder=recorder))()
    caller.send(FIRST_MESSAGE)
    caller.send(FRAME)
    caller.receive()
    assert len(recorder.kept()) == 1  # while it goes on
    caller.hang_up()
    assert not recorder.wait_for_end()
    assert recorder.kept() == []


@alone
def test_always_keeps_those_that_end_well(way: Way, tmp_path: Path) -> None:
    recorder = TellingRecorder(tmp_path, last_s=1, keep="always")
    caller = way.serve(AudioConnector(listen, recorder=recorder))()
    caller.send(FIRST_MESSAGE)
    caller.hang_up()
    assert not recorder.wait_for_end()
    (closed,) = notes(recorder.the_one(), "closed")
    assert (closed["code"], closed["by"]) == (1000, "session")


@alone
def test_an_error_that_on_error_takes_makes_a_call_bad_too(way: Way, recorder: TellingRecorder) -> None:
    async def on_connect(client: Client) -> None:
        client.set_handler(on_audio=lambda frame: 1 / 0, on_error=lambda error: client.send_json_packet({"ok": 1}))

    caller = way.serve(AudioConnector(on_connect, recorder=recorder))()
    caller.send(FIRST_MESSAGE)
    caller.send(FRAME)
    caller.receive()
    caller.hang_up()
    assert recorder.wait_for_end()
    assert notes(recorder.the_one(), "error")[0]["text"].endswith("ZeroDivisionError: division by zero")


@alone
def test_an_on_disconnect_that_fails_makes_a_call_bad_too(way: Way, recorder: TellingRecorder) -> None:
    async def on_connect(client: Client) -> None:
        client.set_handler(on_disconnect=lambda: 1 / 0)

    caller = way.serve(AudioConnector(on_connect, recorder=recorder))()
    caller.send(FIRST_MESSAGE)
    caller.hang_up()
    assert recorder.wait_for_end()
    assert any("on_disconnect failed" in line["text"] for line in notes(recorder.the_one(), "log"))


@alone
@pytest.mark.parametrize("transport", ["json", "auto"])
def test_frames_of_the_json_transport_are_audio_and_other_texts_are_not(
    way: Way, tmp_path: Path, transport: AudioTransport
) -> None:
    async def on_connect(client: Client) -> None:
        client.set_handler(on_audio=lambda frame: client.send_audio_buffer(ANSWER))

    recorder = TellingRecorder(tmp_path, last_s=1, keep="always")
    caller = way.serve(AudioConnector(on_connect, recorder=recorder, audio_transport=transport))()
    texts = [FIRST_MESSAGE, '{"audio":"no base64"}', '{"event":"websocket:cleared"}', 'no JSON, "audio" or not']
    for text in texts:
        caller.send(text)
    caller.send(JSONTransport().encode(FRAME))
    assert caller.receive() == JSONTransport().encode(ANSWER)
    caller.hang_up()
    recorder.wait_for_end()
    recording = recorder.the_one()
    assert recording.meta["transport"] == "json"
    assert payloads(recording, Kind.TEXT_TO_SERVER) == [text.encode() for text in texts]
    assert payloads(recording, Kind.AUDIO_TO_SERVER) == [FRAME]
    assert payloads(recording, Kind.AUDIO_FROM_SERVER) == [ANSWER]
    assert payloads(recording, Kind.TEXT_FROM_SERVER) == []


@alone
def test_a_gap_has_its_cause_and_its_time(way: Way, recorder: TellingRecorder) -> None:
    async def on_connect(client: Client) -> None:
        def on_audio(frame: bytes) -> None:
            client.send_audio_buffer(ANSWER)

        client.set_handler(on_audio=on_audio)

    caller = way.serve(AudioConnector(on_connect, recorder=recorder))()
    caller.send(FIRST_MESSAGE)
    caller.send(FRAME)
    caller.receive()
    time.sleep(0.3)  # the gap itself
    caller.send(FRAME)
    caller.receive()
    caller.hang_up()
    assert recorder.wait_for_end()
    (gap,) = notes(recorder.the_one(), "gap")
    assert gap["cause"] == "producer late"
    assert 0.2 < gap["until_s"] - gap["since_s"] < 0.6
    assert gap["since_s"] > 0


@alone
def test_a_disk_that_fails_costs_no_call(
    way: Way, recorder: TellingRecorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger.name)

    def fail(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.EIO, "the disk is gone")

    async def on_connect(client: Client) -> None:
        def on_audio(frame: bytes) -> None:
            logger.warning("connection %s: a line to be noted", client.info().id)
            client.send_audio_buffer(ANSWER)

        client.set_handler(on_audio=on_audio)

    caller = way.serve(AudioConnector(on_connect, recorder=recorder))()
    caller.send(FIRST_MESSAGE)
    caller.send(FRAME)
    assert caller.receive() == ANSWER
    monkeypatch.setattr(storage, "_pwrite", fail)
    for _ in range(20):
        caller.send(FRAME)
        assert caller.receive() == ANSWER
    caller.hang_up()
    recorder.wait_for_end()
    told = [message for message in caplog.messages if "takes no more notes" in message]
    assert told == [
        f"a recording takes no more notes, because they can't be written: [Errno {errno.EIO}] the disk is gone"
    ]
    assert "messages of a call are not recorded" in caplog.text
    assert "closed by the session with 1000" in caplog.text


SERVER = f"""
import asyncio, sys
from vonage_audio_connector_server import AudioConnectorServerConfig, FlightRecorder, Video

async def on_connect(client):
    client.set_handler(on_audio=lambda frame: client.send_audio_buffer({ANSWER!r}))

async def main():
    recorder = FlightRecorder(sys.argv[1], last_s=2)
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect, recorder=recorder)
    async with await Video().start_audio_connector_server(config) as handle:
        print(handle.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_what_a_killed_process_leaves_can_be_read_and_is_adopted(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    with subprocess.Popen([sys.executable, "-c", SERVER, folder], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        with connect(f"ws://127.0.0.1:{server.stdout.readline().strip()}/", proxy=None, compression=None) as peer:
            peer.send(FIRST_MESSAGE)
            for _ in range(10):
                peer.send(FRAME)
                assert peer.recv(timeout=10) == ANSWER
            live = TellingRecorder(folder).kept()
            assert [path.name[0] for path in live] == ["."]  # it is being written: nobody else takes it
            server.kill()
            server.wait()
    recording = read_folder(live[0])
    assert recording.meta["rate_hz"] == 16_000
    assert payloads(recording, Kind.TEXT_TO_SERVER) == [FIRST_MESSAGE.encode()]
    frames = payloads(recording, Kind.AUDIO_TO_SERVER)
    answers = payloads(recording, Kind.AUDIO_FROM_SERVER)
    assert frames == [FRAME] * len(frames)
    assert answers == [ANSWER] * len(answers)
    assert 20 - MOST_PENDING <= len(frames) + len(answers) <= 20
    assert notes(recording, "closed") == []
    adopted = TellingRecorder(folder)
    assert adopted.the_one() == recording
    about = json.loads((adopted.kept()[0] / "call.json").read_text("utf-8"))
    assert (about["meta"]["rate_hz"], about["closed"]) == (16_000, None)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such modes")
@alone
def test_it_is_for_its_user_alone_and_small(way: Way, recorder: TellingRecorder) -> None:
    caller = way.serve(AudioConnector(answer_and_fail, recorder=recorder))()
    caller.send(FIRST_MESSAGE)
    for _ in range(3):
        caller.send(FRAME)
    caller.hang_up()
    assert recorder.wait_for_end()
    (call,) = recorder.kept()
    modes: dict[str, Any] = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (call, *call.iterdir())}
    assert modes == {call.name: 0o700, "ring": 0o600, "call.json": 0o600}
    assert stat.S_IMODE(recorder.folder.stat().st_mode) == 0o700
    assert (call / "ring").stat().st_size < 200_000
