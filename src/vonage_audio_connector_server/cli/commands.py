"""The commands and their options. Each imports what it needs when it runs, so that `--help` is quick.

Exit codes: 0 all went well · 1 the call or the server failed · 2 the command can't be carried out as it was given.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from ..errors import AudioConnectorError, AudioConnectorStartServerError
from .options import (
    SECRET_VARIABLE,
    check_output,
    json_transport,
    read_headers,
    shared_secret,
)
from .target import load_target, served
from .tls import client_tls, server_tls

FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve the Vonage Audio Connector, and try such a server without an account.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"vonage-audio-connector-server {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself; `--version` has done its work when this runs."""


@app.command()
def simulate(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server: ws://… or wss://…")],
    input_path: Annotated[
        Path, typer.Option("--input", "-i", metavar="WAV", help="What to say: mono, 16 bits, 8, 16 or 24 kHz.")
    ],
    output_path: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="WAV", help="Where to write what was heard.")
    ] = None,
    rate_hz: Annotated[
        int | None,
        typer.Option("--rate", metavar="8000|16000|24000", help="The rate of the call; the recording may have any."),
    ] = None,
    frame_ms: Annotated[int, typer.Option("--frame-ms", metavar="10|20", help="How long a frame lasts.")] = 20,
    transport: Annotated[
        Literal["binary", "json"], typer.Option(help="How audio travels: binary messages, or JSON texts.")
    ] = "binary",
    audio_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="The key of what the server receives in JSON; default: audio.")
    ] = None,
    answer_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="The key of what the server sends in JSON; default: the same.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Tell how much of the question comes back: 1 is a perfect copy.")
    ] = False,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME=VALUE", help="A custom header of the connect call; may be repeated."),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0, help="How long the answer may take to begin.")
    ] = 15.0,
    quiet_s: Annotated[
        float, typer.Option("--quiet", metavar="S", min=0, help="After how long a silence the answer is over.")
    ] = 2.0,
    limit_s: Annotated[
        float, typer.Option("--limit", metavar="S", min=0, help="When an answer without end is cut off.")
    ] = 120.0,
    cafile: Annotated[
        Path | None, typer.Option("--cafile", metavar="PEM", help="Certificates to trust, for wss://.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust any certificate, for wss://.")] = False,
) -> None:
    """Call a server as a Vonage Video session does: say a recording in real time, and hear the answer.

    The exit code is 1 where there was no connection, the server broke it off, or its frames were wrong or too many.
    """
    from ..simulator import simulate as simulate_call
    from ..simulator.wav import read_wav, write_wav
    from .view import live_line, print_report

    try:
        pcm, call_hz = read_wav(input_path, rate_hz=rate_hz)
        check_output(input_path, output_path)
        with nullcontext() if as_json else live_line() as on_progress:
            report = asyncio.run(
                simulate_call(
                    url,
                    pcm,
                    call_hz,
                    frame_ms=frame_ms,
                    transport=json_transport(transport, audio_field, answer_field),
                    headers=read_headers(header or []),
                    ssl_context=client_tls(url, cafile, insecure=insecure),
                    timeout_s=timeout_s,
                    quiet_s=quiet_s,
                    limit_s=limit_s,
                    compare=compare,
                    on_progress=on_progress,
                )
            )
        if as_json:
            print(json.dumps(report.to_dict()))
        else:
            print_report(report)
        if output_path is not None:
            write_wav(output_path, report.heard, call_hz)
    except (AudioConnectorError, OSError) as exc:
        _refuse(exc)
    if not report.ok:
        raise typer.Exit(FAILED)


@app.command()
def serve(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="on_connect, or an ASGI app: bot:on_connect or bot.py:app.")
    ],
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
    drain_s: Annotated[
        float, typer.Option("--drain", metavar="S", min=0, help="How long answers may go on after Ctrl-C or SIGTERM.")
    ] = 10.0,
) -> None:
    """Run a server until Ctrl-C: of your on_connect function, or of an ASGI app that has connectors in it."""
    from ..config import AudioConnectorServerConfig
    from ..video import Video

    _log_to_console()
    try:
        config = AudioConnectorServerConfig(
            host=host,
            port=port,
            ssl=server_tls(certfile, keyfile),
            **served(load_target(target)),
            authorize=shared_secret(secret_parameter),
            max_connections=max_connections,
            ws=ws,
        )
        Video().run_audio_connector_server(config, drain_s=drain_s)
    except AudioConnectorStartServerError as exc:
        _refuse(exc, FAILED)
    except (AudioConnectorError, OSError) as exc:
        _refuse(exc)
    except KeyboardInterrupt:  # a second Ctrl-C, while calls were waited for
        raise typer.Exit(INTERRUPTED) from None


def _refuse(error: Exception, code: int = USAGE) -> NoReturn:
    """Say in one sentence why the command can't be carried out."""
    sentence = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        sentence = f"{error.filename}: {error.strerror}"
    typer.echo(f"Error: {sentence}", err=True)
    raise typer.Exit(code)


def _log_to_console() -> None:
    """Show what is logged: here the command line is the application."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    # uvicorn tells once more, in its own words, where it listens; what goes wrong is still shown.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
