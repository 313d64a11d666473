"""The messages of one connection that have come and that nobody has taken yet: in order, and bounded."""

from __future__ import annotations

from collections import deque

Message = bytes | str

INBOX_BYTES = 1024 * 1024
"""Messages that nobody has taken wait up to this size, 32 s at 16 kHz; then the oldest are dropped."""


class Inbox:
    """A queue of messages that holds `INBOX_BYTES`; old audio is worth less than memory."""

    __slots__ = ("_messages", "_size_bytes", "dropped")

    def __init__(self) -> None:
        self.dropped = 0
        self._messages: deque[Message] = deque()
        self._size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    def put(self, message: Message) -> None:
        """Add a message; where that is too much, the oldest are dropped and counted."""
        self._messages.append(message)
        self._size_bytes += size_bytes(message)
        while self._size_bytes > INBOX_BYTES:
            self.take()
            self.dropped += 1

    def take(self) -> Message:
        """Take the oldest message; there must be one."""
        message = self._messages.popleft()
        self._size_bytes -= size_bytes(message)
        return message

    def clear(self) -> None:
        """Forget all messages; they don't count as dropped."""
        self._messages.clear()
        self._size_bytes = 0


def size_bytes(message: Message) -> int:
    """The size of a message on the wire."""
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
