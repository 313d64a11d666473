"""The schedule: never early, never more than lead and batch ahead, no drift, catches up, anchors anew."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.pacing import MAX_LEAD_S, MIN_LEAD_S, Pacer

START_S = 86_400.25  # a monotonic clock that runs since a day
TINY_S = 1e-6
rates_hz = st.sampled_from([8_000, 16_000, 24_000])
leads_s = st.floats(MIN_LEAD_S, 2.0)


def send_all_due(pacer: Pacer, now_s: float) -> int:
    """Send whole 20 ms frames up to the budget, as the session does; returns how many."""
    frame_samples = pacer.rate_hz // 50
    frames = pacer.budget_samples(now_s) // frame_samples
    if frames:
        pacer.sent(frames * frame_samples, now_s)
    return frames


@settings(max_examples=25, deadline=None)
@given(rates_hz, leads_s, st.floats(0.0, 1e6), st.lists(st.floats(0.0, 0.5), max_size=30))
def test_schedule_holds_for_any_lateness(rate_hz: int, lead_s: float, now_s: float, late_s: list[float]) -> None:
    pacer = Pacer(rate_hz, lead_s)
    anchor_s, frames = now_s, 0
    for delay_s in [0.0, *late_s]:
        due_s = max(now_s, pacer.due_s)
        assert pacer.budget_samples(due_s - TINY_S) == 0 or due_s == now_s  # never before it is due
        now_s = due_s + delay_s
        if now_s > anchor_s + frames * 0.02:  # the listener ran dry
            anchor_s, frames = now_s, 0
        sent = send_all_due(pacer, now_s)
        frames += sent
        assert sent >= 1  # what is due goes out
        assert pacer.position_s == pytest.approx(anchor_s + frames * 0.02, abs=TINY_S)  # no drift
        ahead_s = pacer.position_s - now_s
        assert ahead_s <= pacer.lead_s + pacer.batch_s + TINY_S  # never further ahead
        assert ahead_s > pacer.lead_s + pacer.batch_s - 0.02 - TINY_S  # the batch is used
        assert pacer.budget_samples(now_s) < rate_hz // 50


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_no_drift_in_six_hours(rate_hz: int) -> None:
    pacer = Pacer(rate_hz, 2.0)
    now_s, frames = START_S, 0
    while frames < 6 * 3600 * 50:
        frames += send_all_due(pacer, now_s)
        now_s = pacer.due_s + 1.903  # always late, never dry
    assert abs(pacer.position_s - (START_S + frames * 0.02)) < 1e-6


def test_first_frame_is_due_at_once() -> None:
    pacer = Pacer(16_000)
    assert pacer.due_s == -math.inf
    assert pacer.budget_samples(START_S) == 4_800  # lead and batch: 300 ms
    assert pacer.sent(4_800, START_S) == math.inf
    assert pacer.position_s == START_S + 0.3


def test_nothing_is_due_until_one_lead_before_the_position() -> None:
    pacer = Pacer(16_000)
    pacer.sent(4_800, START_S)
    assert pacer.due_s == pytest.approx(START_S + 0.1)
    assert pacer.budget_samples(START_S) == 0
    assert pacer.budget_samples(START_S + 0.0999) == 0
    assert pacer.budget_samples(START_S + 0.1) == 1_600  # one batch
    assert pacer.budget_samples(START_S + 0.12) == 1_920  # and what it is late


def test_a_stall_shorter_than_the_lead_is_caught_up_without_a_new_anchor() -> None:
    pacer = Pacer(16_000)
    pacer.sent(4_800, START_S)
    now_s = pacer.due_s + 0.19
    assert pacer.budget_samples(now_s) == pytest.approx(1_600 + 0.19 * 16_000, abs=1)
    assert pacer.sent(4_640, now_s) == 0.0
    assert pacer.position_s == pytest.approx(START_S + (4_800 + 4_640) / 16_000, abs=1e-9)


def test_after_silence_the_anchor_is_now() -> None:
    pacer = Pacer(16_000)
    pacer.sent(320, START_S)
    now_s = START_S + 5.02
    assert pacer.budget_samples(now_s) == 4_800  # lead and batch, not five seconds
    assert pacer.sent(320, now_s) == pytest.approx(5.0)
    assert pacer.position_s == pytest.approx(now_s + 0.02, abs=1e-9)


def test_samples_that_follow_in_time_are_no_dry_listener() -> None:
    pacer = Pacer(16_000)
    pacer.sent(320, START_S)
    assert pacer.sent(320, START_S + 0.02 - 1e-6) == 0.0
    assert pacer.position_s == pytest.approx(START_S + 0.04, abs=1e-9)


def test_reset_makes_the_next_frame_due_at_once() -> None:
    pacer = Pacer(16_000)
    pacer.sent(160_000, START_S)
    assert pacer.budget_samples(START_S) == 0
    pacer.reset()
    assert pacer.budget_samples(START_S) == 4_800
    pacer.sent(320, START_S)
    assert pacer.position_s == START_S + 0.02


def test_a_longer_lead_is_due_now_and_keeps_the_position() -> None:
    pacer = Pacer(16_000, 0.2)
    pacer.sent(4_800, START_S)
    pacer.lead_s = 2.0
    assert pacer.position_s == START_S + 0.3
    assert pacer.budget_samples(START_S) == pytest.approx((2.0 + 0.1 - 0.3) * 16_000, abs=1)


def test_a_shorter_lead_waits_and_keeps_the_position() -> None:
    pacer = Pacer(16_000, 2.0)
    pacer.sent(33_600, START_S)
    pacer.lead_s = 0.2
    assert pacer.position_s == START_S + 2.1
    assert pacer.due_s == pytest.approx(START_S + 1.9)
    assert pacer.budget_samples(START_S + 1.8) == 0
    assert pacer.budget_samples(START_S + 1.9) == 1_600


@pytest.mark.parametrize(
    ("lead_s", "batch_s"), [(MIN_LEAD_S, 0.02), (0.1, 0.05), (0.2, 0.1), (1.0, 0.1), (MAX_LEAD_S, 0.1)]
)
def test_batch_is_short_where_the_lead_is(lead_s: float, batch_s: float) -> None:
    assert Pacer(16_000, lead_s).batch_s == batch_s
    changed = Pacer(16_000)
    changed.lead_s = lead_s
    assert changed.batch_s == batch_s


def test_shortest_lead_still_carries_whole_frames() -> None:
    pacer = Pacer(8_000, MIN_LEAD_S)
    now_s, frames = START_S, 0
    for _ in range(1_000):
        sent = send_all_due(pacer, now_s)
        assert sent >= 1
        frames += sent
        now_s = pacer.due_s
    assert pacer.position_s == pytest.approx(START_S + frames * 0.02, abs=TINY_S)
