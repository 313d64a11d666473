"""Ctrl-C ends every long-running program of the examples and the documentation in order: no traceback is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FIRST_MESSAGE, FRAME_BYTES
from serving import dial
from test_examples import EXAMPLES, free_port, wait_until_listening
from websockets.exceptions import ConnectionClosed

QUICKSTART = Path(__file__).parent.parent / "docs" / "quickstart.md"


def listing(title: str) -> str:
    """A program of the quickstart, as it stands there."""
    found = re.findall(
        rf'^```python title="{re.escape(title)}"\n(.*?)^```$', QUICKSTART.read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(found) == 1
    program: str = found[0]
    return program


@contextlib.contextmanager
def started(*arguments: str, port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program in a process group of its own, as a shell starts it: Ctrl-C reaches all of the group."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PORT": str(port), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def press_ctrl_c(program: subprocess.Popen[str]) -> tuple[str, str]:
    """Returns what the program has printed until its end."""
    os.killpg(program.pid, signal.SIGINT)
    output, errors = program.communicate(timeout=30)
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors
    return output, errors


@pytest.fixture(
    params=["echo", "diagnose", "guarded", "interrupt", "moved", "parrot", "record", "fastapi_mount", "server"]
)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program that listens, and its port."""
    port = free_port()
    if request.param == "server":  # of the quickstart
        (tmp_path / "bot.py").write_text(listing("bot.py"))
        (tmp_path / "server.py").write_text(listing("server.py").replace("port=8765", f"port={port}"))
        arguments = ["server.py"]
    elif request.param == "fastapi_mount":
        arguments = ["-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "fastapi_mount:app"]
    else:
        arguments = [str(EXAMPLES / f"{request.param}.py")]
    with started(*arguments, port=port, folder=tmp_path) as process:
        wait_until_listening(process, port)
        yield process, port


def test_every_program_that_waits_for_calls(program: tuple[subprocess.Popen[str], int]) -> None:
    process, _ = program

    press_ctrl_c(process)

    assert process.returncode == 0


@pytest.mark.parametrize("program", ["echo", "moved", "parrot", "server"], indirect=True)
def test_a_program_with_a_call_closes_it_in_order(program: tuple[subprocess.Popen[str], int]) -> None:
    process, port = program
    with dial(port) as call:
        call.send(FIRST_MESSAGE)
        for _ in range(5):
            call.send(bytes(FRAME_BYTES))
        codes: list[int | None] = []

        def listen() -> None:
            try:
                while True:
                    call.recv()
            except ConnectionClosed as exc:
                codes.append(None if exc.rcvd is None else exc.rcvd.code)

        listener = threading.Thread(target=listen)
        listener.start()
        press_ctrl_c(process)
        listener.join()

    assert process.returncode == 0
    assert codes == [1012]


def test_the_demo(tmp_path: Path) -> None:
    with started(str(EXAMPLES / "demo.py"), port=0, folder=tmp_path) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("An assistant is served on this machine")

        _, errors = press_ctrl_c(demo)

    assert demo.returncode == 130
    assert errors == ""
