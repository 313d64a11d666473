"""Children of the benchmark: what they say is read in time, and none outlives its use."""

from __future__ import annotations

import os
import select
import sys

import pytest

from benchmarks.processes import Child, ChildError


def child(program: str) -> Child:
    return Child([sys.executable, "-c", program], None, {})


def test_lines_are_read_one_by_one() -> None:
    with child('print(\'{"a": 1}\\n{"a": 2}\', flush=True); input()') as process:
        assert [process.read(20.0), process.read(20.0)] == [{"a": 1}, {"a": 2}]


def test_a_child_that_ends_is_told_with_its_last_error() -> None:
    with child("raise ValueError('no such peer')") as process, pytest.raises(ChildError, match="no such peer"):
        process.read(20.0)


def test_a_child_that_says_something_else_is_told() -> None:
    with child("print('hello', flush=True); input()") as process, pytest.raises(ChildError, match="hello"):
        process.read(20.0)


def test_a_silent_child_is_not_waited_for_any_longer() -> None:
    with child("input()") as process, pytest.raises(ChildError, match="no answer"):
        process.read(0.01)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process that is not its child")
def test_no_child_and_no_grandchild_outlives_its_use() -> None:
    program = (
        "import subprocess, sys, json; other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(json.dumps({'pid': other.pid}), flush=True); other.wait()"
    )
    with child(program) as process:
        ended = os.pidfd_open(process.read(20.0)["pid"])
        assert not select.select([ended], [], [], 0.0)[0]
    try:
        assert select.select([ended], [], [], 20.0)[0]
    finally:
        os.close(ended)
