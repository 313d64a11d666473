"""What all recordings of a folder take together, and what becomes of those that nobody writes any more."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from telling import TellingRecorder

from vonage_audio_connector_server import AudioConnectorConfigError, FlightRecorder
from vonage_audio_connector_server.recording import Kind
from vonage_audio_connector_server.recording.flight import FlightTape
from vonage_audio_connector_server.recording.folder import read_folder
from vonage_audio_connector_server.recording.shelf import name_of

FRAME = b"\1\2" * 320
LEAST_BYTES = 1_000_000  # two calls, and a little more


def taken_bytes(folder: Path) -> int:
    """What is taken on the disk: what `du` says, where the system tells."""
    total_bytes = 0
    for call in folder.iterdir():
        if call.name != ".lock":
            for path in (call, call / "ring", call / "call.json"):
                with contextlib.suppress(FileNotFoundError):  # it is being completed, or deleted
                    stat = path.stat()
                    total_bytes += getattr(stat, "st_blocks", stat.st_size // 512) * 512
    return total_bytes


def begin(recorder: FlightRecorder, number: int) -> FlightTape | None:
    began = f"2026-01-02T03:04:05.{number:03}+00:00"
    return recorder.begin({"began": began, "connection_id": f"call-{number}", "origin_s": 1.0})


def fill(tape: FlightTape) -> None:
    for number in range(200):
        tape.add(number / 50, Kind.AUDIO_TO_SERVER, FRAME)


def test_many_calls_never_take_more_than_they_may_and_the_latest_stay(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path, last_s=1, keep="always", max_bytes=2_000_000)
    live: list[FlightTape] = []
    for number in range(100):
        tape = begin(recorder, number)
        assert tape is not None
        fill(tape)
        live.append(tape)
        if len(live) > 2:
            live.pop(0).end(True)
        if number % 3:
            recorder.wait()
        assert taken_bytes(tmp_path) <= 2_000_000
    for tape in live:
        tape.end(True)
    recorder.wait()
    names = sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock")
    assert names == [f"2026-01-02T03-04-05.{number:03}Z-call-{number}" for number in range(100)][-len(names) :]
    assert len(names) > 3
    assert taken_bytes(tmp_path) > 1_000_000
    assert len(read_folder(tmp_path / names[-1]).entries) > 100


def test_where_calls_that_go_on_take_all_one_more_is_not_recorded_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = FlightRecorder(tmp_path, last_s=1, max_bytes=LEAST_BYTES)
    tapes = [begin(recorder, number) for number in range(100)]
    begun = [tape for tape in tapes if tape is not None]
    assert begun == tapes[: len(begun)]
    assert 2 <= len(begun) < 10
    assert taken_bytes(tmp_path) <= LEAST_BYTES
    told = [record for record in caplog.records if "is not recorded" in record.getMessage()]
    assert 0 < len(told) <= 20
    assert {record.levelno for record in told} == {logging.WARNING}
    begun[0].end(False)
    recorder.wait()
    more = begin(recorder, 999)
    assert more is not None
    for tape in [*begun[1:], more]:
        tape.end(False)
    recorder.wait()
    assert taken_bytes(tmp_path) == 0


def test_two_recorders_of_one_folder_share_what_it_may_take(tmp_path: Path) -> None:
    recorders = [FlightRecorder(tmp_path, last_s=1, keep="always", max_bytes=1_500_000) for _ in range(2)]
    for number in range(60):
        tape = begin(recorders[number % 2], number)
        assert tape is not None
        fill(tape)
        assert taken_bytes(tmp_path) <= 1_500_000
        tape.end(False)
        recorders[number % 2].wait()
    assert taken_bytes(tmp_path) > 750_000


WRITER = """
import sys
from vonage_audio_connector_server import FlightRecorder
from vonage_audio_connector_server.recording import Kind

recorder = FlightRecorder(sys.argv[1], last_s=1, max_bytes=3_000_000)
tapes = [recorder.begin({"connection_id": f"{sys.argv[2]}-{number}"}) for number in range(3)]
for tape in tapes:
    tape.add(0.5, Kind.AUDIO_TO_SERVER, b"abcd")
print("written", flush=True)
sys.stdin.read()
"""


def writer(folder: Path, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, folder, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_what_a_dead_process_left_is_pruned_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    with writer(tmp_path, "dead") as dead, writer(tmp_path, "alive") as alive:
        dead.kill()
        dead.wait()
        recorder = FlightRecorder(tmp_path, last_s=1, keep="always", max_bytes=2_600_000)
        names = sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock")
        assert sum(name.startswith(".") for name in names) == 3
        assert [read_folder(tmp_path / name).entries[0].payload for name in names] == [b"abcd"] * 6
        for number in range(20):
            tape = begin(recorder, number)
            assert tape is not None
            tape.end(False)
            recorder.wait()
            assert taken_bytes(tmp_path) <= 2_600_000
        names = sorted(path.name for path in tmp_path.iterdir())
        assert sum("alive" in name and name.startswith(".") for name in names) == 3
        recorder._shelf._adopted_s -= 60  # it has not looked for a while
        tapes = [begin(recorder, 100 + number) for number in range(10)]
        assert tapes[-1] is None
        assert not any("dead" in path.name for path in tmp_path.iterdir())
        assert sum("alive" in path.name for path in tmp_path.iterdir()) == 3
        for tape in tapes:
            if tape is not None:
                tape.end(False)
        recorder.wait()
        alive.kill()


def test_what_a_process_left_that_died_while_it_made_it_goes_after_a_while(tmp_path: Path) -> None:
    names = [f".2026-01-02T03-04-05.00{number}Z-call.385024" for number in range(3)]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / names[1] / "ring").write_bytes(b"")
    (tmp_path / names[2] / "ring").write_bytes(bytes(100_000))
    FlightRecorder(tmp_path, last_s=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == names  # somebody may be making them just now
    for name in names:
        os.utime(tmp_path / name, (1e9, 1e9))
    FlightRecorder(tmp_path, last_s=1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_recording_is_left_alone_and_not_counted(tmp_path: Path) -> None:
    others = [tmp_path / "notes.txt", tmp_path / "2026-holidays", tmp_path / ".hidden"]
    others[0].write_bytes(b"x" * 3_000_000)
    for folder in others[1:]:
        folder.mkdir()
    recorder = FlightRecorder(tmp_path, last_s=1, keep="always", max_bytes=LEAST_BYTES)
    for number in range(20):
        tape = begin(recorder, number)
        assert tape is not None
        tape.end(True)
        recorder.wait()
    assert all(path.exists() for path in others)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"last_s": 0}, "last_s must be 1 to 3600 seconds, not 0"),
        ({"last_s": True}, "last_s"),
        ({"last_s": "30"}, "last_s"),
        ({"last_s": float("nan")}, "last_s"),
        ({"keep": "good"}, "keep must be 'bad' or 'always', not 'good'"),
        ({"keep": []}, "keep"),
        ({"max_bytes": 1000}, "max_bytes must be a whole number from"),
        ({"max_bytes": 1e9}, "max_bytes"),
        ({"folder": ""}, "folder"),
        ({"folder": 5}, "folder"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match=told):
        FlightRecorder(**{"folder": tmp_path, **settings})


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AudioConnectorConfigError, match="folder must be one that can be written"):
        FlightRecorder(tmp_path / "file" / "calls")


def test_a_folder_that_goes_away_later_costs_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "calls"
    recorder = TellingRecorder(folder, last_s=1)
    folder.rename(tmp_path / "moved")
    assert begin(recorder, 1) is None
    assert "a call is not recorded" in caplog.text


def test_a_full_disk_costs_no_call_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    recorder = TellingRecorder(tmp_path, last_s=1)
    assert begin(recorder, 1) is None
    assert "a call is not recorded: [Errno 28] No space left" in caplog.text
    assert recorder.kept() == []


def test_without_fallocate_the_place_is_taken_by_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    recorder = TellingRecorder(tmp_path, last_s=60)
    tape = begin(recorder, 1)
    assert tape is not None
    assert taken_bytes(tmp_path) > 6_000_000
    tape.add(1.0, Kind.AUDIO_TO_SERVER, FRAME)
    tape.end(True)
    recorder.wait()
    assert recorder.the_one().entries[0].payload == FRAME


def test_the_first_message_outlives_the_ring(tmp_path: Path) -> None:
    recorder = TellingRecorder(tmp_path, last_s=1)
    tape = begin(recorder, 1)
    assert tape is not None
    tape.add(0.0, Kind.TEXT_TO_SERVER, b'{"caller":"Ann"}')
    tape.note(0.0, "meta", rate_hz=8_000)
    tape.add(0.1, Kind.TEXT_TO_SERVER, b'{"not":"kept"}')
    for number in range(5_000):
        tape.add(1 + number / 50, Kind.AUDIO_TO_SERVER, FRAME)
        if number % 10 == 0:
            tape.note(1 + number / 50, "log", level="INFO", text="x" * 2_000)
    tape.end(True)
    recorder.wait()
    recording = recorder.the_one()
    texts = [entry.payload for entry in recording.entries if entry.kind is Kind.TEXT_TO_SERVER]
    assert texts == [b'{"caller":"Ann"}']
    assert recording.meta["rate_hz"] == 8_000
    assert recording.duration_s > 100
    audio_s = [entry.at_s for entry in recording.entries if entry.kind is Kind.AUDIO_TO_SERVER]
    assert audio_s[-1] - audio_s[0] >= 1.0


@pytest.mark.parametrize("last_s", [1, 2.5, 30])
def test_the_last_seconds_at_24_khz_fit_wherever_the_call_ends(tmp_path: Path, last_s: float) -> None:
    recorder = TellingRecorder(tmp_path, last_s=last_s)
    tape = begin(recorder, 1)
    assert tape is not None
    ticks = int(last_s * 50)
    for tick in range(ticks * 2 + 77):
        tape.add(tick / 50, Kind.AUDIO_TO_SERVER, b"x" * 960)
        tape.add(tick / 50, Kind.AUDIO_FROM_SERVER, b"y" * 960)
        if tick > ticks and tick % 41 == 0:
            (live,) = recorder.kept()
            at_s = [entry.at_s for entry in read_folder(live).entries[3:]]
            assert at_s[-1] - at_s[0] >= last_s - 0.04
    tape.end(False)
    recorder.wait()


@pytest.mark.parametrize("call_id", ["../../etc", "", "ä/ö", "x" * 500])
def test_a_connection_id_makes_no_path(call_id: str) -> None:
    name = name_of("2026-01-02T03:04:05.678+00:00", call_id)
    assert name.startswith("2026-01-02T03-04-05.678Z-")
    assert "/" not in name
    assert ".." not in name
    assert len(name) < 100
