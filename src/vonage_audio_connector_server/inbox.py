"""What one connection has brought and nobody has taken yet: in order, and bounded."""

from __future__ import annotations

from .core.events import TextEvent

Item = bytes | TextEvent  # a frame of audio, or a text and what it means

INBOX_BYTES = 1024 * 1024
"""Messages that nobody has taken wait up to this size, 32 s at 16 kHz; then the oldest are dropped."""


class Inbox:
    """A queue of messages that holds `INBOX_BYTES`; old audio is worth less than memory."""

    __slots__ = ("_size_bytes", "dropped", "items")

    def __init__(self) -> None:
        self.dropped = 0
        self.items: list[tuple[Item, float]] = []  # with the time when each came
        self._size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self.items)

    @property
    def since_s(self) -> float | None:
        """When the oldest message came; None where there is none."""
        return self.items[0][1] if self.items else None

    def put(self, item: Item, now_s: float) -> None:
        """Add a message; where that is too much, the oldest are dropped and counted."""
        self.items.append((item, now_s))
        self._size_bytes += _size_bytes(item)
        while self._size_bytes > INBOX_BYTES:
            self.take()
            self.dropped += 1

    def put_back(self, item: Item, now_s: float) -> None:
        """Undo a `take`: the message is the oldest again."""
        self.items.insert(0, (item, now_s))
        self._size_bytes += _size_bytes(item)

    def take(self) -> Item:
        """Take the oldest message; there must be one."""
        item, _ = self.items.pop(0)
        self._size_bytes -= _size_bytes(item)
        return item

    def clear(self) -> None:
        """Forget all messages; they don't count as dropped."""
        self.items.clear()
        self._size_bytes = 0


def _size_bytes(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else text_bytes(item.text)


def text_bytes(text: str) -> int:
    """The size of a text on the wire."""
    return len(text) if text.isascii() else len(text.encode())
