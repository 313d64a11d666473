"""The folder of one recorded call, written out of memory and read again."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from vonage_audio_connector_server import AudioConnectorConfigError
from vonage_audio_connector_server.recording import Kind, Recording
from vonage_audio_connector_server.recording.folder import read_folder, write_folder


@pytest.fixture
def recording() -> Recording:
    made = Recording({"seen_by": "router", "rate_hz": 16_000, "router": {"buffer": 3}, "origin_s": 12.5})
    made.add(0.0, Kind.TEXT_TO_SERVER, b' {"event":"websocket:connected"}')
    for number in range(500):
        made.add(number / 50, Kind.AUDIO_TO_SERVER, bytes([number % 256]) * 640)
        made.add(number / 50, Kind.AUDIO_FROM_SERVER, bytes([number % 256]) * 640)
    made.note(10.0, "stats", frames_in=500)
    made.note(10.0, "closed", code=1000, reason="Grüße", by="session")
    return made


def test_what_was_written_is_read(tmp_path: Path, recording: Recording) -> None:
    write_folder(tmp_path / "a" / "call", recording)
    assert read_folder(tmp_path / "a" / "call") == recording
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["call"]


def test_nothing_at_all_is_a_recording_too(tmp_path: Path) -> None:
    write_folder(tmp_path / "call", Recording())
    assert read_folder(tmp_path / "call") == Recording()


def test_call_json_says_what_it_was(tmp_path: Path, recording: Recording) -> None:
    write_folder(tmp_path / "call", recording)
    assert json.loads((tmp_path / "call" / "call.json").read_text("utf-8")) == {
        "meta": recording.meta,
        "closed": {"code": 1000, "reason": "Grüße", "by": "session"},
        "stats": {"frames_in": 500},
    }


@pytest.mark.skipif(sys.platform == "win32", reason="has no such modes")
def test_it_is_for_its_user_alone(tmp_path: Path, recording: Recording) -> None:
    write_folder(tmp_path / "call", recording)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "call", *(tmp_path / "call").iterdir())
    }
    assert modes == {"call": 0o700, "ring": 0o600, "call.json": 0o600}


def test_another_recording_is_replaced_and_anything_else_is_not(tmp_path: Path, recording: Recording) -> None:
    call = tmp_path / "call"
    call.mkdir()
    write_folder(call, recording)
    write_folder(call, Recording({"rate_hz": 8_000}))
    assert read_folder(call).meta == {"rate_hz": 8_000}
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(AudioConnectorConfigError, match="name another folder"):
        write_folder(other, recording)
    with pytest.raises(AudioConnectorConfigError, match="name another folder"):
        write_folder(other / "thesis.txt", recording)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["call", "other"]
    assert (other / "thesis.txt").read_text() == "years of work"


def test_where_nothing_can_be_written(tmp_path: Path, recording: Recording) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AudioConnectorConfigError, match="no recording can be written"):
        write_folder(tmp_path / "file" / "call", recording)


def test_what_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(AudioConnectorConfigError, match="is not the folder of a recorded call"):
        read_folder(tmp_path)
    with pytest.raises(AudioConnectorConfigError, match="is not the folder of a recorded call"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "ring").write_bytes(b"RIFF" * 1000)
    with pytest.raises(AudioConnectorConfigError, match="does not begin as a recording does"):
        read_folder(tmp_path)
