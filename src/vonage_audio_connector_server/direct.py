"""Shorter ways for audio, beyond ASGI, between our own server and an application that stands right next to it.

The scope of a connection has them under `scope["extensions"][DIRECT]`. They lead past whatever wraps `receive` and
`send`, so each may be used only where the application got the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from typing import Any, Protocol

DIRECT = "vonage_audio_connector_server.direct"

Write = Callable[[MutableSequence[bytes | str]], bool]
Take = Callable[[bytes], bool]
Listen = Callable[[Take | None], object]


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> object:
        """It must not come any more."""


CallLater = Callable[[float, Callable[[], object]], Timer]


@dataclass(frozen=True, slots=True)
class Direct:
    """The shorter ways of one connection. They may be called in the thread of its event loop, after the accept.

    Attributes:
        receive: the server's own, to compare with.
        send: the server's own, to compare with.
        write: writes all payloads, each as one message, from the left, in one go, and returns True; or none of them and
            False, where the socket is backed up or the connection closes: then `send` waits or raises.
        call_later: calls a function in so many seconds, in no task.
        listen: while the task that calls this waits in `receive`, each binary message goes to the function that it
            gives, which runs in the name of that task and must not wait; where that returns False, `receive` returns
            the message after all. None: no longer. Not all servers have it.
    """

    receive: Callable[[], Any]
    send: Callable[[Any], Any]
    write: Write
    call_later: CallLater
    listen: Listen | None = None
