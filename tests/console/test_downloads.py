"""What is kept of calls, and how much of it."""

from __future__ import annotations

import json

import pytest

from vonage_audio_connector_server.console import downloads
from vonage_audio_connector_server.console.downloads import FILES, Downloads
from vonage_audio_connector_server.recording import Kind, Recording


def recording(seconds: float = 1.0) -> Recording:
    one = Recording({"seen_by": "router", "rate_hz": 16_000, "frame_ms": 20})
    one.add(0.05, Kind.TEXT_TO_SERVER, b' {"event":"websocket:connected"}')
    for index in range(round(seconds * 50)):
        one.add(0.06 + index * 0.02, Kind.AUDIO_TO_SERVER, bytes(640))
    one.add(seconds, Kind.TEXT_FROM_SERVER, '{"text":"Grüß Gott"}'.encode())
    one.note(seconds, "closed", code=1000, reason="", by="server")
    return one


def test_the_latest_are_kept() -> None:
    kept = Downloads()
    for index in range(10):
        kept.keep(str(index), recording())
    assert [str(index) for index in range(10) if kept.find(str(index)) is not None] == list("23456789")


def test_large_ones_push_out_more_and_the_latest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MOST_BYTES", 100_000)
    kept = Downloads()
    for name, seconds in (("first", 1.0), ("second", 1.0), ("third", 2.0), ("fourth", 9.0)):
        kept.keep(name, recording(seconds))
        assert kept.find(name) is not None
        assert (kept.find("first") is None) == (name in ("third", "fourth"))
    assert kept.find("third") is None


def test_its_events_are_lines_of_json() -> None:
    lines = [json.loads(line) for line in str(FILES["events.jsonl"].make(recording())).splitlines()]
    assert lines == [
        {"at_s": 0.05, "from": "session", "text": ' {"event":"websocket:connected"}'},
        {"at_s": 1.0, "from": "program", "text": '{"text":"Grüß Gott"}'},
        {"at_s": 1.0, "note": "closed", "code": 1000, "reason": "", "by": "server"},
    ]
