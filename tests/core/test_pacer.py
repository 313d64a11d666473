"""The schedule: never early, never more than lead and batch ahead, no drift, catches up, anchors anew."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.pacer import MAX_LEAD_S, MIN_LEAD_S, Pacer
from vonage_audio_connector_server.core.playout import Playout

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
    pacer.reset(1_000)
    assert pacer.total_samples == 1_000
    assert pacer.heard_samples(START_S) == 1_000
    assert pacer.budget_samples(START_S) == 4_800
    assert pacer.sent(320, START_S) == math.inf
    assert pacer.position_s == START_S + 0.02
    assert pacer.total_samples == 1_320


def test_a_longer_lead_is_due_now_and_keeps_the_position() -> None:
    pacer = Pacer(16_000, 0.2)
    pacer.sent(4_800, START_S)
    pacer.set_lead(2.0)
    assert pacer.position_s == START_S + 0.3
    assert pacer.budget_samples(START_S) == pytest.approx((2.0 + 0.1 - 0.3) * 16_000, abs=1)


def test_a_shorter_lead_waits_and_keeps_the_position() -> None:
    pacer = Pacer(16_000, 2.0)
    pacer.sent(33_600, START_S)
    pacer.set_lead(0.2)
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
    changed.set_lead(lead_s)
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


# What was heard


def written(pacer: Pacer, samples: int, now_s: float) -> None:
    pacer.sent(samples, now_s)
    pacer.written(now_s)


def test_heard_is_what_went_out_but_for_what_lies_ahead() -> None:
    pacer = Pacer(8_000)
    assert pacer.heard_samples(START_S) == 0
    written(pacer, 1_600, START_S)
    heard = [pacer.heard_samples(START_S + s) for s in (0.0, 0.000124, 0.000125, 0.1, 0.199999, 0.2, 9.0)]
    assert heard == [0, 0, 1, 800, 1_599, 1_600, 1_600]
    written(pacer, 800, START_S + 5.0)
    assert pacer.heard_samples(START_S + 5.05) == 2_000


def test_what_is_not_written_is_not_heard() -> None:
    pacer = Pacer(8_000)
    written(pacer, 1_600, START_S)
    pacer.sent(800, START_S + 0.1)
    assert (pacer.unwritten_samples, pacer.total_samples) == (800, 2_400)
    assert pacer.heard_samples(START_S + 0.15) == 1_200
    assert pacer.heard_samples(START_S + 0.25) == pacer.heard_samples(START_S + 9.0) == 1_600
    assert pacer.written(START_S + 0.7) == pytest.approx(0.5)  # dry since 0.2
    assert pacer.unwritten_samples == 0
    assert pacer.position_s == pytest.approx(START_S + 0.8)
    assert pacer.heard_samples(START_S + 0.7) == 1_600
    assert pacer.heard_samples(START_S + 0.75) == 2_000


def test_what_is_written_in_time_moves_nothing() -> None:
    pacer = Pacer(8_000)
    pacer.sent(1_600, START_S)
    assert pacer.written(START_S + 0.1) == 0.0
    assert pacer.position_s == START_S + 0.2
    assert pacer.heard_samples(START_S + 0.1) == 800


def test_what_is_taken_back_did_not_go_out() -> None:
    pacer = Pacer(8_000)
    written(pacer, 800, START_S)
    pacer.sent(800, START_S)
    pacer.unsent(320)
    assert (pacer.total_samples, pacer.unwritten_samples) == (1_280, 480)
    assert pacer.position_s == START_S + 0.16
    assert pacer.heard_samples(START_S + 1.0) == 800


# A live source


def live(out: Playout, now_s: float) -> bool:
    """Send one frame of a live source, if it may be sent now."""
    out.has_more = False
    is_sent = out.push_live(bytes(out.frame_bytes), now_s) is not None
    out.outbox.clear()
    return is_sent


def outbound(rate_hz: int, lead_s: float) -> Playout:
    out = Playout(START_S, rate_hz, lead_s)
    out.know_format()
    return out


def test_a_live_frame_counts_as_one_that_is_sent() -> None:
    out = outbound(8_000, 0.2)
    pacer = out.pacer
    assert live(out, START_S)
    assert (pacer.total_samples, pacer.unwritten_samples) == (160, 160)
    assert pacer.position_s == START_S + 0.02
    out.written(START_S)
    assert pacer.unwritten_samples == 0
    assert live(out, START_S + 0.015)
    assert pacer.position_s == pytest.approx(START_S + 0.04)
    out.written(START_S + 0.015)
    assert live(out, START_S + 0.09)  # dry
    assert pacer.position_s == pytest.approx(START_S + 0.11)


def test_a_live_frame_waits_for_those_before_it_and_for_its_time() -> None:
    out = outbound(8_000, 0.04)
    pacer = out.pacer
    pacer.sent(320, START_S)
    assert not live(out, START_S)  # they are not written
    out.written(START_S)
    assert live(out, START_S)
    out.written(START_S)
    assert not live(out, START_S)  # it is not due
    assert (pacer.total_samples, pacer.unwritten_samples) == (480, 0)
    assert pacer.position_s == pytest.approx(START_S + 0.06)
    assert live(out, START_S + 0.02)


@settings(max_examples=50, deadline=None)
@given(rates_hz, leads_s, st.lists(st.tuples(st.floats(0.0, 0.5), st.booleans()), max_size=30))
def test_a_live_frame_is_refused_where_none_may_be_sent_and_else_is_sent(
    rate_hz: int, lead_s: float, steps: list[tuple[float, bool]]
) -> None:
    out, general = outbound(rate_hz, lead_s), Pacer(rate_hz, lead_s)
    now_s, samples = START_S, rate_hz // 50
    for after_s, writes in steps:
        now_s += after_s
        may = general.budget_samples(now_s) > 0 and not general.unwritten_samples
        assert live(out, now_s) == may
        if may:
            general.sent(samples, now_s)
        if writes:
            out.written(now_s)
            general.written(now_s)
        pacer = out.pacer
        assert pacer.position_s == pytest.approx(general.position_s, abs=TINY_S)
        assert (pacer.total_samples, pacer.unwritten_samples) == (general.total_samples, general.unwritten_samples)


# What has not reached the peer's machine


def test_what_is_not_delivered_is_not_heard() -> None:
    pacer = Pacer(8_000)
    written(pacer, 1_600, START_S)
    pacer.undelivered_samples = 640
    heard = [pacer.heard_samples(START_S + s) for s in (0.0, 0.05, 0.1, 0.15, 0.2, 9.0)]
    assert heard == [0, 400, 800, 960, 960, 960]
    pacer.undelivered_samples = 0
    assert pacer.heard_samples(START_S + 0.15) == 1_200


def test_what_is_not_written_is_not_delivered_either() -> None:
    pacer = Pacer(8_000)
    written(pacer, 1_600, START_S)
    pacer.sent(800, START_S + 0.1)
    pacer.undelivered_samples = 320
    assert pacer.heard_samples(START_S + 9.0) == 1_280
    pacer.written(START_S + 0.1)
    assert pacer.heard_samples(START_S + 9.0) == 2_080


def test_more_may_be_undelivered_than_ever_went_out() -> None:
    """What lies in the network is told in bytes, and not all of them are audio."""
    pacer = Pacer(8_000)
    written(pacer, 1_600, START_S)
    pacer.undelivered_samples = 5_000
    assert pacer.heard_samples(START_S + 0.1) == pacer.heard_samples(START_S + 9.0) == 0


def test_it_moves_no_deadline() -> None:
    pacer = Pacer(8_000)
    written(pacer, 1_600, START_S)
    due_s, budget = pacer.due_s, pacer.budget_samples(START_S + 0.1)
    pacer.undelivered_samples = 1_600
    assert (pacer.due_s, pacer.budget_samples(START_S + 0.1)) == (due_s, budget)


def test_a_reset_forgets_what_was_not_delivered() -> None:
    pacer = Pacer(8_000)
    written(pacer, 1_600, START_S)
    pacer.undelivered_samples = 640
    pacer.reset(1_600)
    assert pacer.undelivered_samples == 0
    assert pacer.heard_samples(START_S) == 1_600


# All together

steps = st.lists(
    st.tuples(
        st.floats(0.0, 0.3),  # seconds until then
        st.sampled_from(["send", "send and wait", "live", "take back", "change", "look"]),
        st.sampled_from([8_000, 16_000, 24_000]),
        st.integers(1, 20),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_heard_never_goes_back_and_never_beyond_what_went_out(steps: list[tuple[float, str, int, int]]) -> None:
    out = outbound(16_000, 0.2)
    pacer = out.pacer
    now_s, heard = START_S, 0
    for after_s, step, rate_hz, frames in steps:
        now_s += after_s
        samples = frames * pacer.rate_hz // 50
        if step == "send":
            written(pacer, samples, now_s)
        elif step == "send and wait":
            pacer.sent(samples, now_s)
            now_s += after_s
            assert pacer.heard_samples(now_s) <= pacer.total_samples - samples
            pacer.written(now_s)
        elif step == "live":
            live(out, now_s)
            out.written(now_s)
        elif step == "take back":
            total_samples = pacer.total_samples
            pacer.sent(samples, now_s)
            pacer.unsent(samples // 2)
            assert pacer.total_samples == total_samples + samples - samples // 2
            pacer.written(now_s)
        elif step == "change":  # of the rate, as the queue does it
            pacer.rate_hz = rate_hz
            out.know_format()
            pacer.reset(pacer.total_samples)
            assert pacer.heard_samples(now_s) == pacer.total_samples
        now_heard = pacer.heard_samples(now_s)
        assert heard <= now_heard <= pacer.total_samples
        heard = now_heard
    assert pacer.heard_samples(max(now_s, pacer.position_s)) == pacer.total_samples


@settings(max_examples=100, deadline=None)
@given(steps, st.lists(st.integers(0, 20_000), min_size=30, max_size=30))
def test_heard_is_at_most_what_was_delivered(
    steps: list[tuple[float, str, int, int]], undelivered_samples: list[int]
) -> None:
    pacer = Pacer(16_000)
    now_s = START_S
    for (after_s, step, _, frames), undelivered in zip(steps, undelivered_samples, strict=False):
        now_s += after_s
        samples = frames * 320
        pacer.sent(samples, now_s)
        if step != "send and wait":
            pacer.written(now_s)
        by_clock = pacer.heard_samples(now_s)
        pacer.undelivered_samples = undelivered
        heard = pacer.heard_samples(now_s)
        delivered = max(0, pacer.total_samples - pacer.unwritten_samples - undelivered)
        assert heard == min(by_clock, delivered)
        pacer.undelivered_samples = 0
