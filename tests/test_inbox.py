"""The bound of what waits for a program that doesn't take its messages."""

from __future__ import annotations

import pytest

from vonage_audio_connector_server.inbox import INBOX_BYTES, Inbox, size_bytes


def test_messages_come_out_in_order() -> None:
    inbox = Inbox()
    for message in (b"\0" * 640, "text", b"\1" * 640):
        inbox.put(message)
    assert [inbox.take() for _ in range(3)] == [b"\0" * 640, "text", b"\1" * 640]
    assert not inbox


def test_the_oldest_are_dropped_and_counted() -> None:
    inbox = Inbox()
    fits = INBOX_BYTES // 1024
    for number in range(fits + 10):
        inbox.put(number.to_bytes(2, "big") * 512)
    assert inbox.dropped == 10
    assert inbox.take() == (10).to_bytes(2, "big") * 512


def test_clearing_drops_nothing_that_counts() -> None:
    inbox = Inbox()
    inbox.put(bytes(INBOX_BYTES))
    inbox.clear()
    inbox.put(bytes(INBOX_BYTES))  # there is room again
    assert inbox.dropped == 0
    assert inbox


@pytest.mark.parametrize(("message", "size"), [(b"\0\0", 2), ("ab", 2), ("ä", 2), ("\U0001f600", 4)])
def test_sizes_are_those_of_the_wire(message: bytes | str, size: int) -> None:
    assert size_bytes(message) == size
