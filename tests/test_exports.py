"""The public names, and that importing the package costs its host nothing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import UnionType
from typing import Any

import pytest

import vonage_audio_connector_server as package

AI_FRAMEWORKS = {"agents", "dotenv", "livekit", "openai", "opentok", "pipecat", "vonage"}
FRAMEWORKS = {"starlette", "uvicorn", "websockets", "anyio", "trio", "asyncio", "typer", "rich", "numpy"}


def loaded_by(code: str) -> dict[str, Any]:
    """Run `code` in an interpreter of its own; tells what was loaded, and what became of logging."""
    program = f"""
import json, logging, sys, threading
logging.getLogger("host").setLevel(logging.ERROR)
def loggers():
    known = {{**logging.Logger.manager.loggerDict, "": logging.root}}
    return {{name: (logger.level, logger.disabled, logger.propagate, len(logger.handlers))
            for name, logger in known.items() if isinstance(logger, logging.Logger)}}
before, hooks = loggers(), (sys.excepthook, threading.excepthook, logging.raiseExceptions, logging.lastResort)
{code}
after = loggers()
print(json.dumps({{
    "modules": sorted({{name.partition(".")[0] for name in sys.modules}}),
    "ours": sorted(name for name in sys.modules if name.startswith("vonage_audio")),
    "changed": sorted(name for name in before if after[name] != before[name]),
    "new": {{name: after[name] for name in after.keys() - before.keys()}},
    "hooks": hooks == (sys.excepthook, threading.excepthook, logging.raiseExceptions, logging.lastResort),
    "threads": threading.active_count(),
}}))
"""
    src = str(Path(package.__file__).parent.parent)
    start = f"import sys; sys.path.insert(0, {src!r})\n"
    # -I: neither the environment nor the working directory may help
    result = subprocess.run([sys.executable, "-I", "-c", start + program], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_all_is_what_can_be_loaded() -> None:
    assert sorted(package.__all__) == sorted([*package._MODULES, "__version__"])
    assert len(set(package.__all__)) == len(package.__all__)


@pytest.mark.parametrize("name", package._MODULES)
def test_every_name_is_defined_where_it_is_looked_for_and_documented(name: str) -> None:
    value = getattr(package, name)
    module = importlib.import_module(f"{package.__name__}.{package._MODULES[name]}")
    assert value is vars(module)[name]
    if isinstance(value, UnionType):  # an alias: it has neither
        return
    assert value.__module__ == module.__name__
    assert vars(value).get("__doc__") if isinstance(value, type) else value.__doc__
    assert not value.__doc__.startswith(f"{name}(")  # what a dataclass writes by itself


@pytest.mark.parametrize("name", package._MODULES)
def test_every_public_member_is_documented(name: str) -> None:
    if isinstance(getattr(package, name), UnionType):
        return
    for member, value in vars(getattr(package, name)).items():
        if not member.startswith("_") and (callable(value) or isinstance(value, (property, classmethod))):
            assert value.__doc__, f"{name}.{member}"


def test_star_import_brings_all() -> None:
    names: dict[str, object] = {}
    exec(f"from {package.__name__} import *", names)
    assert set(package.__all__) <= set(names)


def test_dir_shows_names_that_were_not_used_yet() -> None:
    told = loaded_by(
        "import vonage_audio_connector_server as p\n"
        "assert set(p.__all__) <= set(dir(p)) and 'Video' not in vars(p)\n"
        "assert p.MissingExtraError is p.MissingExtraError and 'MissingExtraError' in vars(p)"
    )
    assert told["ours"] == [package.__name__, f"{package.__name__}.errors"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'vonage_audio_connector_server' has no attribute 'Vidio'"):
        package.Vidio  # noqa: B018
    with pytest.raises(ImportError, match="Vidio"):
        exec(f"from {package.__name__} import Vidio", {})
    assert not hasattr(package, "Vidio")


def test_importing_the_package_loads_no_framework_and_changes_nothing() -> None:
    told = loaded_by("import vonage_audio_connector_server")
    assert told["ours"] == [package.__name__]
    assert FRAMEWORKS.isdisjoint(told["modules"])
    assert told["changed"] == []
    assert told["new"] == {}
    assert told["hooks"]
    assert told["threads"] == 1


def test_the_core_loads_no_framework() -> None:
    told = loaded_by("from vonage_audio_connector_server.core import framer, pacer, playout, session, wire")
    assert {*FRAMEWORKS, "socket", "ssl"}.isdisjoint(told["modules"])


def test_using_every_name_leaves_the_logging_of_the_host_alone() -> None:
    told = loaded_by("from vonage_audio_connector_server import *")
    assert {"starlette", "uvicorn"} <= set(told["modules"])  # the control: now they are loaded
    assert AI_FRAMEWORKS.isdisjoint(told["modules"])
    assert told["changed"] == []
    ours = {name: state for name, state in told["new"].items() if name.startswith("vonage")}
    assert set(map(tuple, ours.values())) == {(0, False, True, 0)}  # no level, propagates, no handler
    assert told["hooks"]
    assert told["threads"] == 1


def test_a_plain_server_takes_nothing_for_sound_and_speech() -> None:
    """Neither when it is imported nor for a call that only sends and gets audio at the connection's rate."""
    told = loaded_by(
        """
import anyio
from vonage_audio_connector_server import AudioConnector, AudioConnectorServerConfig, Video

async def on_connect(client):
    async for message in client:
        if isinstance(message, bytes):
            await client.send_audio_buffer(message, pad_last_frame=True)
            await client.flush_buffer()

async def talk():
    messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "bytes": bytes(640)},
                {"type": "websocket.disconnect", "code": 1000}]
    async def receive():
        await anyio.sleep(0.01)
        return messages.pop(0)
    async def send(message):
        pass
    scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": [], "client": None}
    await AudioConnector(on_connect)(scope, receive, send)
    assert not messages

anyio.run(talk)
"""
    )
    parts = ("audio", "speech", "mixing", "turns", "call_recording", "file_playback", "session_speech")
    assert [name for name in told["ours"] if name.split(".")[1:2] and name.split(".")[1] in parts] == []
    assert ({"numpy", "soxr", "soundfile", "webrtcvad"} | AI_FRAMEWORKS).isdisjoint(told["modules"])
