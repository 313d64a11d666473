"""The examination: one check after the other, as far as they go."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import AudioConnectorConfigError
from ..simulator.carrier import CONNECT_S, DialError
from ..simulator.setup import Setup, check_seconds
from ..simulator.socket_carrier import check_url
from .address import knock, look_up
from .arrival import arrived, guessed
from .certificate import check_tls, unverified
from .diagnosis import NAMES, Diagnosis, Line, OnLine, masked, milliseconds
from .handshake import DEFLATE, Attempt, Requests, with_slash, without_query
from .main_call import MainCall
from .observed import lines_of
from .refusals import why

TIMEOUT_S = 15.0
"""How long the server may take to accept: longer than the router waits, so that it can be told how long it takes."""

LONG_S = 75.0
"""How long nothing is sent, where nobody says how long: the usual idle limit is 60 s."""


async def examine(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    rate_hz: int = 16_000,
    timeout_s: float = TIMEOUT_S,
    idle_s: float | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    accept_limit_s: float = CONNECT_S,
    on_line: OnLine | None = None,
) -> Diagnosis:
    """Examine a running server. It takes about 8 s, and `idle_s` more.

    It makes a call of about 6 s, in which a recording is said, so that the program works as in any call; then one or
    two handshakes more. An address with a one-time token in it opens the first of them alone.

    It runs on asyncio and trio. Cancelling it closes the connection first, which takes up to 3 s.

    Args:
        url: as the connect call would get it, `wss://` or `ws://`; the connection is direct, whatever proxy the
            environment names.
        headers: custom headers of the connect call.
        rate_hz: the sample rate of the call: 8000, 16000 or 24000.
        timeout_s: how long the server may take to accept; what takes longer than `accept_limit_s` is told.
        idle_s: for how long nothing is sent, to find the idle limit of a proxy; None: that is not tried.
        ssl_context: whom to trust; None: the authorities of this machine.
        insecure: go on although the certificate is not trusted. What is in the address is then told to whoever answers.
        accept_limit_s: how long the router waits: 6 s (D).
        on_line: called with each line.

    Raises:
        AudioConnectorConfigError: the url, a header or a time can't be used. No secret of the url is told.
        AudioConnectorAudioError: the rate is none of the Audio Connector.
    """
    if not isinstance(url, str) or not url.lower().startswith(("ws://", "wss://")):
        raise AudioConnectorConfigError(f"url must begin with ws:// or wss://: {masked(str(url))} doesn't")
    try:
        uri = check_url(url, ssl_context if url.lower().startswith("wss://") else None)
    except AudioConnectorConfigError:
        raise AudioConnectorConfigError(f"url {masked(url)} can't be used: it is no address") from None
    for name, value in (("timeout_s", timeout_s), ("idle_s", idle_s or 0.0)):
        check_seconds(name, value)
    run = _Run(
        url=url,
        place=(uri.host, uri.port),
        setup=Setup(rate_hz=rate_hz, headers=headers or {}),
        timeout_s=timeout_s,
        idle_s=idle_s,
        ssl_context=ssl_context,
        insecure=insecure,
        accept_limit_s=accept_limit_s,
        on_line=on_line,
        diagnosis=Diagnosis(masked(url)),
    )
    await run.run()
    return run.diagnosis


@dataclass
class _Run:
    """One examination; see `examine`."""

    url: str
    place: tuple[str, int]
    setup: Setup
    timeout_s: float
    idle_s: float | None
    ssl_context: ssl.SSLContext | None
    insecure: bool
    accept_limit_s: float
    on_line: OnLine | None
    diagnosis: Diagnosis

    @property
    def is_tls(self) -> bool:
        """Whether the address is `wss://`."""
        return self.url.lower().startswith("wss://")

    @property
    def has_query(self) -> bool:
        """Whether the address has a query."""
        return "?" in self.url

    def tell(self, *lines: Line) -> None:
        """Checks have been made."""
        for line in lines:
            self.diagnosis.lines.append(line)
            if self.on_line is not None:
                self.on_line(line)

    def skip_rest(self, reason: str) -> None:
        """No other check is made."""
        told = {line.name for line in self.diagnosis.lines}
        self.tell(*(Line(name, "skipped", reason) for name in NAMES if name not in told))
        self.diagnosis.lines.sort(key=lambda line: NAMES.index(line.name))

    async def run(self) -> None:
        """Make all checks that can be made."""
        line, addresses = await look_up(*self.place)
        self.tell(line)
        if not addresses:
            self.skip_rest("there is no address")
            return
        line, connect_s = await knock(addresses, self.place[1])
        self.tell(line)
        if connect_s is None:
            self.skip_rest("there is no connection")
            return
        if not await self._check_tls():
            return
        context = unverified() if self.insecure else self.ssl_context
        requests = Requests(self.url, self.setup, context, self.timeout_s)
        attempt, main = Attempt(), MainCall(connect_s, self.setup.rate_hz, self.idle_s)
        try:
            await main.make(requests, attempt)
        except DialError:
            await self._refused(attempt, requests)
            return
        self.tell(_OPENED, _accept(attempt.took_s, self.accept_limit_s))
        for line in arrived(attempt, has_query=self.has_query):
            if line.name == "query" and line.status == "skipped" and self.has_query:
                line = guessed(attempt, await requests.knock(url=without_query(self.url)))
            self.tell(line)
        self.tell(*lines_of(main.seen, idle_s=self.idle_s))
        self.tell(_compression(await requests.knock(offers=DEFLATE)))

    async def _check_tls(self) -> bool:
        """Whether to go on."""
        if not self.is_tls:
            advice = "write wss:// for all but a first try on this machine: what is said can be heard on the way"
            self.tell(Line("tls", "warning", "the address is ws://: nothing is encrypted", advice))
            self.tell(Line("certificate", "skipped", "there is no TLS"))
            return True
        tls, certificate = await check_tls(self.url, *self.place, self.ssl_context)
        self.tell(tls, certificate)
        if tls.status == "failed":
            self.skip_rest("there is no TLS")
            return False
        if certificate.status == "failed" and not self.insecure:
            self.skip_rest("not tried, because an address may hold a secret: --insecure goes on")
            return False
        return True

    async def _refused(self, attempt: Attempt, requests: Requests) -> None:
        """There is no call: tell why."""
        if attempt.status == 101 and attempt.extensions is not None:
            text = "the server agrees on an extension that was not offered"
            advice = "the router gives up: let nothing on the way add Sec-WebSocket-Extensions to the answer"
            self.tell(_OPENED, Line("compression", "failed", text, advice))
        elif attempt.status == 101:
            text = "what answers HTTP 101 is no WebSocket: the handshake is wrong"
            self.tell(Line("upgrade", "failed", text, "see what stands between: it must pass on the headers"))
        elif attempt.response is None and attempt.took_s >= self.timeout_s:
            text = f"no answer came within {self.timeout_s:g} s"
            self.tell(Line("upgrade", "failed", text, "is the server busy, or does the proxy ask the wrong one?"))
        else:
            text, advice = why(await self._looked_at_again(attempt, requests), is_tls=self.is_tls)
            self.tell(Line("upgrade", "failed", text, advice, {"http_status": attempt.status}))
        if attempt.response is None and attempt.took_s > self.accept_limit_s:
            self.tell(_accept(attempt.took_s, self.accept_limit_s))
        self.tell(*(line for line in arrived(attempt, has_query=self.has_query) if line.status != "skipped"))
        self.skip_rest("there is no WebSocket")

    async def _looked_at_again(self, attempt: Attempt, requests: Requests) -> Attempt:
        """The attempt; or, where it was sent to the same path with a slash, what the connector says there.

        Frameworks send an ordinary request for a mounted path there, and no WebSocket: so Upgrade may have been lost.
        """
        again = with_slash(self.url)
        location = attempt.response.headers.get("location") if attempt.response is not None else None
        if location is None or urlsplit(location).path != urlsplit(again).path:
            return attempt
        found = await requests.knock(url=again)
        return found if found.answer is not None and found.answer.upgrade_lost else attempt


_OPENED = Line("upgrade", "passed", "a WebSocket is opened (HTTP 101)")


def _accept(took_s: float, limit_s: float) -> Line:
    numbers = {"accept_s": took_s}
    text = f"the socket was up after {took_s:.2f} s" if took_s >= 0.095 else f"up after {milliseconds(took_s)}"
    advice = "accept first, and load models and make connections before, or afterwards in on_connect"
    if took_s > limit_s:
        text = f"the socket was not up within {limit_s:g} s: it took {took_s:.1f} s, and the connect call fails"
        return Line("accept", "failed", text, advice, numbers)
    if took_s > limit_s / 2:
        return Line("accept", "warning", f"{text}; the connect call fails after {limit_s:g} s", advice, numbers)
    return Line("accept", "passed", f"{text}; the connect call waits for {limit_s:g} s", numbers=numbers)


def _compression(attempt: Attempt) -> Line:
    if attempt.extensions is not None:
        text = "not forced; the server agrees on it where it is offered"
        advice = "the router offers none, so nothing breaks; PCM grows under it: switch it off"
        return Line("compression", "warning", text, advice)
    if attempt.error is not None:
        status = "" if attempt.status is None else f" (HTTP {attempt.status})"
        text = f"not forced; what it says to an offer can't be told: a second connection was refused{status}"
        return Line("compression", "passed", text)
    return Line("compression", "passed", "not forced, and declined where it is offered")
