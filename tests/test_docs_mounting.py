"""Every program with a title in docs/mounting.md is run, and does what the page says."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from conftest import FIRST_MESSAGE
from serving import dial
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.connection import Connection

PAGE = Path(__file__).parent.parent / "docs" / "mounting.md"
PROGRAMS = dict(re.findall(r'^```python title="([^"]+)"\n(.*?)^```$', PAGE.read_text(), re.MULTILINE | re.DOTALL))

T = TypeVar("T")

FRAME = bytes(range(64)) * 10  # 20 ms at 16 kHz
BURST = 50  # frames that come at once: a second, which an echo takes as long to say

both_loops = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def page_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_port: int) -> Iterator[Path]:
    """A folder with all programs in it, which can be imported; where the page says 8000, they have a free port."""
    names = [title.removesuffix(".py") for title in PROGRAMS]
    for name in names:
        (tmp_path / f"{name}.py").write_text(PROGRAMS[f"{name}.py"].replace("port=8000", f"port={page_port}"))
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in names:
        sys.modules.pop(name, None)


def imported(name: str) -> Any:
    return importlib.import_module(name)


@contextlib.contextmanager
def page_client(app: Any, backend: Any = "asyncio") -> Iterator[TestClient]:
    with TestClient(app, backend=backend) as client:
        yield client


@contextlib.contextmanager
def page_call(client: TestClient, path: str) -> Iterator[WebSocketTestSession]:
    """A call that has begun, and whose audio comes back."""
    with client.websocket_connect(path) as session:
        session.send_text(FIRST_MESSAGE)
        session.send_bytes(FRAME)
        assert session.receive_bytes() == FRAME
        yield session


def refused_status(client: TestClient, path: str) -> int:
    """The HTTP status that a handshake is refused with; 403 is a close before the accept, too."""
    try:
        with client.websocket_connect(path):
            return 101
    except WebSocketDenialResponse as exc:
        return exc.status_code
    except WebSocketDisconnect:
        return 403


class PageOutput:
    """What a program has printed so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def lines(self) -> list[str]:
        self._text += self._capsys.readouterr().out
        return self._text.splitlines()

    def wait_for(self, line: str) -> list[str]:
        return wait_until(lambda: self.lines() if line in self.lines() else None)


@pytest.fixture
def page_output(capsys: pytest.CaptureFixture[str]) -> PageOutput:
    return PageOutput(capsys)


def wait_until(look: Callable[[], T | None]) -> T:
    """What is true in the end: of what another thread or process is about to do."""
    until_s = time.monotonic() + 10
    while not (found := look()):
        assert time.monotonic() < until_s
        time.sleep(0.02)
    return found


def test_every_program_of_the_page_is_run_here() -> None:
    names = {"app", "app_route", "endpoint", "endpoint_handlers", "app_starlette", "identity", "health"}
    assert set(PROGRAMS) == {f"{name}.py" for name in names | {"two_bots", "serve", "app_workers"}}
    assert PAGE.read_text().count(" title=") == len(PROGRAMS)


def test_the_page_installs_from_the_checkout() -> None:
    installs = re.findall(r"pip install .*", PAGE.read_text())
    assert len(installs) == 2
    assert [line for line in installs if not re.match(r"pip install '\.\[[a-z,]+\]'", line)] == []


# In the app


@both_loops
@pytest.mark.usefixtures("page_folder")
def test_the_mount_of_the_page(backend: str, page_output: PageOutput) -> None:
    with page_client(imported("app").app, backend) as client:
        for path in ("/vonage", "/vonage/", "/vonage/room/7?tenant=blue"):
            with page_call(client, path) as session:
                assert client.get("/calls").json() == 1
                session.close()
                wait_until(lambda: client.get("/calls").json() == 0)
        assert refused_status(client, "/vonage7") == 403
        assert client.get("/vonage/").status_code == 404
    assert page_output.lines() == ["ready", "done"]


@both_loops
@pytest.mark.usefixtures("page_folder")
def test_the_route_of_the_page(backend: str, page_output: PageOutput) -> None:
    with page_client(imported("app_route").app, backend) as client:
        for path in ("/vonage/anna?tenant=blue", "/vonage/ben"):
            with page_call(client, path):
                pass
        assert refused_status(client, "/vonage") == refused_status(client, "/vonage/anna/") == 403
    assert page_output.lines() == ["anna is called by blue", "ben is called by nobody"]


@both_loops
@pytest.mark.usefixtures("page_folder")
def test_the_endpoint_of_the_page(backend: str, page_output: PageOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    module = imported("endpoint")
    monkeypatch.setattr(module.Assistant, "answer", lambda self, frame: frame[::-1])  # the dependency is asked
    with page_client(module.app, backend) as client:
        with client.websocket_connect("/vonage/anna") as session:
            session.send_text(FIRST_MESSAGE)
            for _ in range(3):
                session.send_bytes(FRAME)
                assert session.receive_bytes() == FRAME[::-1]
            page_output.wait_for("anna: 3 frames")  # the task's second line
            session.close()
            lines = page_output.wait_for("anna has heard 3 frames")
        assert re.fullmatch(r"anna: [0-3] frames", lines[0])
        monkeypatch.setattr(module.connector.config, "authorize", lambda info: False)
        assert refused_status(client, "/vonage/anna") == 403
        monkeypatch.setattr(module.connector.config, "authorize", None)
        assert client.portal is not None
        client.portal.call(module.connector.drain)
        assert refused_status(client, "/vonage/anna") == 503


@both_loops
@pytest.mark.usefixtures("page_folder")
def test_the_endpoint_with_handlers_of_the_page(backend: str, page_output: PageOutput) -> None:
    with page_client(imported("endpoint_handlers").app, backend) as client:
        with page_call(client, "/vonage/anna") as session:
            session.close()
            page_output.wait_for("anna is free")
            page_output.wait_for("closed by the session with 1000")


@both_loops
@pytest.mark.usefixtures("page_folder")
def test_the_starlette_app_of_the_page(backend: str, page_output: PageOutput) -> None:
    with page_client(imported("app_starlette").app, backend) as client:
        for path in ("/vonage", "/vonage/room/7?tenant=blue", "/bots/anna"):
            with page_call(client, path):
                pass
        assert refused_status(client, "/bots") == 403
    assert page_output.lines() == [
        "called at /vonage {}",
        "called at /vonage/room/7?tenant=blue {}",
        "called at /bots/anna {'bot_id': 'anna'}",
    ]


@both_loops
@pytest.mark.usefixtures("page_folder")
def test_the_identity_of_the_page(backend: str, page_output: PageOutput) -> None:
    module = imported("identity")
    address = module.address_for({"name": "Ann"})
    path = address.removeprefix("wss://bot.example.com")
    with page_client(module.app, backend) as client:
        assert refused_status(client, "/vonage") == refused_status(client, "/vonage?key=guessed") == 403
        with page_call(client, path):
            pass
        assert refused_status(client, path) == 403  # it opens one connection
    assert page_output.lines() == ["This is Ann"]
    assert module.expected == {}


@both_loops
@pytest.mark.usefixtures("page_folder")
def test_the_health_check_of_the_page(backend: str) -> None:
    with page_client(imported("health").app, backend) as client:
        answer = client.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"draining": False})
        assert client.portal is not None
        client.portal.call(imported("app").connector.drain)
        answer = client.get("/health")
        assert (answer.status_code, answer.json()) == (503, {"draining": True})
        assert refused_status(client, "/vonage") == 503


@both_loops
@pytest.mark.usefixtures("page_folder")
def test_the_two_bots_of_the_page(backend: str) -> None:
    with page_client(imported("two_bots").app, backend) as client:
        with page_call(client, "/echo"):
            pass
        with client.websocket_connect("/whisper") as session:
            session.send_text(FIRST_MESSAGE)
            session.send_bytes(b"\x00\x10" * 320)
            assert session.receive_bytes() == b"\x00\x04" * 320


@pytest.mark.usefixtures("page_folder")
def test_the_app_for_workers_works_without_signals() -> None:
    with page_client(imported("app_workers").app) as client:  # in another thread
        with page_call(client, "/vonage"):
            pass


# As programs, which are stopped


@contextlib.contextmanager
def page_program(folder: Path, port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python in a session of its own, as in a terminal; it listens when this is entered."""
    with (folder / "output.txt").open("wb") as output:
        program = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def listens() -> bool:
        assert program.poll() is None, printed_in(folder)
        with contextlib.closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens)
        yield program
        program.wait(20)
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait(20)


def printed_in(folder: Path) -> list[str]:
    """What the program has printed and logged by now."""
    return (folder / "output.txt").read_text().splitlines()


def is_clean(lines: list[str]) -> bool:
    """Whether nothing in an output is a traceback."""
    return not any("Traceback" in line for line in lines)


def speak_burst(peer: Connection) -> None:
    """Say a second at once, and hear that it begins to come back."""
    peer.send(FIRST_MESSAGE)
    for _ in range(BURST):
        peer.send(FRAME)
    for _ in range(10):
        assert len(peer.recv(timeout=10)) == len(FRAME)


def rest_of(peer: Connection) -> tuple[int, int]:
    """How many more frames come, and the close code."""
    frames = 0
    try:
        while True:
            frames += isinstance(peer.recv(timeout=10), bytes)
    except ConnectionClosed as exc:
        return frames, exc.rcvd.code if exc.rcvd else 1006


def turns_away(port: int, path: str) -> bool:
    """Whether a new call is refused, because the server stops."""
    try:
        with dial(port, path):
            return False
    except InvalidStatus as exc:
        return exc.response.status_code == 503


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_serve_py_lets_sentences_end_and_ends_without_a_traceback(
    number: signal.Signals, code: int, page_folder: Path, page_port: int
) -> None:
    with page_program(page_folder, page_port, "serve.py") as program:
        with dial(page_port, "/vonage") as peer:
            speak_burst(peer)
            program.send_signal(number)
            wait_until(lambda: turns_away(page_port, "/vonage"))
            with urllib.request.urlopen(f"http://127.0.0.1:{page_port}/calls") as answer:
                assert answer.read() == b"1"  # all else is served until the drain is over
            assert rest_of(peer) == (BURST - 10, 1012)
    lines = printed_in(page_folder)
    assert program.returncode == code
    assert is_clean(lines)
    assert [line for line in lines if line in ("ready", "done")] == ["ready", "done"]


def test_two_bots_py_drains_both(page_folder: Path, page_port: int) -> None:
    with page_program(page_folder, page_port, "two_bots.py") as program:
        with dial(page_port, "/echo") as one, dial(page_port, "/whisper") as other:
            for peer in (one, other):
                speak_burst(peer)
            program.send_signal(signal.SIGINT)
            wait_until(lambda: turns_away(page_port, "/echo"))
            assert turns_away(page_port, "/whisper")
            assert [rest_of(peer) for peer in (one, other)] == [(BURST - 10, 1012)] * 2
    assert program.returncode == 0
    assert is_clean(printed_in(page_folder))


OUR_CLASS = "vonage_audio_connector_server:WebSocketProtocol"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("by", ["SIGTERM", "Ctrl-C"])
def test_each_worker_of_the_page_drains(by: str, workers: int, page_folder: Path, page_port: int) -> None:
    options = ["--port", str(page_port), "--workers", str(workers), "--ws", OUR_CLASS]
    with page_program(page_folder, page_port, "-m", "uvicorn", "app_workers:app", *options) as program:
        wait_until(lambda: printed_in(page_folder).count("ready") == workers)
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(dial(page_port, "/vonage")) for _ in range(4)]
            for peer in peers:
                speak_burst(peer)
            if by == "SIGTERM":
                program.send_signal(signal.SIGTERM)
            else:
                os.killpg(program.pid, signal.SIGINT)  # a terminal tells all of its processes
            wait_until(lambda: turns_away(page_port, "/vonage"))
            assert [rest_of(peer) for peer in peers] == [(BURST - 10, 1012)] * 4
    lines = printed_in(page_folder)
    assert program.returncode == (-signal.SIGTERM if by == "SIGTERM" and workers == 1 else 0)
    assert is_clean(lines)
    assert lines.count("done") == workers
