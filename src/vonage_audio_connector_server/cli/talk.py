"""The command `talk`: serve a program with the console, and open its page."""

from __future__ import annotations

import asyncio
import webbrowser
from contextlib import suppress
from typing import Annotated, Any

import typer

from ..errors import AudioConnectorError, AudioConnectorStartServerError
from .exits import FAILED, refuse
from .serve import log_to_console
from .target import load_target, served


def talk(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="on_connect, or an ASGI app: bot.py:on_connect or bot:app.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")] = 8765,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the link, and open no browser.")] = False,
) -> None:
    """Talk to your program: serve it on this machine, and open a page with microphone and loudspeaker."""
    log_to_console("info")
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_talk(served(load_target(target)), port, opens=not no_open))
    except AudioConnectorStartServerError as exc:
        refuse(exc, FAILED)
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)


async def _talk(program: dict[str, Any], port: int, *, opens: bool) -> None:
    from ..config import AudioConnectorServerConfig
    from ..video import Video

    config = AudioConnectorServerConfig(host="127.0.0.1", port=port, console=True, **program)
    async with await Video().start_audio_connector_server(config) as handle:
        assert handle.console_url is not None
        typer.echo(f"Talk to it at {handle.console_url}\nCtrl-C ends it.")
        if opens:
            webbrowser.open(handle.console_url)
        await handle.wait_closed()
