"""What all tests share. It imports nothing of the web, so that the tests of the core start in no time."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import signal
import tempfile
from array import array
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

try:
    import fcntl
except ImportError:  # Windows, where the tests run one by one
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from ways import SharedServers, Told, Way

FIRST_MESSAGE = ' {"content-type":"audio/l16;rate=16000","event":"websocket:connected","caller":"Ann"}'
FRAME_BYTES = 640

FRAMEWORKS = {
    "agents": "integrations/test_openai_agents.py",
    "livekit": "integrations/test_livekit_*.py",
    "openai": "integrations/test_openai_*.py",
    "pipecat": "integrations/pipecat_transport",
}
NOT_INSTALLED = [name for name in FRAMEWORKS if find_spec(name) is None]

collect_ignore_glob = [FRAMEWORKS[name] for name in NOT_INSTALLED]


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Of a shell's background (`make test &`): the programs that tests start would not hear Ctrl-C either.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    return [f"not installed, so that its tests are left out: {name}" for name in NOT_INSTALLED]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n`: one process runs all that are to run alone, behind the others."""
    for item in items:
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
    if "PYTEST_XDIST_TESTRUNUID" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """What is to run alone waits, with `-n`, until no other process runs a test. This wait is not the test's.

    Nor does the garbage collector search then what all tests before have left: that takes tenths of a second.
    """
    run, is_alone = os.environ.get("PYTEST_XDIST_TESTRUNUID"), item.get_closest_marker("alone") is not None
    with contextlib.ExitStack() as stack:
        if run is not None and fcntl is not None:
            lock = stack.enter_context(Path(tempfile.gettempdir(), f"pytest-{run}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        if is_alone:
            gc.collect()
            gc.freeze()
            stack.callback(gc.unfreeze)
        return (yield)


@pytest.fixture(autouse=True)
def _all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are rate-limited in a process: no test is to be silenced by those before it."""
    monkeypatch.setattr("vonage_audio_connector_server.sparing._kinds", {})


@pytest.fixture(autouse=True)
def _no_assertion_is_lost() -> Iterator[None]:
    """What a test asserts inside of a handler counts: the connector only logs it, and closes the call."""
    failed: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (AssertionError, pytest.fail.Exception)):
            failed.append(error)
        return True

    logger = logging.getLogger("vonage_audio_connector_server")
    logger.addFilter(keep)
    yield
    logger.removeFilter(keep)
    if failed:
        raise failed[0]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[SharedServers]:
    """See `SharedServers`."""
    from ways import SharedServers

    servers = SharedServers()
    with servers.stack:
        yield servers


@pytest.fixture(params=["asyncio", "trio", "uvicorn", "our class"])
def carrier(request: pytest.FixtureRequest) -> str:
    """What carries a connection: TestClient on this loop, or a server on real sockets."""
    return str(request.param)


@pytest.fixture(params=["alone", "starlette", "fastapi"])
def way(request: pytest.FixtureRequest, carrier: str, shared_servers: SharedServers) -> Iterator[Way]:
    """A way to serve an application."""
    from starlette.websockets import WebSocketDisconnect
    from ways import Way

    way = Way(request.param, carrier, shared_servers)
    with way.stack, contextlib.suppress(WebSocketDisconnect):
        yield way


@pytest.fixture
def told() -> Told:
    """What handlers tell the test."""
    from ways import Told

    return Told()


@pytest.fixture
def tone() -> Callable[..., bytes]:
    """`tone(seconds)`: PCM that is loud, and no two of its moments are alike (a rising tone)."""

    def tone(seconds: float, rate_hz: int = 16_000, level: float = 0.3) -> bytes:
        count = round(seconds * rate_hz)
        swept = (math.sin(2 * math.pi * (200 + 300 * at / rate_hz) * at / rate_hz) for at in range(count))
        return array("h", [round(32_767 * level * value) for value in swept]).tobytes()

    return tone
