"""Wake-ups finer than an event loop's own, which are whole milliseconds: Linux's timerfd, where there is one.

Sessions are independent of each other: their frames reach a server one by one. A load that sends ten at a time makes
every server look cheaper than it is, because one turn of its event loop then serves ten messages.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK = 0o4000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class Timer:
    """Calls `tick` each `period_s` until it is stopped; on systems without timerfd each millisecond."""

    def __init__(self, period_s: float, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._loop = asyncio.get_running_loop()
        self._running = True
        self._fd = _timerfd(period_s)
        if self._fd is None:
            self._again()
        else:
            self._loop.add_reader(self._fd, self._expired, self._fd)

    @property
    def is_fine(self) -> bool:
        """Whether it is finer than a millisecond."""
        return self._fd is not None

    def stop(self) -> None:
        """No more calls."""
        self._running = False
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _expired(self, fd: int) -> None:
        os.read(fd, 8)
        self._tick()

    def _again(self) -> None:
        if self._running:
            self._tick()
            self._loop.call_later(0.001, self._again)


def _timerfd(period_s: float) -> int | None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
    except (OSError, AttributeError):
        return None
    if fd < 0:
        return None
    period = _TimeSpec(int(period_s), round(period_s % 1 * 1e9))
    spec = _TimerSpec(period, period)
    if libc.timerfd_settime(fd, 0, ctypes.byref(spec), None) != 0:
        os.close(fd)
        return None
    return fd
