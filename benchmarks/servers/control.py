"""How a server program talks with the runner: it says that it is ready, and what it has used whenever it is asked.

A line on standard input asks; its end, for instance because the runner is gone, ends the process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import ssl
import sys
import threading
import time
import tracemalloc
from pathlib import Path

if os.environ.get("BENCHMARK_TRACEMALLOC"):
    tracemalloc.start()

COUNTS = {"received": 0, "connected": 0}


def arguments() -> tuple[str, int, str]:
    """Role, port and variant, from the command line."""
    return sys.argv[1], int(sys.argv[2]), (sys.argv[3] if len(sys.argv) > 3 else "")


def options(variant: str) -> dict[str, str]:
    """A variant that is a list of `name=value`, with commas."""
    return dict(entry.split("=") for entry in variant.split(",") if entry)


def tls() -> ssl.SSLContext | None:
    """The server's side of TLS, where the peer is measured under it."""
    certificate = os.environ.get("BENCHMARK_TLS")
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def wait_a_little() -> None:
    """What every bot's handler does: it waits for another task, as for a queue, a model or a socket."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    await done


def ready(detail: str = "") -> None:
    """Say that the server listens, and answer questions from now on."""
    threading.Thread(target=_answer, daemon=True).start()
    _say({"ready": True, "detail": detail, "python": sys.version.split()[0]})


def raise_file_limit() -> int:
    """Allow as many open sockets as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def rss_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def waited_s() -> float | None:
    """How long the event loop's thread was ready to run and had no core; None where the system does not tell."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def _answer() -> None:
    for line in sys.stdin:
        traced_bytes = 0
        if "collect" in line:
            gc.collect()
        if tracemalloc.is_tracing():
            traced_bytes = tracemalloc.get_traced_memory()[0]
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        _say(
            {
                "at_s": time.monotonic(),
                "cpu_s": time.process_time() + children.ru_utime + children.ru_stime,
                "waited_s": waited_s(),
                "rss_bytes": rss_bytes(),
                "traced_bytes": traced_bytes,
                **COUNTS,
            }
        )
    os._exit(0)


def _say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


raise_file_limit()
