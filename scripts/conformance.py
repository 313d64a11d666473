"""Runs the Autobahn test suite against our WebSocket protocol classes and the server of `websockets`.

Prints how many cases of sections 1 to 7 and 10 each passed, and which it failed. Ends with 1 where our class
fails a case that `websockets` passes, and with 2 where the suite can't run: it is a program for CPython 2.7, which gets
an environment of its own with the pins in `conformance/requirements.txt`, or for a container.

    python scripts/conformance.py [--ws NAME]... [--cases 6.4.*]... [--reports FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import uvicorn
import websockets
from rich.console import Console
from rich.table import Table
from websockets.asyncio.server import ServerConnection, serve

REQUIREMENTS = Path(__file__).parent / "conformance" / "requirements.txt"
ENVIRONMENT = Path(__file__).parent.parent / ".venv-autobahn"
IMAGE = "crossbario/autobahn-testsuite"
LIMIT_S = 1200

REFERENCE, JUDGED = "websockets", "ours"
CLASSES = {
    "ours": "vonage_audio_connector_server.link.websocket:WebSocketProtocol",
    "sansio": "websockets-sansio",
    "wsproto": "wsproto",
}
CASES = [*(f"{section}.*" for section in range(1, 8)), "10.*"]

PASSED, NON_STRICT, INFORMATIONAL = {"OK"}, {"NON-STRICT"}, {"INFORMATIONAL"}
"""What the suite says of a case's behaviour and of its close. Everything else is a failure."""

PROBE = "import pip, ssl, sys; sys.exit(sys.version_info[:2] != (2, 7))"
# The folder isn't an environment but only on the path; addsitedir also reads the .pth files of its packages.
WSTEST = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"


class MissingError(Exception):
    """There is nothing here that can run the suite."""


def works(*command: str, limit_s: float = 60) -> bool:
    """Whether a command exists and ends with 0."""
    try:
        return not subprocess.run(command, capture_output=True, timeout=limit_s, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def find_python() -> str | None:
    """A CPython 2.7 with pip: on PATH, or one of pyenv's."""
    candidates = [found for name in ("python2.7", "python2", "python") if (found := shutil.which(name))]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip()
        candidates += [str(path) for path in sorted(Path(root, "versions").glob("2.7*/bin/python"))]
    return next((candidate for candidate in candidates if works(candidate, "-c", PROBE)), None)


def install(python: str) -> None:
    """Bring the folder with the suite up to date."""
    stamp = ENVIRONMENT / REQUIREMENTS.name
    if stamp.is_file() and stamp.read_bytes() == REQUIREMENTS.read_bytes():
        return
    print(f"Installing the Autobahn test suite for CPython 2.7 into {ENVIRONMENT}")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    pip = [python, "-W", "ignore", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    installed = subprocess.run(
        [*pip, "--target", str(ENVIRONMENT), "-r", str(REQUIREMENTS)], capture_output=True, text=True, check=False
    )
    if installed.returncode:
        raise MissingError(f"The Autobahn test suite could not be installed:\n{installed.stdout}{installed.stderr}")
    shutil.copy(REQUIREMENTS, stamp)


def find_client(folder: Path) -> list[str]:
    """The command of the suite's client, without its arguments; `folder` is where it reads and writes."""
    python = find_python()
    if python is not None:
        install(python)
        return [python, "-W", "ignore", "-c", WSTEST, str(ENVIRONMENT)]
    for engine in ("docker", "podman"):
        if shutil.which(engine) and works(engine, "info") and works(engine, "pull", IMAGE, limit_s=600):
            mount = f"{folder}:{folder}"
            return [engine, "run", "--rm", "--network=host", "-v", mount, "-w", str(folder), IMAGE, "wstest"]
    raise MissingError(
        "The Autobahn test suite needs a CPython 2.7 with pip (on PATH or in pyenv), or docker or podman, running, "
        f"with the image {IMAGE}: none of them is here."
    )


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The app under test."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        with contextlib.suppress(OSError):  # the client may be gone
            await send({**message, "type": "websocket.send"})


async def echo_by_reference(connection: ServerConnection) -> None:
    """The same for `websockets`' own server."""
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def serving(name: str) -> Any:
    """Serve the echo on loopback: its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if name == REFERENCE:
            async with serve(echo_by_reference, sock=listener, compression=None, max_size=None):
                yield port
            return
        config = uvicorn.Config(
            echo,
            ws=CLASSES[name],
            lifespan="off",
            log_level="critical",
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield port
        finally:
            server.should_exit = True
            await task


async def run_suite(names: list[str], cases: list[str], folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The suite's report: by agent and case."""
    command = find_client(folder)
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            {"agent": name, "url": f"ws://127.0.0.1:{await stack.enter_async_context(serving(name))}"} for name in names
        ]
        spec = {"outdir": str(folder), "servers": servers, "cases": cases, "exclude-cases": [], "options": {}}
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        with (folder / "wstest.log").open("wb") as log:
            client = await asyncio.create_subprocess_exec(
                *command, "-m", "fuzzingclient", "-s", str(folder / "spec.json"), stdout=log, stderr=log
            )
            try:
                await asyncio.wait_for(client.wait(), LIMIT_S)
            finally:
                if client.returncode is None:
                    client.kill()
                    await client.wait()
    index = folder / "index.json"
    if client.returncode or not index.is_file():
        log_text = (folder / "wstest.log").read_text(encoding="utf-8", errors="replace")
        raise MissingError(f"The Autobahn test suite ended with {client.returncode}:\n{log_text[-2000:]}")
    report: dict[str, dict[str, dict[str, Any]]] = json.loads(index.read_text(encoding="utf-8"))
    return report


def verdict(case: dict[str, Any]) -> str:
    """What became of one case: the worse of its behaviour and its close."""
    said = {case["behavior"], case["behaviorClose"]}
    if said <= PASSED:
        return "passed"
    if said <= PASSED | INFORMATIONAL:
        return "informational"
    return "non-strict" if said <= PASSED | INFORMATIONAL | NON_STRICT else "failed"


def case_order(case_id: str) -> list[int]:
    """Case ids in the order of their numbers."""
    return [int(part) for part in case_id.split(".")]


def show(report: dict[str, dict[str, dict[str, Any]]]) -> dict[str, set[str]]:
    """Print the table: the failed cases by agent."""
    table = Table("server", "cases", "passed", "non-strict", "informational", "failed")
    failed: dict[str, set[str]] = {}
    notes: list[str] = []
    for agent, cases in report.items():
        verdicts = {case_id: verdict(case) for case_id, case in cases.items()}
        count = Counter(verdicts.values())
        kinds = ("passed", "non-strict", "informational", "failed")
        table.add_row(agent, str(len(cases)), *(str(count[kind]) for kind in kinds))
        for kind in ("non-strict", "failed"):
            ids = sorted((case_id for case_id, said in verdicts.items() if said == kind), key=case_order)
            if ids:
                notes.append(f"{agent}, {kind}: {' '.join(ids)}")
        failed[agent] = {case_id for case_id, said in verdicts.items() if said == "failed"}
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)
    return failed


def main() -> int:
    """Run the suite: 0, 1 or 2, as the head of this file says."""
    parser = argparse.ArgumentParser(description="The Autobahn test suite against our WebSocket protocol classes.")
    parser.add_argument(
        "--ws", action="append", choices=[*CLASSES, REFERENCE], help="a server; default: ours, sansio, websockets"
    )
    parser.add_argument("--cases", action="append", help="for example 6.4.*; default: sections 1 to 7 and 10")
    parser.add_argument("--reports", type=Path, help="where the suite's own reports are to be kept")
    arguments = parser.parse_args()
    logging.disable()  # every server tells of each broken frame
    names: list[str] = arguments.ws or [JUDGED, "sansio", REFERENCE]
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.reports or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            report = asyncio.run(run_suite(names, arguments.cases or CASES, folder))
        except (MissingError, ImportError, TimeoutError) as exc:
            print(str(exc) or f"The Autobahn test suite took longer than {LIMIT_S} s.", file=sys.stderr)
            return 2
    failed = show(report)
    print(f"websockets {websockets.__version__}, uvicorn {uvicorn.__version__}")
    worse = failed.get(JUDGED, set()) - failed.get(REFERENCE, set())
    if worse:
        print(f"{JUDGED} fails where {REFERENCE} does not: {' '.join(sorted(worse, key=case_order))}")
    return bool(worse)


if __name__ == "__main__":
    sys.exit(main())
