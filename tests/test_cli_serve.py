"""The command `serve`: what it takes, its log, and that it begins anew."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import RUN, Served, in_one_line, run

from vonage_audio_connector_server.cli.target import find_program, folder_of, load_target

ON_CONNECT = "async def on_connect(client): ...\n"
CONNECTOR = "from vonage_audio_connector_server import AudioConnector\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("main", "app", "bot", "server"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "taken"),
    [
        (ON_CONNECT, "on_connect"),
        (f"{CONNECTOR}{ON_CONNECT}app = AudioConnector(on_connect)\n", "app"),
        (f"{CONNECTOR}connector = AudioConnector()\n", "connector"),
        (f"{CONNECTOR}connector = AudioConnector()\nasync def app(scope, receive, send): ...\n", "app"),
        (f"{CONNECTOR}mine = AudioConnector()\n", "mine"),
    ],
)
@pytest.mark.parametrize("target", ["bot.py", "bot"])
def test_what_a_program_is_there_for_is_found_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str], code: str, taken: str, target: str
) -> None:
    (folder / "bot.py").write_text(code)

    found = load_target(target)

    assert found is getattr(sys.modules["bot"], taken)
    assert capsys.readouterr().err == f"It is {target}:{taken}\n"
    sys.modules.pop("bot")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("number = 7\n", "bot.py has no on_connect, and no ASGI app by the name app, application, connector: write it"),
        (
            f"{CONNECTOR}one = AudioConnector()\ntwo = AudioConnector()\n",
            "bot.py has one and two: name the one that is meant, as bot.py:one",
        ),
    ],
)
def test_what_can_not_be_found_is_one_sentence(folder: Path, code: str, told: str) -> None:
    (folder / "bot.py").write_text(code)

    code_, out, error = run("serve", "bot.py", "--port", "0")

    assert (code_, out) == (2, "")
    assert told in in_one_line(error)
    sys.modules.pop("bot")


def test_without_a_target_the_usual_files_are_looked_for(folder: Path) -> None:
    code, _, error = run("serve")
    assert code == 2
    assert "there is none of main.py, app.py, bot.py, server.py here" in in_one_line(error)

    (folder / "bot.py").write_text(ON_CONNECT)
    assert find_program() == "bot.py"
    (folder / "main.py").write_text(ON_CONNECT)
    code, _, error = run("serve")
    assert code == 2
    assert "here are main.py and bot.py: name the one that is meant, such as main.py" in in_one_line(error)


def test_a_connector_is_served_by_its_name(folder: Path) -> None:
    (folder / "bot.py").write_text(f"{CONNECTOR}{ON_CONNECT}connector = AudioConnector(on_connect)\n")

    with Served("bot.py:connector", folder) as url:
        assert url.startswith("ws://127.0.0.1:")


def test_the_level_of_the_log(folder: Path) -> None:
    (folder / "bot.py").write_text(f"{ON_CONNECT}1 / 0\n")
    program = "import logging; from vonage_audio_connector_server.cli.serve import log_to_console as show\n"
    for level in ("DEBUG", "INFO", "ERROR"):
        code = f"{program}show({level.lower()!r})\nprint(logging.getLevelName(logging.root.level))"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert told.stdout == f"{level}\n"
    code_, _, error = run("serve", "bot.py", "--log-level", "loud")
    assert code_ == 2
    assert "debug" in error


def test_the_folder_that_is_watched(folder: Path) -> None:
    (folder / "inside").mkdir()
    assert folder_of("inside/bot.py:on_connect") == folder / "inside"
    assert folder_of("bot:on_connect") == folder


def test_reload_without_watchfiles_names_the_command_that_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    (folder / "bot.py").write_text(ON_CONNECT)

    code, out, error = run("serve", "--reload")

    assert (code, out) == (2, "")
    assert "pip install 'vonage-audio-connector-server[cli]'" in in_one_line(error)


def test_reload_begins_anew_when_a_file_changes(folder: Path) -> None:
    pytest.importorskip("watchfiles", reason="watchfiles is not installed")
    bot = folder / "bot.py"
    bot.write_text(ON_CONNECT)
    with subprocess.Popen(
        [*RUN, "serve", "--reload", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,  # Ctrl-C reaches the whole group, and nobody else
    ) as process:
        assert process.stderr is not None
        ports = []
        try:
            for line in process.stderr:
                if found := re.search(r"listening on ws://127.0.0.1:(\d+)", line):
                    ports.append(found[1])
                    if len(ports) == 2:
                        break
                    bot.write_text(f"{ON_CONNECT}# changed\n")
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=20)
    assert len(set(ports)) == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}

    told = subprocess.run(
        [*RUN, "--show-completion", shell], capture_output=True, text=True, env=environment, check=True, timeout=20
    )

    assert "complete" in told.stdout.lower()
