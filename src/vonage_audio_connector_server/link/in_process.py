"""A call's link to a caller in the same process: messages go past `receive` and `send`, as under our own server.

Whoever calls an application puts it into the extensions of the ASGI scope; a connector takes it when it accepts. Then
no task is woken for a frame. It runs on asyncio and on trio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from anyio.abc import TaskGroup

from ..close_codes import ABNORMAL, NO_STATUS, TOO_BIG
from ..core.json_audio import JSONTransport
from ..results import ClosedBy
from ..runtime import call_clock, native_loop, running_task
from ..waiter import current_task
from .base import Outbox, Receiver, Sink, turn_of


class InProcessLink:
    """A link to a caller in this process.

    Args:
        on_message: gets each message that the call writes.
        on_close: gets the code and the reason with which it closes.

    Attributes:
        is_taken: a connector has it.
    """

    def __init__(self, on_message: Callable[[bytes | str], None], on_close: Callable[[int, str], None]) -> None:
        self._on_message = on_message
        self._on_close = on_close
        self._loop, _ = running_task()  # None on trio
        self._clock = call_clock()
        self._turn = turn_of(native_loop(), self._clock())
        self._receiver: Receiver | None = None
        self._max_message_bytes = 0
        self._inbox: deque[bytes | str | tuple[int, str]] = deque()
        self._is_due = False  # what is in the inbox is given away soon
        self._is_over = False
        self.is_taken = False

    # The call's side

    @property
    def sink(self) -> Sink:
        """See `Link`."""
        return self

    def be_quiet(self) -> None:
        """Log nothing of the handshake, because the application does: nothing is logged here anyway."""

    def hold(self) -> None:
        """It is taken: what comes waits for `start`."""
        self.is_taken = True

    def start(self, receiver: Receiver, max_message_bytes: int, tasks: TaskGroup) -> None:
        """See `Link`."""
        self._receiver = receiver
        self._max_message_bytes = max_message_bytes
        self.give(())

    def write(self, outbox: Outbox, json_audio: JSONTransport | None) -> bool:
        """See `Sink`."""
        on_message = self._on_message
        while outbox and not self._is_over:
            payload = outbox.pop(0)
            if json_audio is not None and isinstance(payload, bytes):
                payload = json_audio.encode(payload)
            on_message(payload)
        return not outbox

    def unsent_bytes(self) -> int:
        """See `Sink`."""
        return 0

    def close(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._close(code, reason, "program")

    async def abandon(self, code: int, reason: str) -> None:
        """See `Link`."""
        self._receiver = None
        self._close(code, reason, "program")

    # The caller's side

    def give(self, items: Iterable[bytes | str | tuple[int, str]]) -> None:
        """Give the call messages, and how the connection has ended: the code and the reason.

        It gets them here and now; soon, where a task of asyncio runs: there handlers run in place, out of no task.
        """
        self._inbox.extend(items)
        if self._receiver is None or self._is_due or not self._inbox:
            return
        if self._loop is not None and current_task(self._loop) is not None:
            self._is_due = True
            self._loop.call_soon(self._give_all)
        else:
            self._give_all()

    def lose(self) -> None:
        """What is on the way is lost."""
        self._inbox.clear()

    # Inside

    def _give_all(self) -> None:
        self._is_due = False
        self._turn.began_s = self._clock()
        inbox, receiver, max_bytes = self._inbox, self._receiver, self._max_message_bytes
        while inbox and not self._is_over and receiver is not None:
            item = inbox.popleft()
            if isinstance(item, tuple):
                self._end(*item)
            elif len(item if isinstance(item, bytes) else item.encode()) > max_bytes:
                self._close(TOO_BIG, "message too big", "library")
            elif isinstance(item, bytes):
                receiver.audio_received(item)
            else:
                receiver.text_received(item)

    def _close(self, code: int, reason: str, by: ClosedBy) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_close(code, reason)
            if self._receiver is not None:
                self._receiver.lost(code, reason, by)

    def _end(self, code: int, reason: str) -> None:
        self._is_over = True
        if self._receiver is not None:
            self._receiver.lost(code or NO_STATUS, reason, "network" if code == ABNORMAL else "session")
