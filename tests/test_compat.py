"""Programs of 0.1.x: their imports, their signatures, and what else they could do with a client."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import time
import tomllib
import weakref
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import anyio
import pytest
from conftest import FIRST_MESSAGE
from starlette.testclient import TestClient
from test_exports import FRAMEWORKS, loaded_by

import vonage_audio_connector_server as package
from vonage_audio_connector_server import AudioConnector, Client

if TYPE_CHECKING:  # what type checkers make of the old places
    from audio_connector_sdk.vonage_video import Video
    from audio_connector_sdk.vonage_video.core import AudioConnectorConnection
    from audio_connector_sdk.vonage_video.errors import VideoError
    from audio_connector_sdk.vonage_video.models.audio_connector import AudioConnectorServerConfig

    assert_type(Video, type[package.Video])
    assert_type(AudioConnectorConnection, type[package.Client])
    assert_type(VideoError, type[package.AudioConnectorError])
    assert_type(AudioConnectorServerConfig(host="", port=0), package.AudioConnectorServerConfig)

ROOT = Path(__file__).parent.parent
OLD = "audio_connector_sdk.vonage_video"
MODELS = ["AudioConnectorServerConfig", "AudioConnectorServerHandle", "AudioConnectorConnectionData"]
PLACES = [
    (OLD, ["Video"]),
    (f"{OLD}.video", ["Video"]),
    (f"{OLD}.models", MODELS),
    (f"{OLD}.models.audio_connector", MODELS),
    (f"{OLD}.errors", ["VideoError", "AudioConnectorConfigError", "AudioConnectorStartServerError"]),
    (f"{OLD}.core", ["AudioConnectorConnection"]),
    (f"{OLD}.core.audio_connector_connection", ["AudioConnectorConnection"]),
]
NEW_NAMES = {"VideoError": "AudioConnectorError", "AudioConnectorConnection": "Client"}


# The old places


@pytest.mark.parametrize(("place", "names"), PLACES)
def test_a_name_at_its_old_place_is_the_new_one(place: str, names: list[str]) -> None:
    module = importlib.import_module(place)
    for name in names:
        with pytest.warns(DeprecationWarning, match=r": from vonage_audio_connector_server import ") as warned:
            value = getattr(module, name)
        new_name = NEW_NAMES.get(name, name)
        assert value is getattr(package, new_name)
        assert len(warned) == 1
        assert warned[0].filename == __file__
        assert new_name in str(warned[0].message)


@pytest.mark.parametrize(("place", "names"), PLACES)
def test_the_new_import_that_a_warning_names_is_one(place: str, names: list[str]) -> None:
    with pytest.warns(DeprecationWarning, match=f"^{place} has moved: ") as warned:
        getattr(importlib.import_module(place), names[0])
    statement = str(warned[0].message).partition("has moved: ")[2]
    bound: dict[str, object] = {}
    exec(statement, bound)
    assert {name: bound[name] for name in names} == {
        name: getattr(package, NEW_NAMES.get(name, name)) for name in names
    }


@pytest.mark.parametrize(("place", "names"), PLACES)
def test_old_places_say_what_they_have(place: str, names: list[str]) -> None:
    module = importlib.import_module(place)
    assert sorted(module.__all__) == sorted(names)
    assert set(names) <= set(dir(module))
    assert "__name__" in dir(module)
    with pytest.raises(AttributeError, match=rf"module '{place}' has no attribute 'Vidio'"):
        module.Vidio  # noqa: B018


def test_the_version_is_told_at_its_old_places() -> None:
    for place in ("audio_connector_sdk", OLD):
        assert importlib.import_module(place).__version__ == package.__version__


def run(folder: Path, program: str, *options: str, **other_files: str) -> tuple[str, list[str]]:
    """Run a program; what it printed, and the places in its warnings, such as `program.py:1`."""
    for name, text in other_files.items():
        (folder / f"{name}.py").write_text(text)
    path = folder / "program.py"
    path.write_text(program)
    src = str(Path(package.__file__).parent.parent)
    start = f"import sys, runpy; sys.path[:0] = [{src!r}, {str(folder)!r}]; "
    start += f"runpy.run_path({str(path)!r}, run_name='__main__')"
    result = subprocess.run([sys.executable, "-I", *options, "-c", start], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    warned = [line for line in result.stderr.splitlines() if "Warning" in line]
    assert all(f": DeprecationWarning: {OLD}" in line for line in warned)
    return result.stdout, [Path(line.partition(": DeprecationWarning")[0]).name for line in warned]


README_IMPORTS = f"""
from {OLD}.models.audio_connector import AudioConnectorServerConfig
from {OLD} import Video
"""


def test_a_program_is_shown_one_warning_for_each_import_statement(tmp_path: Path) -> None:
    assert run(tmp_path, README_IMPORTS)[1] == ["program.py:2", "program.py:3"]
    assert run(tmp_path, README_IMPORTS, "-W", "always")[1] == ["program.py:2", "program.py:3"]


def test_a_statement_is_shown_one_warning_at_its_line(tmp_path: Path) -> None:
    statements = [
        *(f"from {place} import {', '.join(names)}" for place, names in PLACES),
        f"from {OLD}.models import (\n    AudioConnectorServerConfig,\n    AudioConnectorServerHandle as Handle,\n)",
        f"from {OLD}.models.audio_connector import *",
        f"for _ in range(3): from {OLD} import Video",
    ]
    lines = [1 + "\n".join(statements[:at]).count("\n") + bool(at) for at in range(len(statements))]
    assert run(tmp_path, "\n".join(statements))[1] == [f"program.py:{line}" for line in lines]


def test_a_use_through_the_module_is_warned_of_where_it_is(tmp_path: Path) -> None:
    program = f"import {OLD} as old\n\nold.Video()\nold.models.audio_connector.AudioConnectorServerConfig\n"
    assert run(tmp_path, program)[1] == ["program.py:3", "program.py:4"]


def test_an_import_deeper_in_a_program_does_not_hide_that_of_its_main_file(tmp_path: Path) -> None:
    helper = f"from {OLD} import Video\n"
    program = f"import helper\nfrom {OLD} import Video\nprint(Video is helper.Video)\n"
    assert run(tmp_path, program, helper=helper) == ("True\n", ["program.py:2"])
    assert run(tmp_path, program, "-W", "default", helper=helper) == ("True\n", ["helper.py:1", "program.py:2"])


def test_importing_the_old_places_loads_no_framework_and_changes_nothing() -> None:
    told = loaded_by("\n".join(f"import {place}" for place, _ in PLACES))
    assert told["ours"] == [package.__name__]
    assert FRAMEWORKS.isdisjoint(told["modules"])
    assert told["changed"] == []
    assert told["new"] == {}
    assert told["hooks"]
    assert told["threads"] == 1


def test_using_an_old_name_loads_and_changes_what_the_new_one_does() -> None:
    quiet = "import warnings\nwarnings.simplefilter('ignore')\n"
    told = loaded_by(f"{quiet}from {OLD}.errors import VideoError")
    assert told["ours"] == [package.__name__, f"{package.__name__}.errors"]
    told = loaded_by(quiet + README_IMPORTS)
    assert "uvicorn" in told["modules"]  # the control
    assert told["changed"] == []
    assert {name for name in told["new"] if name.startswith(("opentok", "audio_connector"))} == set()


def test_the_wheel_has_every_package_and_both_are_typed() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert sorted(build["packages"]) == sorted(f"src/{path.parent.name}" for path in ROOT.glob("src/*/__init__.py"))
    assert all((files(Path(name).name) / "py.typed").is_file() for name in build["packages"])


# The signatures

SIGNATURES: dict[tuple[str, str], str] = {  # as 0.1.1 has them
    ("Video", "start_audio_connector_server"): "self, options",
    ("AudioConnectorServerConfig", "__init__"): (
        "self, *, host, port, ssl=None, on_start=None, on_stop=None, on_connect=None"
    ),
    ("AudioConnectorServerHandle", "stop"): "self",
    ("AudioConnectorServerHandle", "get_address"): "self",
    ("Client", "set_handler"): "self, on_message=None, on_disconnect=None, on_error=None",
    ("Client", "send_json_packet"): "self, data",
    ("Client", "send_audio_buffer"): (
        "self, audio_data, *, bytes_per_sample=640, frames_ms=20, pad_last_frame=False, flush_buffer=False"
    ),
    ("Client", "flush_buffer"): "self",
    ("Client", "disconnect"): "self",
    ("Client", "set_buffer_timing"): "self, active_seconds=None",
    ("Client", "info"): "self",
}
OTHER_DEFAULTS = {"bytes_per_sample": None}  # 640 where the connection has 16 kHz


@pytest.mark.parametrize(("owner", "method"), SIGNATURES)
def test_every_parameter_of_the_reference_is_here(owner: str, method: str) -> None:
    reference = inspect.signature(eval(f"lambda {SIGNATURES[owner, method]}: None")).parameters
    ours = inspect.signature(getattr(getattr(package, owner), method)).parameters
    for name, parameter in reference.items():
        assert name in ours
        assert ours[name].kind == parameter.kind
        assert ours[name].default == OTHER_DEFAULTS.get(name, parameter.default)
    positional = [name for name, parameter in reference.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert list(ours)[: len(positional)] == positional
    added = [parameter for name, parameter in ours.items() if name not in reference]
    assert all(parameter.default is not parameter.empty for parameter in added)


@pytest.mark.parametrize(
    ("owner", "method", "is_awaited"),
    [
        ("Video", "start_audio_connector_server", True),
        ("AudioConnectorServerHandle", "stop", True),
        ("AudioConnectorServerHandle", "get_address", False),
        ("Client", "info", False),
        ("Client", "set_handler", False),
        ("Client", "set_buffer_timing", False),
    ],
)
def test_what_was_awaited_is_a_coroutine_function(owner: str, method: str, is_awaited: bool) -> None:
    assert inspect.iscoroutinefunction(getattr(getattr(package, owner), method)) == is_awaited


# What else a program could do


def in_a_call(program: Callable[[Client], object], backend: str) -> Any:
    """What `program` tells of the client in `on_connect`, as it comes back in a JSON packet."""

    async def on_connect(client: Client) -> None:
        told = program(client)
        if inspect.isawaitable(told):
            told = await told
        await client.send_json_packet({"told": told})

    with TestClient(AudioConnector(on_connect), backend=backend) as host:  # type: ignore[arg-type]
        with host.websocket_connect("/room?x=1", headers={"x-opentok-ws-sessionid": "S"}) as call:
            call.send_text(FIRST_MESSAGE)
            return call.receive_json()["told"]


def test_a_client_takes_attributes_and_weak_references(anyio_backend: str) -> None:
    def program(client: Any) -> object:
        client.transcript = ["hello"]
        return [client.transcript, weakref.ref(client)() is client, len({client}), client.id == client.info().id]

    assert in_a_call(program, anyio_backend) == [["hello"], True, 1, True]


def test_handlers_are_attributes_too(anyio_backend: str) -> None:
    async def program(client: Any) -> object:
        first = anyio.Event()
        texts: list[str] = []

        async def on_message(message: str) -> None:
            texts.append(message)
            first.set()

        async def on_error(error: Exception) -> None:
            pass

        before = client.on_message
        client.set_handler(on_error=on_error)
        client.on_message = on_message
        await first.wait()
        return [before, texts, client.on_message is on_message, client.on_error is on_error, client.on_disconnect]

    assert in_a_call(program, anyio_backend) == [None, [FIRST_MESSAGE], True, True, None]


def test_what_is_known_of_a_connection_has_the_old_fields(anyio_backend: str) -> None:
    def program(client: Client) -> object:
        info = client.info()
        fields = [info.sessionId, info.conferenceId, info.connectionId, info.uri, info.id]
        return [fields, info.customHeaders["x-opentok-ws-sessionid"], info.model_dump()]

    (session_id, conference_id, connection_id, uri, client_id), header, dump = in_a_call(program, anyio_backend)
    assert (session_id, conference_id, connection_id, uri, header) == ("S", None, None, "/room?x=1", "S")
    assert dump.pop("customHeaders")["x-opentok-ws-sessionid"] == "S"
    assert dump == {"sessionId": "S", "conferenceId": None, "connectionId": None, "uri": uri, "id": client_id}


def test_any_buffer_timing_above_0_is_taken(anyio_backend: str) -> None:
    def program(client: Client) -> object:
        for active_seconds in (0.01, 5, 7.5, 15.0, 60.0):
            client.set_buffer_timing(active_seconds=active_seconds)
        leads_s = [client._call.session.lead_s]
        client.set_buffer_timing(active_seconds=0.001)
        leads_s.append(client._call.session.lead_s)
        for wrong in (0, -1, float("nan"), True, "5"):
            with pytest.raises(ValueError, match="active_seconds must be"):
                client.set_buffer_timing(wrong)  # type: ignore[arg-type]
        return leads_s

    assert in_a_call(program, anyio_backend) == [15.0, 0.04]


@pytest.mark.parametrize("what", ["audio", "json"])
def test_a_loop_that_ignores_errors_does_not_hold_up_the_others(anyio_backend: str, what: str) -> None:
    async def program(client: Client) -> object:
        turned = False

        async def other_call() -> None:
            nonlocal turned
            turned = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other_call)
            deadline_s = time.monotonic() + 2
            while not turned and time.monotonic() < deadline_s:
                with suppress(ValueError):
                    await (client.send_audio_buffer(b"1") if what == "audio" else client.send_json_packet("{"))
        return time.monotonic() < deadline_s

    assert in_a_call(program, anyio_backend)
