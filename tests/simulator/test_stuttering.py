"""A program that stutters in every way: its report names the causes, each at its place on the time line."""

from __future__ import annotations

from pathlib import Path

import pytest

from vonage_audio_connector_server.cli.plan import Plan
from vonage_audio_connector_server.cli.simulating import Made, make_calls
from vonage_audio_connector_server.core.json_audio import JSONTransport
from vonage_audio_connector_server.simulator import Faults, Patience, Setup
from vonage_audio_connector_server.simulator.report import render_html
from vonage_audio_connector_server.simulator.steps import Network, Step, Wait

pytestmark = pytest.mark.alone

PROGRAM = """
import asyncio
import time

from vonage_audio_connector_server import AudioConnector, JSONTransport
from vonage_audio_connector_server.simulator.speech import recording


async def on_connect(client):
    rate_hz = (await client.wait_format()).rate_hz
    speech = recording("librivox-1", rate_hz)
    await client.send_audio_buffer(speech[: 2 * 2 * rate_hz])
    await asyncio.sleep(1.0)
    time.sleep(1.0)  # noqa: ASYNC251 (it blocks the event loop: from 1.0 s on, which is heard from 1.3 s on)
    await client.drain()
    await client.send_audio_buffer(speech[: 2 * rate_hz])
    await asyncio.sleep(1.5)  # and has nothing to say for half a second
    await client.send_audio_buffer(speech[: 6 * 2 * rate_hz])
    await client.drain()


# Each frame is a text of 60 kB, so that a socket is soon full.
connector = AudioConnector(on_connect, audio_transport=JSONTransport(send_static_fields={"padding": "x" * 60_000}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    program: Path = tmp_path_factory.mktemp("stuttering") / "stuttering_program.py"
    program.write_text(PROGRAM)
    steps: tuple[Step, ...] = (Wait(5.0), Network(Faults(slow_reader_bytes_s=700_000)), Wait(6.0))
    return make_calls(
        f"{program}:connector",
        [Plan(steps=steps, setup=Setup(transport=JSONTransport()))],
        path="/",
        patience=Patience(),
        faults=None,
        ssl_context=None,
        compare=False,
        with_devices=False,
        on_progress=None,
    )


def test_each_gap_has_its_cause_at_its_place(made: Made) -> None:
    report = made.reports[0]
    causes = {gap.cause: gap for gap in reversed(report.gaps) if gap.ms > 20}  # the first of each

    blocked = causes["loop blocked"]
    assert 1.2 < blocked.at_s < 1.7
    assert 400 < blocked.ms < 1_000

    late = causes["producer late"]
    assert 3.5 < late.at_s < 4.6
    assert 300 < late.ms < 800

    backed_up = causes["socket backed up"]
    assert 5.0 < backed_up.at_s < 8.0
    assert set(causes) <= {"loop blocked", "producer late", "socket backed up", "network: slow reader, on purpose"}


def test_the_log_of_the_server_stands_in_the_report(made: Made) -> None:
    lines = [note["text"] for _, note in made.recordings[0].notes("log")]

    assert any("stuttering_program.py:14 in on_connect" in line for line in lines)
    page = render_html(made.recordings, reports=made.reports)
    for cause in ("loop blocked", "producer late", "socket backed up"):
        assert cause in page
