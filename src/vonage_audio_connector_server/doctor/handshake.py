"""One upgrade request: what it carries, and what came back."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio
from websockets.frames import Opcode
from websockets.http11 import Response

from ..admission.probe import HEADER, USER_AGENT, Answer, question, read
from ..runtime import call_clock, single_error
from ..simulator.call import SimulatedCall
from ..simulator.carrier import DialError
from ..simulator.opening import held
from ..simulator.setup import Setup
from ..simulator.socket_carrier import SocketCarrier

DEFLATE = "permessage-deflate"
_EXTENSIONS = "Sec-WebSocket-Extensions"


@dataclass
class Attempt:
    """One upgrade request.

    Attributes:
        took_s: from the beginning, with the look-up of the name, TCP and TLS, to the answer, or to the error.
        response: the answer; None: there was none.
        error: why there is no connection; None: there is one.
        asked: the names of the headers that were asked about.
    """

    took_s: float = 0.0
    response: Response | None = None
    error: DialError | None = None
    asked: tuple[str, ...] = field(default=())

    @property
    def answer(self) -> Answer | None:
        """What a connector says of the request; None: it is none of ours, or doesn't know the question."""
        return None if self.response is None else read(self.response.headers.get(HEADER))

    @property
    def extensions(self) -> str | None:
        """What the server has agreed on."""
        return None if self.response is None else self.response.headers.get(_EXTENSIONS)

    @property
    def status(self) -> int | None:
        """Of the answer."""
        return None if self.response is None else self.response.status_code


OnControl = Callable[[Opcode, bytes], None]


class Requests:
    """Makes the upgrade requests of one examination.

    Args:
        url: `ws://` or `wss://`.
        setup: of the call.
        ssl_context: for `wss://`; None: the authorities of this machine.
        timeout_s: how long an answer may take.
    """

    def __init__(self, url: str, setup: Setup, ssl_context: ssl.SSLContext | None, timeout_s: float) -> None:
        self._url = url
        self._setup = setup
        self._ssl_context = ssl_context
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def open(
        self,
        attempt: Attempt,
        *,
        url: str | None = None,
        offers: str | None = None,
        setup: Setup | None = None,
        on_control: OnControl | None = None,
    ) -> AsyncIterator[tuple[SimulatedCall, SocketCarrier]]:
        """Open a call; leaving the block hangs up.

        Args:
            attempt: gets what comes back.
            url: another address.
            offers: an extension.
            setup: another one.
            on_control: called with each ping and pong.

        Raises:
            DialError: there is no connection; `attempt.error`, too.
        """
        url, setup = url or self._url, setup or self._setup
        headers = setup.request_headers()
        attempt.asked = tuple(dict(headers))
        headers.append((HEADER, question(secrets.token_hex(16), _target(url), _last_of_each(headers))))
        if offers is not None:
            headers.append((_EXTENSIONS, offers))
        carrier = SocketCarrier(
            url,
            headers,
            self._ssl_context if url.lower().startswith("wss://") else None,
            user_agent=USER_AGENT,
            connect_s=self._timeout_s,
            on_control=on_control,
        )
        clock = call_clock()
        began_s = clock()
        with single_error():
            async with anyio.create_task_group() as tasks:
                try:
                    async with held(carrier, setup, tasks, SimulatedCall) as call:
                        attempt.took_s, attempt.response = clock() - began_s, carrier.response
                        yield call, carrier
                except DialError as exc:
                    attempt.took_s, attempt.response, attempt.error = clock() - began_s, carrier.response, exc
                    raise
                tasks.cancel_scope.cancel()

    async def knock(self, *, url: str | None = None, offers: str | None = None) -> Attempt:
        """Make a request and hang up, without a message."""
        attempt = Attempt()
        quiet = Setup(rate_hz=self._setup.rate_hz, headers=self._setup.headers, silence="none", first_s=3600.0)
        try:
            async with self.open(attempt, url=url, offers=offers, setup=quiet):
                pass
        except DialError:
            pass
        return attempt


def without_query(url: str) -> str:
    """The address without its query."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def with_slash(url: str) -> str:
    """The address with a slash at the end of its path."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path + "/").geturl()


def _target(url: str) -> str:
    """Path and query, as they are sent."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _last_of_each(headers: list[tuple[str, str]]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers}
