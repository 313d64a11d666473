"""The machine and the moment, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from .processes import CORES


def describe() -> dict[str, str]:
    """Processor, cores, kernel, Python, and how server and load were kept apart."""
    pinned = (
        f"server on core {CORES[0]}, load on core {CORES[1]}"
        if CORES
        else "not pinned: this machine has no two cores, or can't pin"
    )
    return {
        "processor": _processor(),
        "cores": str(_cores()),
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "pinned": pinned,
    }


def _processor() -> str:
    return _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def _cores() -> int:
    return os.cpu_count() or 1


def _memory() -> str:
    kilobytes = _field("/proc/meminfo", "MemTotal").split()
    return f"{int(kilobytes[0]) / 2**20:.0f} GiB" if kilobytes else "unknown"


def _field(path: str, name: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""
