"""Opening a simulated call, to an address or to an application in this process, and ending it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio
import anyio.abc

from ..errors import AudioConnectorError
from ..runtime import call_clock, single_error
from ..waits import CHANGED
from .app_carrier import AppCarrier, Lifespan, MakeLink
from .call import SimulatedCall
from .carrier import CLOSE_S, Carrier, DialError
from .failures import explain
from .network import Faults, Relay, disturbed
from .setup import Setup
from .socket_carrier import SocketCarrier, check_url

C = TypeVar("C", bound=SimulatedCall)

APP_END_S = 20.0
"""How long an application may go on after the end of its call: ours gives user code 5 s, and `on_disconnect` more."""


@asynccontextmanager
async def dial(
    url: str,
    setup: Setup | None = None,
    *,
    ssl_context: ssl.SSLContext | None = None,
    faults: Faults | None = None,
    make_call: type[C],
) -> AsyncIterator[C]:
    """Call a server over a real socket; leaving the block hangs up.

    Args:
        url: `ws://` or `wss://`; the connection is direct, whatever proxy the environment names.
        setup: the settings of the call.
        ssl_context: for `wss://`; None: the system's certificates.
        faults: how the network is disturbed.
        make_call: the class of what is yielded.

    Raises:
        AudioConnectorConfigError: the url, or a header, can't be used.
        DialError: nobody was there, or the connection was refused.
    """
    setup = setup or Setup()
    uri = check_url(url, ssl_context)
    async with AsyncExitStack() as stack:
        through, told, relay = None, _Told(), None
        if faults is not None:
            relay = await stack.enter_async_context(disturbed(uri.host, uri.port, faults, on_fault=told))
            through = ("127.0.0.1", relay.port)
        carrier = SocketCarrier(url, setup.request_headers(), ssl_context, through)
        stack.enter_context(_explained(relay, url))
        stack.enter_context(single_error())
        async with anyio.create_task_group() as tasks:
            async with held(carrier, setup, tasks, make_call) as call:
                told.tell(call)
                call.relay = relay
                yield call
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def call_app(
    app: Any,
    path: str = "/",
    setup: Setup | None = None,
    *,
    lifespan: bool = True,
    make_link: MakeLink | None = None,
    make_call: type[C],
) -> AsyncIterator[C]:
    """Call an ASGI application in this process; leaving the block hangs up, and waits for the application's end.

    Args:
        app: the application.
        path: what is asked for, with its query.
        setup: the settings of the call.
        lifespan: run its start-up and shutdown around the call.
        make_link: see `AppCarrier`.
        make_call: the class of what is yielded.

    Raises:
        DialError: it refused the connection, or failed.
        AudioConnectorError: the application went on for `APP_END_S` after the end of the call, and was cancelled.
        Exception: what the application raised during the call.
    """
    setup = setup or Setup()
    failed: list[Exception] = []  # an error of the block doesn't keep the application from ending in order
    with single_error():
        async with anyio.create_task_group() as tasks:
            cycle = Lifespan(app) if lifespan else None
            if cycle is not None:
                await cycle.start(tasks)
            state = None if cycle is None else cycle.state
            carrier = AppCarrier(app, path, setup.request_headers(), state, make_link)
            async with anyio.create_task_group() as serving:
                with _kept(failed):
                    async with held(carrier, setup, serving, make_call) as call:
                        yield call
                serving.cancel_scope.deadline = anyio.current_time() + APP_END_S
            with _kept(failed):
                if serving.cancel_scope.cancelled_caught and not failed:
                    raise AudioConnectorError(f"the application went on for {APP_END_S:g} s after the end of its call")
                if cycle is not None:
                    await cycle.stop()
            tasks.cancel_scope.cancel()
    if carrier.error is not None:
        failed.append(carrier.error)
    if failed:
        try:
            raise failed[0]
        finally:
            failed.clear()  # its traceback holds this frame


@contextmanager
def _kept(failed: list[Exception]) -> Iterator[None]:
    """Keep an error: what stands behind the block is done before it is raised."""
    try:
        yield
    except Exception as exc:  # noqa: BLE001 (see above)
        failed.append(exc)


@contextmanager
def _explained(relay: Relay | None, url: str) -> Iterator[None]:
    """Tell why the relay did not reach the server, and not that it closed."""
    try:
        yield
    except DialError as exc:
        if relay is None or relay.error is None:
            raise
        raise DialError(explain(relay.error, url)) from exc


@asynccontextmanager
async def held(carrier: Carrier, setup: Setup, tasks: anyio.abc.TaskGroup, make_call: type[C]) -> AsyncIterator[C]:
    """Open a call over a carrier, whose tasks run in `tasks`; leaving the block hangs up.

    Raises:
        DialError: nobody was there, or the connection was refused.
    """
    try:
        await carrier.connect(tasks)
    except BaseException:
        tasks.cancel_scope.cancel()
        raise
    clock = call_clock()
    call = make_call(carrier, setup.make_twin(clock()), clock)
    call.start(tasks)
    try:
        yield call
    finally:
        call.hang_up()
        with anyio.move_on_after(CLOSE_S, shield=True):
            await call.until(_never)
        if call.ended is None:
            carrier.abort(f"the server did not answer the close within {CLOSE_S:g} s")
            with anyio.move_on_after(CLOSE_S, shield=True):
                await call.until(_never)
    if call.error is not None:
        raise call.error


def _never(now_s: float) -> float:
    """Waits for the end of the call alone."""
    return CHANGED


class _Told:
    """Notes of the faults, which may begin before there is a call."""

    def __init__(self) -> None:
        self._early: list[tuple[str, float | None]] = []
        self._tell: Callable[[str, float | None], None] | None = None

    def __call__(self, name: str, for_s: float | None = None) -> None:
        if self._tell is None:
            self._early.append((name, for_s))
        else:
            self._tell(name, for_s)

    def tell(self, call: SimulatedCall) -> None:
        """Write them into the recording of this call."""

        def tell(name: str, for_s: float | None) -> None:
            call.twin.recording.note(call.now_s, "fault", fault=name, for_s=for_s)

        self._tell = tell
        for name, for_s in self._early:
            tell(name, for_s)
