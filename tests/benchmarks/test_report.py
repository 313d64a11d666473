"""Results, verdicts and the report of the benchmark."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import report
from benchmarks.peers import PEERS, ROWS
from benchmarks.results import Entry, Results
from benchmarks.targets import TARGETS, Target

ABOUT: dict[str, Any] = {
    "date": "2026-01-01",
    "command": "make bench",
    "minutes": 1.0,
    "machine": {"cores": "2"},
    "absent": {},
    "versions": {"ours": ["uvicorn==1"]},
}


def measured(row: str, peer: str, name: str, *values: float, streams: int = 200) -> list[Entry]:
    return [
        Entry(row, peer, number, figures={"streams": streams, name: value}) for number, value in enumerate(values, 1)
    ]


def target(text: str) -> Target:
    return next(found for found in TARGETS if found.text.startswith(text))


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    entries = measured("in", "ours", "us_a_message", 10, 40, 30) + measured(
        "in", "reference", "us_a_message", 20, 100, 100
    )
    assert Results(entries).ratio("in", "ours", "reference", "us_a_message") == pytest.approx(0.4)


def test_rounds_that_one_of_both_lacks_are_left_out_of_a_ratio() -> None:
    entries = measured("in", "ours", "us_a_message", 10, 40)
    entries += [Entry("in", "reference", 1, problem="ended"), Entry("in", "reference", 2, figures={"us_a_message": 80})]
    assert Results(entries).ratio("in", "ours", "reference", "us_a_message") == 0.5


@pytest.mark.parametrize(("cost", "met"), [(31.0, True), (32.0, False)])
def test_a_target_is_met_up_to_its_limit(cost: float, met: bool) -> None:
    results = Results(measured("in", "ours", "us_a_message", cost) + measured("in", "reference", "us_a_message", 100))
    assert target("in, of the reference").met(results) is met
    assert target("in, of the reference").verdict(results).startswith("met" if met else "**missed**")


def test_a_capacity_is_met_from_its_limit_on() -> None:
    results = Results(
        [
            Entry("capacity", "ours", 1, figures={"streams": 480}),
            Entry("capacity", "reference", 1, figures={"streams": 200}),
            Entry("capacity", "pipecat", 1, figures={"streams": 100}),
        ]
    )
    assert target("capacity, of the reference").met(results) is True
    assert target("capacity, of pipecat").met(results) is False


def test_one_gap_in_one_round_misses() -> None:
    assert target("play, gaps").met(Results(measured("play", "ours", "gaps", 0, 0, 1))) is False
    assert target("play, gaps").met(Results(measured("play", "ours", "gaps", 0, 0, 0))) is True


def test_what_the_session_still_has_counts_as_old_audio() -> None:
    figures = {"last_old_max_ms": 5.0, "old_left_max_ms": 4000.0}
    assert target("barge-in, from the call to the last").met(Results([Entry("barge-in", "ours", 1, figures)])) is False


def test_growth_compares_a_thousand_streams_with_a_hundred() -> None:
    entries = measured("growth", "ours", "us_a_message", 20, streams=100)
    entries += measured("growth", "ours", "us_a_message", 25, streams=1000)
    assert target("cost per message of 1,000").number(Results(entries)) == 1.25


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert {one.met(Results()) for one in TARGETS} == {None}


def test_the_report_tells_who_cannot_who_failed_and_who_is_absent() -> None:
    results = Results([*measured("in", "ours", "us_a_message", 30.0), Entry("in", "picows", 1, problem="ended: oh")])
    text = report.write(results, PEERS, list(ROWS), ABOUT | {"absent": {"pipecat": "no such version"}})
    assert "| this library, asyncio | 200 | 30.0 |" in text
    assert "- picows alone, asyncio: ended: oh" in text
    assert "- websockets alone, asyncio: has neither a queue nor pacing" in text
    assert "pipecat 1.14, asyncio: absent, its environment could not be built: no such version" in text


def test_the_report_tells_which_rounds_were_disturbed() -> None:
    results = Results(measured("in", "ours", "waited", 0.01, 0.3))
    text = report.write(results, PEERS, ["in"], ABOUT)
    assert "- this library, asyncio: disturbed in 1 of 2 rounds: other processes had its core for up to 30%" in text
    assert "disturbed" not in report.write(Results(measured("in", "ours", "waited", 0.01)), PEERS, ["in"], ABOUT)


def test_every_figure_of_a_table_has_a_place() -> None:
    assert set(report.COLUMNS) == set(report.EXPLANATIONS) == set(ROWS)
