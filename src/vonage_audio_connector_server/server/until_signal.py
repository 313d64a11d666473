"""A server that runs until it is told to stop by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator

import uvicorn

from ..asgi import DRAIN_S
from ..config import AudioConnectorServerConfig
from ..errors import AudioConnectorStartServerError
from ..runtime import has_loop
from .launcher import start_server

logger = logging.getLogger("vonage_audio_connector_server")


def run_server(config: AudioConnectorServerConfig, drain_s: float = DRAIN_S) -> None:
    """Serve until SIGINT or SIGTERM, on the fastest event loop that is installed; then stop as `stop(drain_s)` does.

    A second SIGINT while it stops raises KeyboardInterrupt.

    Raises:
        AudioConnectorStartServerError: as `start_server` does; or an event loop runs in this thread.
    """
    if has_loop():
        raise AudioConnectorStartServerError(
            "an event loop runs here already, as in a notebook or an 'async def': "
            "write 'await Video().start_audio_connector_server(config)' instead"
        )
    loop_factory = uvicorn.Config(_no_app, log_config=None, loop="auto").get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve_until_signal(config, drain_s))


async def _serve_until_signal(config: AudioConnectorServerConfig, drain_s: float) -> None:
    async with signalled() as told_to_stop:
        told = asyncio.create_task(told_to_stop.wait())
        starting = asyncio.create_task(start_server(config))
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():  # told to stop while on_start runs
            _restore_signals()
            starting.cancel()
            await asyncio.wait({starting})
            return
        try:
            async with starting.result() as handle:
                closed = asyncio.create_task(handle.wait_closed())
                await asyncio.wait({closed, told}, return_when=asyncio.FIRST_COMPLETED)
                _restore_signals()
                if handle.calls and drain_s > 0:
                    logger.info("waiting %g s for %d calls to end; Ctrl-C again ends them", drain_s, handle.calls)
                await handle.stop(drain_s)
            await closed
        finally:
            told.cancel()


@contextlib.asynccontextmanager
async def signalled() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, where the program can have signal handlers."""
    event = asyncio.Event()
    # NotImplementedError: Windows' loops. ValueError, RuntimeError: not in the main thread.
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        _restore_signals()


def _restore_signals() -> None:
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)


async def _no_app(scope: object, receive: object, send: object) -> None:
    """Stands for the application where only uvicorn's choice of an event loop is asked for."""
