"""What one call has brought and nobody has taken yet: in order, and bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..core.events import Connected, TextEvent

T = TypeVar("T")

Item = bytes | TextEvent  # a frame of audio, or a text and what it means
Form = Callable[[Item, float], T]  # what is made of a message, and of the time when it came

INBOX_BYTES = 1024 * 1024
"""Messages that nobody has taken wait up to this size, 32 s at 16 kHz; then the oldest are dropped."""


class Inbox:
    """A queue of messages that holds `INBOX_BYTES`; old audio is worth less than memory.

    Attributes:
        items: each with the time when it came.
        dropped: how many were dropped.
    """

    __slots__ = ("_size_bytes", "dropped", "items")

    def __init__(self) -> None:
        self.dropped = 0
        self.items: list[tuple[Item, float]] = []  # a list, because an empty deque takes 600 bytes
        self._size_bytes = 0

    def put(self, item: Item, now_s: float) -> None:
        """Add a message; where that is too much, the oldest are dropped and counted."""
        self.items.append((item, now_s))
        self._size_bytes += _size_bytes(item)
        while self._size_bytes > INBOX_BYTES:
            self.take()
            self.dropped += 1

    def put_back(self, item: Item, came_s: float) -> None:
        """Undo a `take`: the message is the oldest again."""
        self.items.insert(0, (item, came_s))
        self._size_bytes += _size_bytes(item)

    def take(self) -> tuple[Item, float]:
        """Take the oldest message, and when it came; there must be one."""
        item, came_s = self.items.pop(0)
        self._size_bytes -= _size_bytes(item)
        return item, came_s

    def age_s(self, now_s: float) -> float:
        """For how long the oldest message has been waiting; 0 where none is."""
        return now_s - self.items[0][1] if self.items else 0.0

    def clear(self) -> None:
        """Forget all messages; they don't count as dropped."""
        self.items.clear()
        self._size_bytes = 0

    def keep_connected(self) -> int:
        """Forget all messages but the first one of the session, which has its custom keys; returns how many."""
        kept = [entry for entry in self.items if isinstance(entry[0], Connected)]
        forgotten = len(self.items) - len(kept)
        self.clear()
        for item, came_s in kept:
            self.put(item, came_s)
        return forgotten


def formed(form: Form[Any] | None, item: Item, came_s: float) -> Any:
    """A message in a form, or as it came: a frame of PCM, or a JSON text."""
    if form is not None:
        return form(item, came_s)
    return item if isinstance(item, bytes) else item.text


def _size_bytes(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else text_bytes(item.text)


def text_bytes(text: str) -> int:
    """The size of a text on the wire."""
    return len(text) if text.isascii() else len(text.encode())
