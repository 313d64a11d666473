"""Each fault of the network, and of the router, before three programs: what the caller gets and what the server says.

The table is that of docs/network-faults.md. All faults of one program happen at once, over real sockets, to one server;
behind them that server serves a good call, has no task and no socket left of any, and has logged no traceback.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vonage_audio_connector_server.cli.program import Program, program
from vonage_audio_connector_server.simulator import Conversation, Faults, Patience, Setup, SimulationReport
from vonage_audio_connector_server.simulator.conversation import question
from vonage_audio_connector_server.simulator.speech import recording

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
FILES = Path("/proc/self/fd")  # of Linux
PAGE = EXAMPLES.parent / "docs" / "network-faults.md"

MODULE = """
import sys
sys.path.insert(0, {examples!r})
import asyncio
from {example} import on_connect
from vonage_audio_connector_server import AudioConnector

async def never(info):
    await asyncio.sleep(30)
    return True

async def authorize(info):
    return await never(info) if info.uri.endswith("slow") else True

connector = AudioConnector(on_connect, authorize=authorize)
"""

ANSWERS = {"echo": "answered", "parrot": "answered", "record": "no answer"}
"""What each of the programs does in a good call: one that records says nothing."""


@dataclass(frozen=True)
class Case:
    """One fault. `outcome`: of the call, None: that of a good one. `server`: code and closer, as it saw them."""

    name: str
    faults: Faults | None = None
    setup: dict[str, Any] = field(default_factory=dict)
    path: str = "/"
    outcome: str | None = None
    server: tuple[int, str] | None = (1000, "session")
    whole: bool = True  # all that was said comes back from who says it back


CASES = [
    Case("delay", Faults(delay_s=0.15)),
    Case("jitter", Faults(jitter_s=0.08), whole=False),
    Case("stall", Faults(stalls=((0.8, 1.0),)), whole=False),
    Case("slow reader", Faults(slow_reader_bytes_s=28_000), whole=False),
    Case("abrupt drop", Faults(drop_at_s=1.0), outcome="connection lost", server=(1006, "network")),
    Case("half open", Faults(half_open_at_s=1.0), outcome="connection lost", server=(1006, "network")),
    Case("late first message", setup={"first_s": 1.5}),
    Case("repeated header", setup={"repeats_header": True}),
    Case("no accept in time", path="/slow", outcome="not connected", server=None),
]


def conversation(one: Program, case: Case, pcm: bytes) -> tuple[Conversation, Setup]:
    setup = Setup(**case.setup)
    patience = Patience(within_s=3.0, quiet_s=1.2, limit_s=12.0)
    url = one.address + case.path
    return Conversation(url, question(pcm, case.name), setup, patience=patience, faults=case.faults), setup


def closed(one: Program, setup: Setup) -> tuple[int, str] | None:
    """How the server saw the end, which may be a moment after the caller did."""
    until_s = time.monotonic() + 5
    while True:
        seen = one.seen(setup.connection_id)
        notes = [] if seen is None else [data for _, data in seen.notes("closed")]
        if notes or seen is None or time.monotonic() > until_s:
            return (notes[-1]["code"], notes[-1]["by"]) if notes else None
        time.sleep(0.05)


def held(one: Program) -> tuple[int, int]:
    """How many tasks its event loop has, and how many sockets this process."""
    assert one._loop is not None
    sockets = 0
    for file in FILES.iterdir() if FILES.exists() else ():
        with suppress(OSError):  # it is closed meanwhile
            sockets += str(file.readlink()).startswith("socket:")
    return len(asyncio.all_tasks(one._loop)), sockets


@pytest.mark.parametrize("example", ["echo", "parrot", "record"])
def test_every_fault_is_survived(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = tmp_path / f"faulty_{example}.py"
    module.write_text(MODULE.format(examples=str(EXAMPLES), example=example))
    monkeypatch.setenv("RECORDINGS", str(tmp_path))
    pcm = recording("librivox-2", 16_000)

    with program(f"{module}:connector") as one:
        before = held(one)
        calls = [conversation(one, case, pcm) for case in CASES]

        async def run_all() -> None:
            async with asyncio.TaskGroup() as tasks:
                for call, _ in calls:
                    tasks.create_task(call.run())

        asyncio.run(run_all())
        reports = [call.report(compare=case.whole) for (call, _), case in zip(calls, CASES, strict=True)]
        seen = [closed(one, setup) for _, setup in calls]

        good, _ = conversation(one, Case("good"), pcm)
        asyncio.run(good.run())
        after = good.report(compare=True)
        until_s = time.monotonic() + 10
        while held(one) != before and time.monotonic() < until_s:
            time.sleep(0.05)
        assert held(one) == before

    found = {case.name: (report.outcome, end) for case, report, end in zip(CASES, reports, seen, strict=True)}
    assert found == {case.name: (case.outcome or ANSWERS[example], case.server) for case in CASES}
    for case, report in zip(CASES, reports, strict=True):
        assert (report.wrong_size_frames, report.wrong_transport_frames, report.overflow_frames) == (0, 0, 0)
        if case.whole and case.outcome is None and example == "parrot":
            assert report.same_as_question is not None
            assert report.same_as_question > 0.95, case.name
    check(after, example)
    assert [record for record in caplog.records if record.exc_info] == []


def check(good: SimulationReport, example: str) -> None:
    assert good.ok, good.problems
    assert good.outcome == ANSWERS[example]
    if example == "parrot":
        assert (good.same_as_question or 0) > 0.95


def test_the_page_has_a_row_for_each_fault() -> None:
    page = PAGE.read_text("utf-8")

    assert [case.name for case in CASES if f"| {case.name} |" not in page] == []
