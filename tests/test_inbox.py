"""The bound of what waits for a program that doesn't take its messages."""

from __future__ import annotations

import pytest

from vonage_audio_connector_server.core.events import UnknownEvent
from vonage_audio_connector_server.inbox import INBOX_BYTES, Inbox, Item, text_bytes


def test_messages_come_out_in_order() -> None:
    inbox = Inbox()
    text = UnknownEvent("text", None, None)
    items: list[Item] = [b"\0" * 640, text, b"\1" * 640]
    for number, item in enumerate(items):
        inbox.put(item, float(number))
    assert inbox.since_s == 0.0
    assert [inbox.take() for _ in range(3)] == items
    assert not inbox
    assert inbox.since_s is None


def test_what_was_taken_can_be_put_back() -> None:
    inbox = Inbox()
    inbox.put(b"\1\1", 1.0)
    inbox.put(b"\2\2", 2.0)
    inbox.put_back(inbox.take(), 3.0)
    assert [inbox.take(), inbox.take()] == [b"\1\1", b"\2\2"]


def test_the_oldest_are_dropped_and_counted() -> None:
    inbox = Inbox()
    fits = INBOX_BYTES // 1024
    for number in range(fits + 10):
        inbox.put(number.to_bytes(2, "big") * 512, 0.0)
    assert inbox.dropped == 10
    assert inbox.take() == (10).to_bytes(2, "big") * 512


def test_clearing_drops_nothing_that_counts() -> None:
    inbox = Inbox()
    inbox.put(bytes(INBOX_BYTES), 0.0)
    inbox.clear()
    inbox.put(bytes(INBOX_BYTES), 0.0)  # there is room again
    assert inbox.dropped == 0
    assert inbox


@pytest.mark.parametrize(("text", "size"), [("ab", 2), ("ä", 2), ("\U0001f600", 4)])
def test_sizes_are_those_of_the_wire(text: str, size: int) -> None:
    assert text_bytes(text) == size
    inbox = Inbox()
    fits = INBOX_BYTES // size
    for _ in range(fits + 3):
        inbox.put(UnknownEvent(text, None, None), 0.0)
    assert inbox.dropped == 3
