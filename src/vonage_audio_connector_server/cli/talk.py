"""The command `talk`: serve a program with the console, and open its page."""

from __future__ import annotations

import asyncio
import webbrowser
from contextlib import suppress
from typing import Annotated

import typer

from ..errors import AudioConnectorError, AudioConnectorStartServerError
from .exits import FAILED, refuse
from .target import CommandError, load_target, served


def talk(
    target: Annotated[
        str,
        typer.Argument(metavar="MODULE:NAME", help="on_connect, or a connector with console=True: bot.py:on_connect."),
    ],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")] = 8765,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the link, and open no browser.")] = False,
) -> None:
    """Talk to your program: serve it on this machine, and open a page with microphone and loudspeaker."""
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_talk(load_target(target), port, opens=not no_open))
    except AudioConnectorStartServerError as exc:
        refuse(exc, FAILED)
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)


async def _talk(target: object, port: int, *, opens: bool) -> None:
    from ..asgi import AudioConnector
    from ..config import AudioConnectorServerConfig
    from ..video import Video

    setting = served(target)
    if "on_connect" in setting:
        target = AudioConnector(setting["on_connect"], console=True)
    if not isinstance(target, AudioConnector) or target.console_link is None:
        raise CommandError("talk takes an on_connect function, or a connector that was made with console=True")
    config = AudioConnectorServerConfig(host="127.0.0.1", port=port, app=target)
    async with await Video().start_audio_connector_server(config) as handle:
        link = f"http://127.0.0.1:{handle.port}{target.console_link}"
        typer.echo(f"Talk to it at {link}\nCtrl-C ends it.")
        if opens:
            webbrowser.open(link)
        await handle.wait_closed()
