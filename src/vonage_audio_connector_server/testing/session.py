"""Opening a call in a test, whatever is to be called."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..asgi import AudioConnector
from ..errors import AudioConnectorConfigError
from ..link.in_process import InProcessLink
from ..runtime import virtual_clock
from ..signatures import takes
from ..simulator.network import Faults
from ..simulator.opening import call_app, dial
from ..simulator.setup import Setup
from .call import TestCall
from .watched import Watched


@asynccontextmanager
async def session(
    target: Any,
    path: str = "/",
    *,
    ssl_context: ssl.SSLContext | None = None,
    faults: Faults | None = None,
    lifespan: bool = True,
    **settings: Any,
) -> AsyncIterator[TestCall]:
    """Call a program as a Vonage Video session does; leaving the block hangs up, and waits for the program's end.

    It runs on asyncio and trio, in real time or on a virtual clock (`on_virtual_clock`).

    Args:
        target: an `on_connect` function, or any ASGI application with a connector in it: called in this process,
            without a socket. Or the address of a server, `ws://…` or `wss://…`: called over a real socket.
        path: what is asked for, with its query; of an application.
        ssl_context: for `wss://`; None: the system's certificates.
        faults: how the network is disturbed; for an address.
        lifespan: run the application's start-up and shutdown around the call.
        settings: those of the call, by the names of `Setup`: `rate_hz=8000`, `headers={"caller": "Ann"}`,
            `router="strict"`, `silence="none"`, `first_s=0.5`, …

    Raises:
        AudioConnectorConfigError: the target or a setting can't be used.
        DialError: nobody was there, or the connection was refused.
        AudioConnectorError: the application went on for 20 s after the end of the call.
        Exception: what the program raised during the call and nobody handled, at the end of the block: that of a
            handler, too, which closes the call with 1011. An error of the block itself goes first.
    """
    setup = Setup(**settings)
    if isinstance(target, str):
        if virtual_clock() is not None:
            raise AudioConnectorConfigError("a real socket takes real time: call an address without a virtual clock")
        async with dial(target, setup, ssl_context=ssl_context, faults=faults, make_call=TestCall) as call:
            yield call
        return
    if faults is not None or ssl_context is not None:
        raise AudioConnectorConfigError("faults and ssl_context are for the address of a server: there is no network")
    app = target if takes(target, "scope", "receive", "send") else AudioConnector(target)
    watched = Watched(app)
    try:
        async with call_app(
            watched, path, setup, lifespan=lifespan, make_link=InProcessLink, make_call=TestCall
        ) as call:
            call.notes = watched.notes
            yield call
    except Exception as exc:
        if watched.errors and exc not in watched.errors and exc.__context__ is None:
            exc.__context__ = watched.errors[0]  # why it was, as a rule
        raise
    if watched.errors:
        raise watched.errors[0]
