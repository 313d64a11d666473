"""Server and load as processes of their own: each on its core, in its own group, ended by its id whatever happens."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from .environments import ROOT, python
from .load.plan import Plan
from .peers import LOAD_ENVIRONMENT, Peer

READY_TIMEOUT_S = 90.0  # importing a peer for the first time compiles it
ANSWER_TIMEOUT_S = 20.0
END_TIMEOUT_S = 5.0


class ChildError(Exception):
    """A server or a load ended, said nothing in time, or said that it failed."""


def cores() -> tuple[int, int] | None:
    """The cores for server and load; None where there are not two, or processes can't be pinned."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[-1], allowed[0]) if len(allowed) > 1 else None


CORES = cores()


@contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """A process that is started in here inherits the core."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Child:
    """A process that speaks lines of JSON."""

    def __init__(self, command: list[str], core: int | None, more: dict[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        with _on_core(core):
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                env={**environment, **more},
            )
        self._unread = b""

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(END_TIMEOUT_S)
        self._errors.close()

    def read(self, timeout_s: float) -> dict[str, Any]:
        """The next line.

        Raises:
            ChildError: it did not come, or the process has ended.
        """
        assert self._process.stdout
        until_s = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not select.select([self._process.stdout], [], [], left_s)[0]:
                raise ChildError(f"no answer in {timeout_s:.0f} s; {self.complaint()}")
            piece = os.read(self._process.stdout.fileno(), 1 << 20)
            if not piece:
                raise ChildError(f"ended: {self.complaint()}")
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError as exc:
            raise ChildError(f"said {line[:200]!r}") from exc
        return message

    def write(self, line: str) -> None:
        """Say one line.

        Raises:
            ChildError: the process has ended.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except OSError as exc:
            raise ChildError(f"ended: {self.complaint()}") from exc

    def complaint(self) -> str:
        """The last line that it wrote as an error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it wrote no error"


class ServerProcess(Child):
    """A peer's server, ready when this returns."""

    def __init__(self, peer: Peer, role: str, environment: dict[str, str] | None = None) -> None:
        self.port = _free_port()
        command = [str(python(peer.environment)), "-m", f"benchmarks.servers.{peer.module}", role, str(self.port)]
        more = {"BENCHMARK_TLS": str(certificate())} if peer.tls else {}
        super().__init__([*command, peer.variant], CORES and CORES[0], (environment or {}) | more)
        try:
            self.about = self.read(READY_TIMEOUT_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> ServerProcess:
        return self

    def used(self, *, collect: bool = False) -> dict[str, Any]:
        """What it has used and counted so far."""
        self.write("collect" if collect else "tell")
        return self.read(ANSWER_TIMEOUT_S)


class LoadProcess(Child):
    """The load, connected when this returns; `opened` is its first line."""

    def __init__(self, plan: Plan, environment: dict[str, str] | None = None) -> None:
        command = [str(python(LOAD_ENVIRONMENT)), "-m", "benchmarks.load", plan.to_json()]
        super().__init__(command, CORES and CORES[1], environment or {})
        try:
            self.opened = self.read(READY_TIMEOUT_S + (plan.streams + plan.interrupting) / plan.opens_a_second)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> LoadProcess:
        return self


@functools.cache
def certificate() -> Path:
    """Key and certificate of a server, made for this run."""
    import trustme

    folder = Path(tempfile.mkdtemp(prefix="benchmark-tls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "server.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
