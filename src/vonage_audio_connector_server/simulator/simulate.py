"""The usual simulated call: say a recording, hear the answer, hang up, and report what a participant heard."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import partial

import anyio.to_thread

from ..core.json_audio import JSONTransport
from ..errors import AudioConnectorAudioError
from ..formats import FRAME_MS, SAMPLE_BYTES
from .compare import require_numpy
from .conversation import Conversation, OnProgress, Patience, question
from .network import Faults
from .report import SimulationReport
from .rules import RouterName
from .setup import Setup, check_seconds
from .twin import FIRST_MESSAGE_S, Silence


async def simulate(
    url: str,
    audio: bytes,
    rate_hz: int = 16_000,
    *,
    frame_ms: int = FRAME_MS,
    transport: JSONTransport | None = None,
    headers: Mapping[str, str] | None = None,
    router: RouterName = "lenient",
    ssl_context: ssl.SSLContext | None = None,
    quiet_s: float = 2.0,
    timeout_s: float = 15.0,
    limit_s: float = 120.0,
    silence_after: bool = True,
    first_s: float = FIRST_MESSAGE_S,
    faults: Faults | None = None,
    compare: bool = False,
    on_progress: OnProgress | None = None,
) -> SimulationReport:
    """Speak `audio` to an Audio Connector server in real time, and report what a participant heard.

    The call ends when the answer is over: after the question something loud was heard, and then nothing loud for
    `quiet_s`. The server may also end it. Whatever goes wrong with the connection or the server stands in the report.

    It runs on asyncio and trio. Cancelling it closes the connection first, which takes up to 3 s.

    Args:
        url: `ws://` or `wss://`; the connection is direct, whatever proxy the environment names.
        audio: the question, 16-bit little-endian mono PCM; its last frame is padded with silence.
        rate_hz: the sample rate of the question and of the call: 8000, 16000 or 24000.
        frame_ms: how long a frame lasts, 20 or 10: those that are sent, and those that are played. No message tells it.
        transport: None: audio is binary messages. Else it is JSON texts, and these are the settings as the *server*
            has them: the question comes in its `receive_field`, the answer goes out in its `send_field`. The call
            takes them from the other end.
        headers: custom headers of the connect call. They go into the upgrade request and, as custom keys, into the
            first message. `x-opentok-ws-sessionid` and its like replace the ones that are made up.
        router: what the router makes of what the server sends: `strict`, `wsbridge` or `lenient`.
        ssl_context: for `wss://`; None: the system's certificates.
        quiet_s: for how long nothing loud is heard when the answer is over.
        timeout_s: how long after the end of the question the answer may take to begin.
        limit_s: how long after the end of the question an answer without end is cut off.
        silence_after: go on with frames of silence after the question, as a microphone does; without, nothing is sent.
        first_s: how long after the accept the first message comes, and the question begins.
        faults: how the network is disturbed; None: not at all.
        compare: work out `same_as_question`, with numpy.
        on_progress: called every 100 ms, between two frames: it must be quick. What it raises ends the call.

    Raises:
        AudioConnectorAudioError: `audio` is empty or holds half a sample, the rate is none of the Audio Connector, or
            `frame_ms` is neither 10 nor 20.
        AudioConnectorConfigError: the url, the transport, a header or a time can't be used.
        MissingExtraError: `compare` needs numpy, which is not installed.
    """
    silence: Silence = "frames" if silence_after else "none"
    setup = Setup(
        rate_hz=rate_hz,
        frame_ms=frame_ms,
        transport=transport,
        headers=headers or {},
        router=router,
        first_s=first_s,
        silence=silence,
    )
    check_question(audio)
    check_seconds("timeout_s", timeout_s)
    if compare:
        require_numpy()
    patience = Patience(within_s=timeout_s, quiet_s=quiet_s, limit_s=limit_s)
    conversation = Conversation(url, question(audio), setup, patience=patience, ssl_context=ssl_context, faults=faults)
    await conversation.run(on_progress)
    # In a thread, because other calls of this event loop must not stall.
    return await anyio.to_thread.run_sync(partial(conversation.report, compare=compare))


def check_question(audio: bytes) -> None:
    """Refuse what is no PCM.

    Raises:
        AudioConnectorAudioError: it is empty, or holds half a sample.
    """
    if not audio or len(audio) % SAMPLE_BYTES:
        raise AudioConnectorAudioError(f"audio must be whole samples of 16-bit PCM, which {len(audio)} bytes are not")
