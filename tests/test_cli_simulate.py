"""The options of `simulate`: what each does to the call, what it leaves behind, and the exit codes."""

from __future__ import annotations

import http.server
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import wave
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_cli import RUN, Handler, echo, in_one_line, run
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from vonage_audio_connector_server.recording import read_folder

FAST = ["--quiet", "0.3", "--timeout", "2", "--limit", "5"]
BOT = """
async def on_connect(client):
    client.set_handler(on_audio=lambda frame: client.send_audio_buffer(frame))
"""


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A file with 0.3 s of a tone at 8 kHz."""
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(array("h", [round(9000 * math.sin(0.3 * at)) for at in range(2400)]).tobytes())
    return path


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    with serve(handler, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that says back what it hears."""
    with serving(echo) as address:
        yield address


def listening(texts: list[str], then: Callable[[ServerConnection], None] = lambda _: None) -> Handler:
    """A server that keeps the texts that come."""

    def handler(websocket: ServerConnection) -> None:
        try:
            then(websocket)
            texts.extend(message for message in websocket if isinstance(message, str))
        except ConnectionClosed:
            pass  # while it was sending

    return handler


def reported(*arguments: object) -> tuple[int, dict[str, object]]:
    code, out, error = run("simulate", *arguments, "--json", *FAST)
    assert error == ""
    told = json.loads(out)
    assert isinstance(told, dict)
    return code, told


def test_a_script_says_what_to_do(url: str, speech: Path) -> None:
    script = speech.with_name("call.yaml")
    script.write_text("rate: 8000\nsteps:\n  - say: speech.wav\n  - hear: {within: 2 s, quiet: 0.3 s}\n  - hang up\n")

    code, report = reported(url, "--script", script)

    assert (code, report["outcome"], report["rate_hz"]) == (0, "answered", 8000)


def test_a_script_that_is_wrong_is_told_with_its_place(url: str, speech: Path) -> None:
    script = speech.with_name("call.yaml")
    script.write_text("steps:\n  - sing: speech.wav\n")

    code, _, error = run("simulate", url, "--script", script)

    assert code == 2
    assert "line 2" in in_one_line(error)


@pytest.mark.parametrize(("expression", "code"), [("streams == 1 and duration_s > 0", 0), ("duration_s > 100", 1)])
def test_a_check_decides_the_exit_code(url: str, speech: Path, expression: str, code: int) -> None:
    exit_code, report = reported(url, "-i", speech, "--check", expression)

    assert exit_code == code
    assert [one["ok"] for one in report["checks"]] == [code == 0]  # type: ignore[attr-defined]


def test_a_check_that_can_not_be_read_ends_with_2(url: str, speech: Path) -> None:
    code, out, error = run("simulate", url, "-i", speech, "--check", "no_such_number == 1")

    assert (code, out) == (2, "")
    assert "no_such_number" in in_one_line(error)


def test_all_that_it_can_leave_behind(url: str, speech: Path) -> None:
    page, events, record = (speech.with_name(name) for name in ("call.html", "call.jsonl", "call"))

    code, report = reported(url, "-i", speech, "--report", page, "--events", events, "--record", record)

    assert code == 0
    assert page.read_text("utf-8").lstrip().startswith("<!doctype html>")
    told = [json.loads(line) for line in events.read_text("utf-8").splitlines()]
    assert next(one["json"]["event"] for one in told if "json" in one) == "websocket:connected"
    assert {one["note"] for one in told if "note" in one} >= {"said", "closed"}
    recording = read_folder(record)
    assert (recording.meta["seen_by"], recording.meta["rate_hz"]) == ("router", 8000)
    assert recording.duration_s == pytest.approx(report["duration_s"], abs=0.1)


def test_a_strict_router_breaks_a_call_with_wrong_frames_off(speech: Path) -> None:
    with serving(listening([], lambda websocket: websocket.send(bytes(100)))) as address:
        code, report = reported(address, "-i", speech, "--router", "strict")

    assert code == 1
    assert "320" in str(report["problems"])


def test_keys_and_mute_reach_the_server(speech: Path) -> None:
    texts: list[str] = []
    with serving(listening(texts)) as address:
        run("simulate", address, "-i", speech, "--press", "5#", "--mute", "0.1:0.2", "--json", "--timeout", "0.3")

    events = [json.loads(text) for text in texts]
    assert [one["digit"] for one in events if one["event"] == "websocket:dtmf"] == ["5", "#"]
    assert [one["active"] for one in events if one["event"] == "websocket:media:update"] == [False, True]


def test_a_caller_interrupts_the_answer(speech: Path) -> None:
    tone = array("h", [round(9000 * math.sin(0.3 * at)) for at in range(160)]).tobytes()

    def talk(websocket: ServerConnection) -> None:
        for _ in range(40):  # frames have come
            websocket.recv()
        for _ in range(150):
            websocket.send(tone)

    with serving(listening([], talk)) as address:
        _, report = reported(address, "-i", speech, "--barge-in", "0.3")

    interruptions = report["interruptions"]
    assert isinstance(interruptions, list)
    assert [one["meant"] for one in interruptions] == [True]


def test_three_calls_at_once_and_their_files(url: str, speech: Path) -> None:
    heard = speech.with_name("heard.wav")

    code, report = reported(url, "-i", speech, "--streams", "3", "--output", heard)

    calls = report["calls"]
    assert isinstance(calls, list)
    assert (code, [call["outcome"] for call in calls]) == (0, ["answered"] * 3)
    assert all(heard.with_stem(f"heard-{number}").exists() for number in (1, 2, 3))


def test_all_inputs_at_once_are_one_call(url: str, speech: Path) -> None:
    other = speech.with_name("other.wav")
    other.write_bytes(speech.read_bytes())

    code, report = reported(url, "-i", speech, "-i", other, "--mix")

    assert (code, report["outcome"]) == (0, "answered")


def test_a_slow_network_makes_the_answer_late(url: str, speech: Path) -> None:
    code, report = reported(url, "-i", speech, "--net-delay", "0.2")

    assert code == 0
    assert report["first_received_s"] > 0.35  # type: ignore[operator]


def test_a_dropped_connection_ends_with_1(url: str, speech: Path) -> None:
    code, report = reported(url, "-i", speech, "--drop", "0.2")

    assert (code, report["outcome"], report["close_code"]) == (1, "connection lost", 1006)


def test_a_program_is_served_meanwhile(speech: Path) -> None:
    bot = speech.with_name("a_program.py")
    bot.write_text(BOT)

    code, report = reported(f"{bot}:on_connect", "-i", speech)

    assert (code, report["outcome"]) == (0, "answered")


def test_a_redirect_is_told_and_not_followed(speech: Path) -> None:
    class Elsewhere(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(307)
            self.send_header("Location", "/vonage/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    asked: list[str] = []
    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            code, report = reported(f"ws://127.0.0.1:{server.server_port}/vonage", "-i", speech)
        finally:
            server.shutdown()
            thread.join()

    assert (code, report["outcome"], asked) == (1, "not connected", ["/vonage"])
    assert "sends the caller elsewhere (HTTP 307), to /vonage/" in str(report["error"])


def test_ctrl_c_leaves_all_that_there_is(speech: Path) -> None:
    heard, record, events = (speech.with_name(name) for name in ("heard.wav", "call", "call.jsonl"))
    connected = threading.Event()
    command = [*RUN, "simulate", "URL", "-i", str(speech), "-o", str(heard), "--record", str(record)]
    command += ["--events", str(events), "--timeout", "60"]

    def tell(websocket: ServerConnection) -> None:
        websocket.recv()
        connected.set()

    with serving(listening([], tell)) as address:
        command[command.index("URL")] = address
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        ) as process:
            assert connected.wait(20)
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=20)

    assert (process.returncode, "Traceback" in error) == (130, False), error
    assert re.search("duration|frames", out)
    assert all(path.exists() for path in (heard, record, events))
    assert list(read_folder(record).notes("closed"))
