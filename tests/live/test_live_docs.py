"""The programs of the pages about live sessions, as they stand there, against the stand-in of Vonage's API."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from .conftest import APPLICATION_SESSION, assert_no_secret
from .fake_api import APPLICATION_ID, NEW_SESSION, FakeAPI
from .test_connect import RUN, free_port, read_until

ROOT = Path(__file__).parent.parent.parent
TUTORIAL = (ROOT / "docs" / "tutorial-live.md").read_text()

pytestmark = pytest.mark.slow


def listing(title: str) -> str:
    found = re.findall(rf'^```python title="{re.escape(title)}"\n(.*?)^```$', TUTORIAL, re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    program: str = found[0]
    return program


@pytest.fixture
def folder(tmp_path: Path, private_key: str, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of the tutorial."""
    (tmp_path / "bot.py").write_text(listing("bot.py"))
    (tmp_path / "new_session.py").write_text(listing("new_session.py"))
    (tmp_path / "private.key").write_text(private_key)
    shutil.copy(ROOT / "examples" / "audio" / "go-forward-ten-meters.wav", tmp_path / "greeting.wav")
    variables = f"VONAGE_APPLICATION_ID={APPLICATION_ID}\nVONAGE_PRIVATE_KEY=private.key\n"
    (tmp_path / ".env").write_text(variables)
    monkeypatch.setenv("VONAGE_VIDEO_HOST", fake.host)
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    return tmp_path


@contextlib.contextmanager
def started(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def test_the_tutorials_bot_joins_greets_and_leaves(folder: Path, fake: FakeAPI, private_key: str) -> None:
    port = free_port()
    options = ("--uri", f"ws://127.0.0.1:{port}/", "--for", "10m", "--port", str(port))
    with started(*RUN, "connect", APPLICATION_SESSION, "bot.py:on_connect", *options, folder=folder) as process:
        printed = read_until(process, "Ctrl-C ends it.")
        (leg,) = fake.legs.values()
        assert leg.loud.wait(10)  # the greeting is heard
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    # As the page has it, but for names and numbers.
    page = re.findall(r"^(Serving at .*?Ctrl-C ends it\.)\n```", TUTORIAL, re.DOTALL | re.MULTILINE)[0]
    changing = r"127\.0\.0\.1/?(:\d+)?|some-words\S+|after \d+ s"
    assert [re.sub(changing, "…", line) for line in printed.splitlines()] == [
        re.sub(changing, "…", line) for line in page.splitlines()
    ]
    assert re.fullmatch(r"Ending it\.\nIt was ended by a force-disconnect, after \d+ s\.\n", output)
    assert len(fake.disconnects) == 1
    assert leg.over.wait(10)
    assert_no_secret(printed + output, fake, private_key)


def test_the_tutorials_session_is_a_routed_one(folder: Path) -> None:
    with started(sys.executable, "new_session.py", folder=folder) as process:
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, f"{NEW_SESSION}\n", "")


def test_the_program_that_joins(folder: Path, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.chdir(folder)
    shutil.copytree(ROOT / "examples", folder / "examples")
    program = ("examples/howto/live_session.py", APPLICATION_SESSION, f"ws://127.0.0.1:{port}/vonage")
    with started(sys.executable, *program, folder=folder) as process:
        printed = read_until(process, "the greeting has been heard")
        assert "joined as connection c0ffee00-0000-4000-8000-000000000000\n" in printed
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert len(fake.disconnects) == 1


def test_the_app_with_an_endpoint(folder: Path, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("AUDIO_CONNECTOR_KEY", "k" * 32)
    monkeypatch.setenv("CONNECT_SECRET", "s" * 32)
    monkeypatch.setenv("WS_URI", f"ws://127.0.0.1:{port}/vonage")
    program = ("-m", "uvicorn", "--app-dir", str(ROOT / "examples" / "howto"), "--port", str(port))
    with started(sys.executable, *program, "connect_endpoint:app", folder=folder) as process:
        assert process.stderr is not None
        while "Uvicorn running" not in process.stderr.readline():
            assert process.poll() is None
        answer = httpx2.post(
            f"http://127.0.0.1:{port}/connect",
            headers={"Authorization": "Bearer " + "s" * 32},
            json={"sessionId": APPLICATION_SESSION},
            trust_env=False,
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"id", "connectionId", "sessionId"}
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors
    assert len(fake.disconnects) == 1
