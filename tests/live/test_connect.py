"""The command `connect`: a program joins a session, and whatever happens, the session's audio is ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner

from vonage_audio_connector_server.cli.commands import app
from vonage_audio_connector_server.cli.options import read_duration
from vonage_audio_connector_server.cli.target import CommandError
from vonage_audio_connector_server.live import api, session_audio

from .conftest import APPLICATION_SESSION, PROJECT_SESSION, assert_no_secret
from .fake_api import API_KEY, API_SECRET, APPLICATION_ID, Asked, FakeAPI, never

RUN = (sys.executable, "-c", "from vonage_audio_connector_server.cli import main; main()")

BOT = """
from vonage_audio_connector_server import AudioConnector, SharedSecret

async def on_connect(client):
    async for message in client:
        if isinstance(message, bytes):
            client.send_audio_buffer(message)

async def fails(client):
    await client.wait_format()
    raise LookupError("on purpose")

connector = AudioConnector(on_connect, authorize=SharedSecret("a-secret-of-the-server", query="secret"))
other = AudioConnector(on_connect)

from fastapi import FastAPI
app = FastAPI(routes=[connector.route("/vonage")])
hidden = FastAPI()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "a_live_bot", raising=False)
    (tmp_path / "a_live_bot.py").write_text(BOT)
    return tmp_path


@pytest.fixture
def application(folder: Path, fake: FakeAPI, private_key: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Credentials of an application, in a file of the folder; the id of a session of it."""
    (folder / "private.key").write_text(private_key)
    (folder / ".env").write_text(f"VONAGE_APPLICATION_ID={APPLICATION_ID}\nVONAGE_PRIVATE_KEY=private.key\n")
    monkeypatch.setenv("VONAGE_VIDEO_HOST", fake.host)
    return APPLICATION_SESSION


@pytest.fixture
def project(folder: Path, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> str:
    """Credentials of a project, in the environment; the id of a session of it."""
    monkeypatch.setenv("OPENTOK_API_KEY", API_KEY)
    monkeypatch.setenv("OPENTOK_API_SECRET", API_SECRET)
    monkeypatch.setenv("OPENTOK_API_URL", f"https://{fake.host}")
    return PROJECT_SESSION


@contextlib.contextmanager
def running(*arguments: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, with all that can be logged."""
    uri = [] if "--uri" in arguments else ["--uri", f"ws://127.0.0.1:{port}/vonage"]
    with subprocess.Popen(
        [*RUN, "connect", *arguments, *uri, "--port", str(port), "--log-level", "debug"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONUNBUFFERED": "1",
        },
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if wanted in line:
            return read
    assert process.stderr is not None
    raise AssertionError(f"{read}\n{process.stderr.read()}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("platform", ["application", "project"])
def test_a_signal_ends_it(
    platform: str, number: signal.Signals, request: pytest.FixtureRequest, fake: FakeAPI, private_key: str
) -> None:
    session_id = request.getfixturevalue(platform)
    port = free_port()
    with running(session_id, "a_live_bot.py:on_connect", port=port) as process:
        printed = read_until(process, "Ctrl-C ends it.")
        assert not fake.disconnects
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)

    (leg,) = fake.legs.values()
    assert process.returncode == 0, errors
    assert printed.splitlines()[:3] == [
        f"Serving at ws://127.0.0.1:{port}",
        f"Starting the audio of session {session_id} for 127.0.0.1/vonage",
        "Its socket has come.",
    ]
    assert re.fullmatch(r"Ending it\.\nIt was ended by a force-disconnect, after \d+ s\.\n", output)
    assert len(fake.disconnects) == 1
    assert leg.over.wait(10)
    assert leg.refused is None
    assert "token=" in leg.websocket["uri"]
    assert "Traceback" not in errors
    assert "DEBUG" in errors  # the control: all was logged
    assert_no_secret(printed + output + errors, fake, private_key)


@pytest.mark.slow
def test_time_ends_it_over_tls(
    application: str,
    folder: Path,
    authority: trustme.CA,
    fake: FakeAPI,
    private_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))  # for the router
    port = free_port()
    options = ("--for", "1s", "--certfile", "server.pem", "--uri", f"wss://localhost:{port}/vonage")
    with running(application, "a_live_bot.py:on_connect", *options, port=port) as process:
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "It was ended by a force-disconnect, after 1 s." in output
    assert len(fake.disconnects) == 1
    (leg,) = fake.legs.values()
    assert leg.over.wait(10)
    assert_no_secret(output + errors, fake, private_key)


@pytest.mark.slow
def test_a_program_that_fails_ends_it(project: str, fake: FakeAPI, private_key: str) -> None:
    with running(project, "a_live_bot.py:fails", port=free_port()) as process:
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "LookupError: on purpose" in errors
    assert "Error: the program failed, and its call was closed: the log has its traceback" in errors
    assert len(fake.disconnects) == 1
    assert_no_secret(output + errors, fake, private_key)


@pytest.mark.slow
def test_a_signal_during_the_connect_call_waits_for_its_answer_and_ends_it(application: str, fake: FakeAPI) -> None:
    fake.hold = threading.Event()
    with running(application, "a_live_bot.py:on_connect", port=free_port()) as process:
        assert fake.held.wait(20)
        process.send_signal(signal.SIGTERM)
        fake.hold.set()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert len(fake.disconnects) == 1
    assert "Traceback" not in errors


@pytest.mark.slow
def test_another_signal_does_not_keep_it_from_being_ended(
    application: str, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer, take = threading.Event(), threading.Event(), fake.take

    def take_slowly(one: Asked) -> tuple[int, Any]:
        if one.method == "DELETE":
            asked.set()
            answer.wait(20)
        return take(one)

    monkeypatch.setattr(fake, "take", take_slowly)
    with running(application, "a_live_bot.py:on_connect", port=free_port()) as process:
        read_until(process, "Ctrl-C ends it.")
        process.send_signal(signal.SIGINT)
        assert asked.wait(10)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        answer.set()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert len(fake.disconnects) == 1


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["connect", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def join(application: str) -> Run:
    """`join(…)` lets the program join a session of the application."""

    def join(*arguments: object, target: str = "a_live_bot.py:on_connect") -> tuple[int, str, str]:
        port = free_port()
        uri = () if "--uri" in arguments else ("--uri", f"ws://127.0.0.1:{port}/vonage")
        return run(application, target, "--port", port, *uri, *arguments)

    return join


@pytest.mark.parametrize("status", [400, 403, 409, 500])
def test_a_refusal_is_one_line(join: Run, fake: FakeAPI, status: int, private_key: str) -> None:
    fake.answers = [(status, {"message": "no"})]
    code, output, error = join()
    assert code == 1
    assert error.startswith(f"Error: {fake.host} answered HTTP {status}: ")
    assert error.count("Error: ") == 1
    assert not fake.disconnects
    assert_no_secret(output + error, fake, private_key)


def test_an_api_that_is_slow(join: Run, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "REST_S", 1)
    fake.hold = threading.Event()
    try:
        code, _, error = join()
    finally:
        fake.hold.set()
    assert code == 1
    assert error == (f"Error: {fake.host} did not answer within 1 s, and may have done what it was asked: try again")


def test_a_certificate_that_is_not_trusted(join: Run, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    code, _, error = join()
    assert code == 1
    assert error.startswith(f"Error: the TLS certificate of {fake.host} is not trusted (")
    assert "REQUESTS_CA_BUNDLE" in error
    assert not fake.asked


def test_an_api_that_can_not_be_reached(join: Run, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    host = f"localhost:{free_port()}"
    monkeypatch.setenv("VONAGE_VIDEO_HOST", host)
    code, _, error = join()
    assert code == 1
    assert error == (f"Error: {host} can't be reached (Connection refused): check the network of this machine")


def test_without_the_extra_it_says_what_to_install(join: Run, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vonage", None)
    code, _, error = join()
    assert code == 2
    assert error == (
        "Error: Starting the audio of a session needs the extra 'vonage': "
        "pip install 'vonage-audio-connector-server[vonage]'"
    )


def test_a_socket_that_never_comes(join: Run, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_audio, "ARRIVE_S", 0.3)
    fake.router = never
    code, _, error = join()
    assert code == 1
    assert "no socket came within 0.3 s: nothing reached this server: 127.0.0.1 is no address that the intern" in error
    assert len(fake.disconnects) == 1


def test_a_force_disconnect_that_fails_is_told(join: Run, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_audio, "CLOSE_S", 0.1)
    fake.disconnect_status = [403]
    code, output, error = join("--for", "0.2s")
    assert code == 1
    assert "Error: the force-disconnect failed, and it may go on: " in error
    assert "It was ended" not in output


def test_a_connector_in_an_app_is_found_and_its_secret_is_not_printed(join: Run, fake: FakeAPI) -> None:
    port = free_port()
    uri = f"ws://127.0.0.1:{port}/vonage?secret=a-secret-of-the-server"
    code, output, error = join("--port", port, "--uri", uri, "--for", "0.2s", target="a_live_bot.py:app")
    assert (code, error) == (0, "")
    assert "a-secret" not in output
    assert fake.connects[0].body["websocket"]["uri"] == uri


def test_an_app_without_a_connector_of_its_own_says_what_to_name(join: Run, fake: FakeAPI) -> None:
    code, _, error = join(target="a_live_bot.py:hidden")
    assert code == 2
    assert error == (
        "Error: a_live_bot.py:hidden has several connectors: name the one that is meant, as MODULE:CONNECTOR"
    )
    assert not fake.asked


def test_options_reach_the_api(join: Run, fake: FakeAPI) -> None:
    options = ("--rate", 24_000, "--stream", "s-1", "--stream", "s-2", "--header", "room=the-seventh", "--one-way")
    code, _, error = join(*options, "--transport", "json", "--audio-field", "pcm", "--for", "0.2s")
    assert (code, error) == (0, "")
    websocket = fake.connects[0].body["websocket"]
    assert websocket["audioRate"] == 24_000
    assert websocket["streams"] == ["s-1", "s-2"]
    assert websocket["headers"] == {"room": "the-seventh"}
    assert "bidirectional" not in websocket
    assert websocket["audioTransport"]["audio_field"] == "pcm"


def test_without_a_program_a_server_that_runs_is_called(
    application: str, fake: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIO_CONNECTOR_KEY", "k" * 32)
    fake.router = never
    code, output, error = run(application, "--uri", "wss://bot.example.com/", "--for", "0.2s")
    assert (code, error) == (0, "")
    assert "Serving" not in output
    assert "its socket can't be seen from here" in output
    assert fake.connects[0].body["websocket"]["uri"].startswith("wss://bot.example.com/?token=")
    assert len(fake.disconnects) == 1


def test_what_is_wrong_with_the_command_is_told_before_anything_is_done(
    folder: Path, fake: FakeAPI, private_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (APPLICATION_SESSION, "a_live_bot.py:on_connect", "--uri", "wss://bot.example.com/")
    code, _, error = run(*given)
    assert code == 2
    assert error.startswith("Error: no credentials: set VONAGE_APPLICATION_ID and VONAGE_PRIVATE_KEY, or OPENTOK_API")
    code, _, error = run(*given, "--env-file", "other.env")
    assert (code, error) == (2, "Error: other.env can't be read: No such file or directory")
    monkeypatch.setenv("VONAGE_APPLICATION_ID", APPLICATION_ID)
    code, _, error = run(*given)
    assert (code, error) == (
        2,
        "Error: the credentials can't be used: VONAGE_PRIVATE_KEY is not set, and VONAGE_APPLICATION_ID is: set both",
    )
    monkeypatch.setenv("VONAGE_PRIVATE_KEY", private_key)
    code, _, error = run(*given, "--for", "soon")
    assert (code, error) == (2, "Error: --for takes a time such as 90s, 10m or 2h, not 'soon'")
    code, _, error = run(*given[:3], "https://bot.example.com")
    assert code == 2
    assert error.startswith("Error: uri must be a ws:// or wss:// address")
    assert not fake.asked


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, None), ("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0)]
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1", "10 minutes", "1d", "9" * 400])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(CommandError, match="--for takes a time"):
        read_duration(text)
