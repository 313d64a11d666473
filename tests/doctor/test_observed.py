"""What is made of what was seen: addresses, bursts, and what must not be shown."""

from __future__ import annotations

import pytest

from vonage_audio_connector_server.doctor.address import judge_addresses
from vonage_audio_connector_server.doctor.diagnosis import masked
from vonage_audio_connector_server.doctor.observed import bursts_s, intervals_s


def arrivals(batch: int, count: int, start_s: float = 1.0) -> list[float]:
    """`count` frames of 20 ms, `batch` of them at a time."""
    return [start_s + (at // batch) * batch * 0.02 + (at % batch) * 0.0002 for at in range(count)]


@pytest.mark.parametrize(("batch", "bursts"), [(1, 0), (5, 0), (10, 0), (25, 7), (50, 3)])
def test_bursts_are_what_was_saved_up(batch: int, bursts: int) -> None:
    found = bursts_s(arrivals(batch, 200), 0.02)
    assert len(found) == bursts
    assert all(seconds == pytest.approx(batch * 0.02) for seconds in found)


def test_an_answer_that_begins_far_ahead_is_no_burst() -> None:
    # A lead of 0.4 s behind a silence of 3 s, and then in step.
    found = bursts_s([*arrivals(1, 50, 0.0), *arrivals(20, 20, 4.0), *arrivals(5, 100, 4.1)], 0.02)
    assert found == []


def test_pauses_are_no_intervals() -> None:
    assert intervals_s([0.0, 0.02, 0.05, 3.0, 3.02]) == pytest.approx([0.02, 0.02, 0.03])


@pytest.mark.parametrize(
    ("addresses", "status", "told"),
    [
        (["93.184.216.34"], "passed", "bot is 93.184.216.34"),
        (["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"], "passed", "2606"),
        (["127.0.0.1"], "warning", "this machine alone"),
        (["::1"], "warning", "this machine alone"),
        (["10.0.0.7"], "warning", "a private network"),
        (["fe80::1%eth0"], "warning", "this cable alone"),
        (["100.64.0.1"], "warning", "not a public address"),
        (["93.184.216.34", "192.168.0.4"], "warning", "192.168.0.4 (a private network)"),
    ],
)
def test_addresses(addresses: list[str], status: str, told: str) -> None:
    line = judge_addresses("bot", addresses)
    assert line.status == status
    assert told in line.text
    assert bool(line.advice) == (status == "warning")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://bot.example.com/vonage?token=abc&room=7", "wss://bot.example.com/vonage?token=***&room=***"),
        ("wss://ann:pass@bot.example.com:8443/#secret", "wss://bot.example.com:8443/"),
        ("wss://bot.example.com/?abc", "wss://bot.example.com/?***"),
        ("wss://bot.example.com", "wss://bot.example.com"),
        ("wss://[oops?token=abc", "the address"),
    ],
)
def test_addresses_are_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert masked(url) == shown
