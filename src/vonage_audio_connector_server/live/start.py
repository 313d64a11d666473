"""`start_session_audio`: the audio of a live session for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from ..admission.tokens import OneTimeTokens
from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorConfigError
from ..runtime import single_error
from .credentials import Credentials, check_credentials, find_credentials
from .request import ConnectRequest
from .session_audio import Connector, SessionAudio, check_for_s


@asynccontextmanager
async def start_session_audio(
    session_id: str,
    uri: str,
    *,
    connector: Connector | None = None,
    credentials: Credentials | None = None,
    streams: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    rate_hz: int | None = None,
    bidirectional: bool = True,
    transport: JSONTransport | None = None,
    tokens: OneTimeTokens | None = None,
    for_s: float | None = None,
) -> AsyncIterator[SessionAudio]:
    """Start the audio of a live Vonage Video session, wait for its socket, and end it when the block is left.

        async with start_session_audio(session_id, "wss://bot.example.com/vonage", connector=connector) as call:
            await call.wait_ended()

    It makes the connect call with Vonage's own packages, in a thread. Then it waits up to 6 s for the socket to come to
    `connector`, whose `on_connect` serves it as every other. However the block is left, by its end, an error or a
    cancellation, the connection is force-disconnected, which is tried for 10 s at most, and the socket is closed. A
    cancellation in the middle of the connect call waits for its answer, 20 s at most, because what was started must be
    ended. When the audio ends before, the block goes on: wait for it with `call.wait_ended()`.

    Use it in the event loop that serves the connector; asyncio or trio.

    Args:
        session_id: of a routed session.
        uri: the public address of your server, `wss://…`. It goes out as it is, and with a one-time token at its end
            where there are `tokens`.
        connector: the `AudioConnector` that is served there. None: the server is somewhere else, so the socket can't
            be seen: `call.client` is None, and nothing is waited for.
        credentials: a `VonageApplication` or an `OpenTokProject`; None: those of the environment or of `.env`, see
            `find_credentials`.
        streams: ids of the streams that are wanted, 50 at most; empty: all of them, mixed.
        headers: custom headers, 512 bytes together. Where there are no `tokens`, 52 of these bytes are taken by
            `audio-connector-call`, by which the socket is told from others.
        rate_hz: 8000, 16000 or 24000; None: that of the connector, else 16000.
        bidirectional: whether the session hears what the server sends.
        transport: a `JSONTransport` for audio in JSON texts, with the names as the server has them; None: as the
            connector has it, else binary.
        tokens: mint a token for this connection; None: the connector's `authorize`, if that is a `OneTimeTokens`.
        for_s: the audio ends after so many seconds; None: no limit.

    Yields:
        The `SessionAudio`.

    Raises:
        AudioConnectorConfigError: a value can't be used, or there are no credentials; nothing was started.
        AudioConnectorSessionError: Vonage's API refused, or can't be reached, or no socket has come; the message says
            why, with what to do. What had been started is ended.
        MissingExtraError: the extra `vonage` is not installed.
    """
    audio = make_session_audio(
        session_id,
        uri,
        connector=connector,
        credentials=credentials,
        streams=streams,
        headers=headers,
        rate_hz=rate_hz,
        bidirectional=bidirectional,
        transport=transport,
        tokens=tokens,
        for_s=for_s,
    )
    with single_error():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(audio._run)
            try:
                await audio._wait_started()
                yield audio
            finally:
                audio._end_soon()


def make_session_audio(
    session_id: str,
    uri: str,
    *,
    connector: Connector | None,
    credentials: Credentials | None,
    streams: Sequence[str],
    headers: Mapping[str, str] | None,
    rate_hz: int | None,
    bidirectional: bool,
    transport: JSONTransport | None,
    tokens: OneTimeTokens | None,
    for_s: float | None,
) -> SessionAudio:
    """What `start_session_audio` runs; it takes the settings that are not given from the connector.

    Raises:
        AudioConnectorConfigError: a value can't be used.
    """
    if connector is not None:
        if not hasattr(connector, "_arrivals"):
            raise AudioConnectorConfigError(f"connector must be an AudioConnector, not {type(connector).__name__}")
        rate_hz = connector.config.rate_hz if rate_hz is None else rate_hz
        authorize, own_transport = connector.config.authorize, connector.config.transport
        if tokens is None and isinstance(authorize, OneTimeTokens):
            tokens = authorize
        if transport is None and isinstance(own_transport, JSONTransport):
            transport = own_transport
    check_credentials(credentials)
    check_for_s(for_s)
    request = ConnectRequest(
        session_id=session_id,
        uri=uri,
        streams=streams,
        headers={} if headers is None else headers,
        rate_hz=16_000 if rate_hz is None else rate_hz,
        bidirectional=bidirectional,
        transport=transport,
    )
    return SessionAudio(request, credentials or find_credentials(), connector, tokens, for_s)
