"""Every example is run as a program of its own, and a simulated session speaks human speech to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from conftest import FIRST_MESSAGE
from websockets.asyncio.client import connect

from vonage_audio_connector_server.simulator import SimulationReport, simulate
from vonage_audio_connector_server.simulator.wav import read_wav

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parent.parent / "examples"
SPEECH, RATE_HZ = read_wav(EXAMPLES / "audio" / "librivox-2.wav")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_listening(program: subprocess.Popen[str], port: int) -> None:
    while program.poll() is None:
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    assert program.poll() is None


@contextlib.contextmanager
def running(*arguments: str, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program that listens on the port; it is ended with SIGTERM and must end in order."""
    variables = os.environ | {"PORT": str(port), "PYTHONUNBUFFERED": "1"} | environment
    with subprocess.Popen([sys.executable, *arguments], env=variables, stdout=subprocess.PIPE, text=True) as program:
        try:
            wait_until_listening(program, port)
            yield program
        finally:
            program.terminate()
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()  # or leaving the `with` would wait for it for ever
                raise


async def call(
    port: int, seconds: float, *, scheme: str = "ws", path: str = "/", tls: ssl.SSLContext | None = None
) -> SimulationReport:
    question = SPEECH[: int(seconds * RATE_HZ) * 2]
    return await simulate(
        f"{scheme}://localhost:{port}{path}",
        question,
        RATE_HZ,
        ssl_context=tls,
        quiet_s=0.5,
        timeout_s=5,
        compare=True,
        router="strict",
    )


def test_every_example_is_short() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.rglob("*.py")}
    assert set(lines) >= {"echo.py", "parrot.py", "record.py", "fastapi_mount.py", "standalone.py", "demo.py"}
    assert set(lines) >= {"interrupt.py", "diagnose.py"}
    longer = ("analyse.py", "assistant.py", "transcribe.py", "minutes.py", "speech_models.py", "demo.py")
    for name in (*longer, "pipecat_bot.py", "livekit_parts.py"):
        assert lines.pop(name) < 280  # programs to start from, and shown on no page
    assert {name: count for name, count in lines.items() if count > 65} == {}


async def test_echo() -> None:
    port = free_port()
    with running(str(EXAMPLES / "echo.py"), port=port) as program:
        report = await call(port, 1.5)
    assert report.ok
    assert report.same_as_question is not None
    assert report.same_as_question >= 0.9  # an echo has no lead: on a busy machine a frame may be late
    assert program.returncode == 0


async def test_parrot() -> None:
    port = free_port()
    with running(str(EXAMPLES / "parrot.py"), port=port) as program:
        report = await call(port, 2.99)
    assert report.ok
    assert report.outcome == "answered"
    assert report.gaps == ()
    assert report.same_as_question is not None
    assert report.same_as_question >= 0.99
    assert report.answer_after_s is not None
    assert 0.3 < report.answer_after_s < 1.5  # 600 ms of silence are the end of a sentence
    assert program.returncode == 0


@pytest.mark.parametrize("is_told", [True, False])
async def test_parrot_answers_a_session_that_is_muted(is_told: bool) -> None:
    """No frame comes then, so that the end of the sentence is a matter of the clock."""
    port = free_port()
    mute = {"event": "websocket:media:update", "method": "update", "active": False}
    with running(str(EXAMPLES / "parrot.py"), port=port):
        async with connect(f"ws://localhost:{port}", compression=None, proxy=None) as session:
            await session.send(FIRST_MESSAGE)
            start_s = time.monotonic()
            for number in range(50):  # a second, which ends in the middle of a word
                at = 6_400 + number * 640
                await session.send(SPEECH[at : at + 640])
                await asyncio.sleep(start_s + 0.02 * (number + 1) - time.monotonic())
            if is_told:
                await session.send(f" {json.dumps(mute)}")
            muted_s = time.monotonic()
            answer, came_s = b"", list[float]()
            while len(came_s) < 45:
                message = await asyncio.wait_for(session.recv(), 5)
                if isinstance(message, bytes):
                    answer += message
                    came_s.append(time.monotonic())
    if is_told:  # who mutes has ended
        assert came_s[0] - muted_s < 0.5
    else:
        assert 0.4 < came_s[0] - muted_s < 1.5
    assert answer in SPEECH


async def test_interrupt() -> None:
    port = free_port()
    with running(str(EXAMPLES / "interrupt.py"), port=port) as program:
        question = bytes(int(1.5 * RATE_HZ) * 2) + SPEECH  # silent at first, so that the answer can begin
        report = await simulate(f"ws://localhost:{port}", question, RATE_HZ, quiet_s=0.5, timeout_s=5, router="strict")
        assert program.stdout is not None
        told = re.fullmatch(r"heard (\d\.\d\d) s of 8\.97 s: (.+)\n", program.stdout.readline())
    assert report.ok
    assert (report.close_code, report.closed_by, report.outcome) == (1000, "server", "server closed")
    assert (report.clears, report.texts_received) == (1, 2)  # a strict router knows one of the two forms
    assert told is not None
    heard_s = float(told[1])
    assert 1.5 < heard_s < 2.5  # of 8.97
    goodbye_s = 3.0  # whole frames
    assert heard_s == pytest.approx(report.heard_s - goodbye_s, abs=0.1)  # 0.02, if the machine has nothing else to do
    words = told[2].split()
    assert words == ["He", "was", "not", "an", "ill", "disposed", "young", "man."][: len(words)]
    assert len(words) == pytest.approx(8 * heard_s / 2.99, abs=0.6)
    assert program.returncode == 0


@pytest.mark.parametrize("work_in", ["loop", "thread"])
async def test_diagnose(work_in: str) -> None:
    port = free_port()
    with running(str(EXAMPLES / "diagnose.py"), port=port, WORK_IN=work_in) as program:
        report = await simulate(f"ws://localhost:{port}", SPEECH, RATE_HZ, quiet_s=0.5, timeout_s=5, router="strict")
        assert program.stdout is not None
        output = ""
        while "late wake-ups" not in output:
            line = program.stdout.readline()
            assert line
            output += line
    assert report.ok
    assert "closed by the session with 1000" in output
    place = next(
        number
        for number, text in enumerate((EXAMPLES / "diagnose.py").read_text().splitlines(), 1)
        if "time.sleep(" in text
    )
    blamed = f"diagnose.py:{place} in recognize: nothing else runs, so let a thread do it"
    told = re.search(r"'loop blocked': (\d).*, (\d\.\d\d) s in all", output)
    assert told is not None
    if work_in == "loop":
        assert blamed in output
        assert 2 <= int(told[1]) <= 4
        assert len(report.gaps) >= 2
        assert float(told[2]) * 1000 == pytest.approx(report.gap_ms, abs=100)
    else:
        assert "is blocked" not in output
        assert "gaps: none" in output
        assert report.gaps == ()
    assert program.returncode == 0


async def test_guarded() -> None:
    port = free_port()
    with running(str(EXAMPLES / "guarded.py"), port=port) as program:
        assert program.stdout is not None
        invitation = program.stdout.readline().split()[-1]
        first = await simulate(invitation, SPEECH[:16_000], RATE_HZ, quiet_s=0.3, timeout_s=1, router="strict")
        second = await simulate(invitation, SPEECH[:16_000], RATE_HZ, quiet_s=0.3, timeout_s=1, router="strict")
    assert first.ok
    assert second.outcome == "not connected"  # the token has been used


async def test_moved() -> None:
    port = free_port()
    with running(str(EXAMPLES / "moved.py"), port=port) as program:
        report = await call(port, 1.0)
        assert program.stdout is not None
        assert program.stdout.readline() == "Server started.\n"
        assert program.stdout.readline() == "Client connected to /\n"
    assert report.ok
    assert report.frames_heard > 40


async def test_record(tmp_path: Path) -> None:
    port = free_port()
    with running(str(EXAMPLES / "record.py"), port=port, RECORDINGS=str(tmp_path)) as program:
        report = await simulate(f"ws://localhost:{port}", SPEECH, RATE_HZ, timeout_s=0.1, router="strict")
        assert program.stdout is not None
        assert f"{report.frames_sent} frames" in program.stdout.readline()
    (recording,) = tmp_path.glob("*.wav")
    recorded, rate_hz = read_wav(recording)
    assert rate_hz == RATE_HZ
    assert len(recorded) == report.frames_sent * 640
    assert recorded.startswith(SPEECH[: len(SPEECH) - len(SPEECH) % 640])
    assert program.returncode == 0


async def test_fastapi_mount() -> None:
    port = free_port()
    arguments = ["-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "fastapi_mount:app"]
    with running(*arguments, port=port) as program:
        report = await call(port, 1.0, path="/vonage/room")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/calls") as answer:  # noqa: ASYNC210
            assert json.load(answer) == {}
        assert program.stdout is not None
        assert program.stdout.readline() == "ready for calls\n"  # the lifespan of the parent ran on_start
    assert report.ok
    assert report.frames_heard > 40


def standalone(folder: Path, port: int) -> Path:
    """The SDK guide's program on another port than its own, which another run of the tests may be using."""
    text = (EXAMPLES / "standalone.py").read_text()
    assert text.count("port=8765,") == 1
    program = folder / "standalone.py"
    program.write_text(text.replace("port=8765,", f"port={port},"))
    return program


async def test_standalone_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    port = free_port()
    arguments = [standalone(tmp_path, port), tmp_path / "cert.pem", tmp_path / "key.pem"]
    with running(*map(str, arguments), port=port):
        report = await call(port, 1.0, scheme="wss", tls=tls)
    assert report.ok
    assert report.outcome == "answered"
    assert report.frames_heard > 40


BLOCKED = """
import runpy, sys

missing = "fastapi jinja2 numpy plotly pytest rich simpleeval sounddevice soundfile soxr trio typer"
sys.modules |= dict.fromkeys([*missing.split(), "uvloop", "webrtcvad", "yaml"])
sys.argv = sys.argv[1:]
if sys.argv[0] == "uvicorn":
    runpy.run_module("uvicorn", run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["parrot.py"], "parrot.py needs webrtcvad; in the checkout: pip install '.[speech]'"),
        (["analyse.py"], "analyse.py needs extras cli and speech; in the checkout: pip install '.[cli,speech]'"),
        (
            ["uvicorn", "--app-dir", ".", "analyse:app"],
            "analyse.py needs extras cli and speech; in the checkout: pip install '.[cli,speech]'",
        ),
        (["demo.py"], "demo.py needs the extra demo; in the checkout: pip install '.[demo]'"),
        (
            ["uvicorn", "--app-dir", ".", "parrot:app"],
            "parrot.py needs webrtcvad; in the checkout: pip install '.[speech]'",
        ),
        (
            ["uvicorn", "--app-dir", ".", "fastapi_mount:app"],
            "fastapi_mount.py needs FastAPI; in the checkout: pip install '.[examples]'",
        ),
    ],
)
def test_without_its_extra_an_example_names_the_command_that_installs_it(arguments: list[str], told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (1, "", told)


@pytest.mark.parametrize("name", ["diagnose", "echo", "guarded", "interrupt", "moved", "record"])
def test_every_other_example_runs_without_extras(name: str) -> None:
    port = free_port()
    with running("-c", BLOCKED, str(EXAMPLES / f"{name}.py"), port=port):
        pass
