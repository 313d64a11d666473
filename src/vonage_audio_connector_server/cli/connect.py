"""The command `connect`: a program joins a live session."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import typer

from ..errors import AudioConnectorError, AudioConnectorSessionError, AudioConnectorStartServerError
from .exits import FAILED, INTERRUPTED, refuse
from .options import json_transport, read_duration, read_headers
from .serve import log_to_console
from .target import load_target, module_of, served
from .tls import server_tls

if TYPE_CHECKING:
    from ..asgi import AudioConnector
    from ..config import AudioConnectorServerConfig
    from ..core.json_audio import JSONTransport
    from ..live.session_audio import SessionAudio

KEY_VARIABLE = "AUDIO_CONNECTOR_KEY"
"""The key of the tokens of a server that runs already."""


def connect(
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID", help="The id of a routed session.")],
    uri: Annotated[
        str, typer.Option(metavar="WSS", help="The public address of the program, such as that of a tunnel.")
    ],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:NAME]",
            help="The program that is served: on_connect, or an ASGI app with a connector: bot.py:on_connect. Without "
            f"it, a server must run at --uri; ${KEY_VARIABLE} mints a token for it.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")] = 8765,
    certfile: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The certificate chain, where no tunnel or proxy speaks TLS.")
    ] = None,
    keyfile: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Its private key, if that is a file of its own.")
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End it after so long: 90s, 10m, 2h.")
    ] = None,
    streams: Annotated[
        list[str] | None,
        typer.Option("--stream", metavar="ID", help="Only this stream; may be repeated. By default all are mixed."),
    ] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A custom header; may be repeated.")
    ] = None,
    rate_hz: Annotated[
        int | None, typer.Option("--rate", metavar="HZ", help="8000, 16000 or 24000; by default as the program has it.")
    ] = None,
    one_way: Annotated[bool, typer.Option("--one-way", help="The session doesn't hear the program.")] = False,
    transport: Annotated[
        Literal["binary", "json"] | None, typer.Option(help="How audio travels; by default as the program has it.")
    ] = None,
    audio_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="JSON: the key of the audio that the program gets.")
    ] = None,
    answer_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="JSON: the key of the audio that it sends.")
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Credentials that the environment has not; by default .env, if it is there."),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], typer.Option(help="What is logged at least.")
    ] = "warning",
) -> None:
    """Let your program join a live session: serve it, start the session's audio, and end that on Ctrl-C.

    Credentials: VONAGE_APPLICATION_ID and VONAGE_PRIVATE_KEY (the key's text or file), or OPENTOK_API_KEY and
    OPENTOK_API_SECRET; in the environment or in a .env file.
    """
    from ..admission.tokens import OneTimeTokens
    from ..config import AudioConnectorServerConfig
    from ..live.credentials import find_credentials, find_variables

    log_to_console(log_level)
    try:
        settings: dict[str, Any] = {
            "session_id": session_id,
            "uri": uri,
            "credentials": find_credentials(env_file),
            "streams": streams or (),
            "headers": read_headers(headers or []),
            "rate_hz": rate_hz,
            "bidirectional": not one_way,
            "transport": json_transport(transport or "binary", audio_field, answer_field),
            "for_s": read_duration(for_),
        }
        config = None
        if target is None:
            key = find_variables(env_file).get(KEY_VARIABLE)
            settings["tokens"] = None if key is None else OneTimeTokens(key)
        else:
            app, settings["connector"] = _program(target, rate_hz, settings["transport"])
            config = AudioConnectorServerConfig(host=host, port=port, ssl=server_tls(certfile, keyfile), app=app)
        code = asyncio.run(_until_told(config, settings))
    except (AudioConnectorStartServerError, AudioConnectorSessionError) as exc:
        refuse(exc, FAILED)
    except (AudioConnectorError, OSError) as exc:
        refuse(exc)
    except KeyboardInterrupt:  # before anything was started
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(code)


def _program(target: str, rate_hz: int | None, transport: JSONTransport | None) -> tuple[Any, AudioConnector]:
    """What is served, and the connector in it."""
    from ..admission.tokens import OneTimeTokens
    from ..asgi import AudioConnector
    from .connectors import connector_of

    program = load_target(target)
    setting = served(program)
    if "app" in setting:
        return program, connector_of(program, module_of(target), target)
    connector = AudioConnector(
        program,
        rate_hz=16_000 if rate_hz is None else rate_hz,
        audio_transport="binary" if transport is None else transport,
        authorize=OneTimeTokens(secrets.token_bytes(32)),  # nobody but this session comes in
    )
    return connector, connector


async def _until_told(config: AudioConnectorServerConfig | None, settings: dict[str, Any]) -> int:
    """Carry it out until it ends, or a signal comes; returns the exit code."""
    from ..server.until_signal import signalled
    from ..video import Video

    async with AsyncExitStack() as stack:
        told_to_stop = await stack.enter_async_context(signalled())
        if config is not None:
            handle = await Video().start_audio_connector_server(config)
            stack.push_async_callback(handle.stop, 0.0)
            typer.echo(f"Serving at {handle.get_address()}")
        joined = _Joined(settings)
        audio = asyncio.create_task(joined.run())
        told = asyncio.create_task(told_to_stop.wait())
        await asyncio.wait({audio, told}, return_when=asyncio.FIRST_COMPLETED)
        if not audio.done():
            typer.echo("Ending it.")
            audio.cancel()
            await asyncio.wait(
                {audio}
            )  # half a minute at most; another Ctrl-C doesn't change it: it would be billed on
        told.cancel()
        if not audio.cancelled():
            audio.result()  # raises its error
        return joined.exit_code


class _Joined:
    """The audio of the session, and what is printed of it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._call: SessionAudio | None = None

    async def run(self) -> None:
        """Start it, and stay until it has ended."""
        from ..live.start import start_session_audio

        address = urlsplit(self._settings["uri"])
        typer.echo(f"Starting the audio of session {self._settings['session_id']} for {address.hostname}{address.path}")
        loop = asyncio.get_running_loop()
        try:
            async with start_session_audio(**self._settings) as self._call:
                began_s = loop.time()
                if self._call.client is None:
                    typer.echo("It was started; without a program its socket can't be seen from here.")
                else:
                    typer.echo("Its socket has come.")
                typer.echo(f"It is on, as connection {self._call.connection_id}. Ctrl-C ends it.")
                await self._call.wait_ended()
        finally:
            if self._call is not None and self._call.end_error is None:
                typer.echo(f"It was ended by a force-disconnect, after {loop.time() - began_s:.0f} s.")

    @property
    def exit_code(self) -> int:
        """Whether all went well."""
        from ..close_codes import INTERNAL_ERROR

        call = self._call
        if call is None:
            return 0  # told to stop before it had begun
        if call.end_error is not None:
            typer.echo(f"Error: the force-disconnect failed, and it may go on: {call.end_error}", err=True)
            return FAILED
        report = None if call.client is None else call.client.close_report
        if report is not None and report.closed_by == "library" and report.code == INTERNAL_ERROR:
            typer.echo("Error: the program failed, and its call was closed: the log has its traceback", err=True)
            return FAILED
        return 0
