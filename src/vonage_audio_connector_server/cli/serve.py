"""The command `serve`: its options, and what becomes of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import AudioConnectorError, AudioConnectorStartServerError
from .exits import FAILED, INTERRUPTED, refuse
from .options import SECRET_VARIABLE, shared_secret
from .reload import serve_again
from .target import find_program, folder_of, load_target, served
from .tls import server_tls


def serve(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:NAME]",
            help="on_connect, or an ASGI app: bot:on_connect or bot.py:app. Without a name, or without anything, it is "
            "looked for.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")] = 8765,
    certfile: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The certificate chain; it makes the server wss://.")
    ] = None,
    keyfile: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Its private key, if that is a file of its own.")
    ] = None,
    secret_parameter: Annotated[
        str | None,
        typer.Option(
            "--secret", metavar="NAME", help=f"Let in who has ${SECRET_VARIABLE} as this parameter of the query."
        ),
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many connections are served at once.")
    ] = None,
    ws: Annotated[
        Literal["auto", "websockets-sansio", "wsproto"],
        typer.Option(help="What speaks WebSocket; auto: this library's own, the fastest."),
    ] = "auto",
    console: Annotated[
        bool, typer.Option("--console", help="Serve the page on which one talks to the program, at /console.")
    ] = False,
    drain_s: Annotated[
        float, typer.Option("--drain", metavar="S", min=0, help="How long answers may go on after Ctrl-C or SIGTERM.")
    ] = 10.0,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew whenever a file of the program changes; calls end at once.")
    ] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], typer.Option(help="What is logged at least.")
    ] = "info",
) -> None:
    """Run a server until Ctrl-C: of your on_connect function, or of an ASGI app that has connectors in it."""
    from ..config import AudioConnectorServerConfig
    from ..video import Video

    log_to_console(log_level)
    try:
        target = target or find_program()
        if reload:
            serve_again(folder_of(target))
            return
        config = AudioConnectorServerConfig(
            host=host,
            port=port,
            ssl=server_tls(certfile, keyfile),
            **served(load_target(target)),
            authorize=shared_secret(secret_parameter),
            max_connections=max_connections,
            ws=ws,
            console=console,
        )
        Video().run_audio_connector_server(config, drain_s=drain_s)
    except AudioConnectorStartServerError as exc:
        refuse(exc, FAILED)
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)
    except KeyboardInterrupt:  # a second Ctrl-C, while calls were waited for
        raise typer.Exit(INTERRUPTED) from None


def log_to_console(level: str) -> None:
    """Show what is logged: here the command line is the application."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    # uvicorn tells once more, in its own words, where it listens; what goes wrong is still shown.
    if level == "info":
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
