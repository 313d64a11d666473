"""What a server leaves behind of a call whose handler raised, and of a killed process: both replay, and have a report.

Real servers in processes of their own, and real sockets.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import RUN, run
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from vonage_audio_connector_server.testing import first_message, frames, tone

BOT = """
from pathlib import Path
from vonage_audio_connector_server import AudioConnector, FlightRecorder

async def on_connect(client):
    count = 0

    def on_audio(frame):
        nonlocal count
        count += 1
        client.send_audio_buffer(frame)
        if count == 25:
            raise ValueError("no such customer")

    client.set_handler(on_audio=on_audio)

app = AudioConnector(on_connect, recorder=FlightRecorder(Path(__file__).with_name("calls")))
"""


def speak(connection: Connection, pcm: bytes) -> None:
    """Say something as quickly as one speaks, and hear it."""
    for frame in frames(pcm):
        connection.send(frame)
        assert isinstance(connection.recv(timeout=5), bytes)
        time.sleep(0.02)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of two calls: the handler of the first raised, the process of the second was killed."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "recorded_bot.py").write_text(BOT)
    with subprocess.Popen(
        [*RUN, "serve", "recorded_bot.py:app", "--port", "0"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    ) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"ws://\S+", process.stderr.readline())
            assert found is not None
            with connect(found[0], compression=None, proxy=None) as failing:
                failing.send(first_message())
                with pytest.raises(ConnectionClosedError, match="1011"):
                    speak(failing, tone(2.0))
            with connect(found[0], compression=None, proxy=None) as killed:
                killed.send(first_message())
                speak(killed, tone(0.3))
                process.kill()
                process.wait()
        finally:
            process.kill()
            process.communicate()
    return folder / "calls"


def folders(calls: Path) -> list[Path]:
    return sorted((ring.parent for ring in calls.glob("*/ring")), key=lambda folder: folder.name.lstrip("."))


def test_both_have_a_report_and_both_replay(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    failed, killed = folders(calls)
    assert killed.name.startswith(".")

    code, out, error = run("report", calls, "--json")
    assert (code, error) == (0, "")
    first, second = json.loads(out)["calls"]
    assert (first["close_code"], second["outcome"]) == (1011, "open")
    assert calls.with_name("calls.html").exists()
    for folder in (failed, killed):
        assert run("report", folder, "--json")[0] == 0
        assert (calls / f"{folder.name.lstrip('.')}.html").exists()

    target = f"{calls.parent / 'recorded_bot.py'}:app"
    assert run("replay", killed, target, "--json")[0] == 0
    code, out, error = run("replay", failed, target)
    assert (code, error) == (1, "")
    assert re.match(r"It fails again, at \d\.\d\d s, with the same error: ValueError: no such customer\n", out)
    assert 'raise ValueError("no such customer")' in out
    assert len(folders(calls)) == 2  # a replay is none of a customer's calls
