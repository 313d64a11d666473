import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from http import HTTPStatus
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import SocketStream
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from vonage_audio_connector_server.errors import AudioConnectorAudioError, AudioConnectorConfigError
from vonage_audio_connector_server.simulator import Progress, simulate

pytestmark = pytest.mark.anyio

Serving = Callable[..., AbstractAsyncContextManager[str]]
Tone = Callable[..., bytes]
Handler = Callable[[ServerConnection], Awaitable[None]]

LEAD_FRAMES = 10
quick = partial(simulate, quiet_s=0.2, timeout_s=0.2)


async def echo(websocket: ServerConnection) -> None:
    """Send every frame back, 200 ms ahead of when it is played, so that a busy machine makes no gap."""
    early: list[bytes] = []
    async for message in websocket:
        if isinstance(message, bytes) and len(early) < LEAD_FRAMES:
            early.append(message)
            if len(early) == LEAD_FRAMES:
                for frame in early:
                    await websocket.send(frame)
        elif isinstance(message, bytes):
            await websocket.send(message)


async def listen(websocket: ServerConnection) -> None:
    async for _ in websocket:
        pass


def saying(*messages: bytes | str | float) -> Handler:
    """A server that sends these in order, a number being seconds of waiting, and then listens."""

    async def handler(websocket: ServerConnection) -> None:
        for message in messages:
            if isinstance(message, float):
                await asyncio.sleep(message)
            else:
                await websocket.send(message)
        await listen(websocket)

    return handler


async def test_an_echo_is_heard_without_gaps_and_is_the_question(serving: Serving, tone: Tone) -> None:
    question = tone(0.6)
    async with serving(echo) as url:
        report = await quick(url, question, compare=True)

    assert report.problems == ()
    assert (report.outcome, report.close_code, report.closed_by) == ("answered", 1000, "simulator")
    assert report.gaps == ()
    assert report.same_as_question is not None
    assert report.same_as_question > 0.999
    assert question in report.heard
    assert report.frames_sent >= 30
    assert report.frames_received >= report.frames_heard >= 30
    assert report.question_end_s == pytest.approx(0.66, abs=0.02)
    assert report.answer_after_s == pytest.approx(0.02, abs=0.02)
    assert 0.15 < report.furthest_ahead_s < 0.25
    assert report.duration_s < 1.5


async def test_what_goes_over_the_wire(serving: Serving, tone: Tone) -> None:
    seen: list[bytes | str] = []
    requests: list[Request] = []

    async def handler(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        requests.append(websocket.request)
        seen.extend([message async for message in websocket])

    async with serving(handler) as url:
        report = await quick(f"{url}/path?room=1", tone(0.11, 8000), 8000, headers={"X-Tenant": "blue", "token": "t=1"})

    first, *frames, last = seen
    assert (
        first == ' {"content-type":"audio/l16;rate=8000","event":"websocket:connected","X-Tenant":"blue","token":"t=1"}'
    )
    assert last == (
        ' {"event":"websocket:disconnected","method":"delete","content-type":"audio/l16;rate=8000",'
        '"X-Tenant":"blue","token":"t=1"}'
    )
    assert b"".join(frame for frame in frames if isinstance(frame, bytes)).startswith(tone(0.11, 8000) + bytes(160))
    assert {len(frame) for frame in frames} == {320}
    assert len(frames) == report.frames_sent
    assert requests[0].path == "/path?room=1"
    headers = requests[0].headers
    assert (headers["x-tenant"], headers["token"]) == ("blue", "t=1")
    for name in ("sessionid", "connectionid", "conferenceid"):
        assert headers[f"x-opentok-ws-{name}"].startswith("simulated-")
    assert "sec-websocket-extensions" not in headers
    assert "sec-websocket-protocol" not in headers


async def test_the_user_can_name_the_session(serving: Serving, tone: Tone) -> None:
    sessions: list[str] = []

    async def handler(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        sessions.extend(websocket.request.headers.get_all("x-opentok-ws-sessionid"))

    async with serving(handler) as url:
        await quick(url, tone(0.02), headers={"X-OpenTok-WS-SessionId": "mine"})

    assert sessions == ["mine"]


async def test_frames_keep_to_their_deadlines_over_the_whole_call(serving: Serving, tone: Tone) -> None:
    arrivals_s: list[float] = []

    async def handler(websocket: ServerConnection) -> None:
        now = asyncio.get_running_loop().time
        arrivals_s.extend([now() async for message in websocket if isinstance(message, bytes)])

    async with serving(handler) as url:
        report = await quick(url, tone(0.8))

    # A late frame may be late, but the frames after it are not: no lateness adds up.
    lateness_s = [arrival_s - arrivals_s[0] - 0.02 * tick for tick, arrival_s in enumerate(arrivals_s)]
    assert min(lateness_s[-10:]) < 0.02
    assert len(arrivals_s) == report.frames_sent


async def test_a_server_that_only_listens_gives_no_answer(serving: Serving, tone: Tone) -> None:
    async with serving(listen) as url:
        report = await simulate(url, tone(0.2), quiet_s=5.0, timeout_s=0.2, compare=True)

    assert (report.outcome, report.error, report.close_code) == ("no answer", None, 1000)
    assert report.ok
    assert (report.frames_received, report.heard_s, report.answer_after_s) == (0, 0.0, None)
    assert report.same_as_question == 0.0
    assert set(report.heard) == {0}
    assert 0.4 < report.duration_s < 0.8


async def test_silent_frames_are_no_answer(serving: Serving, tone: Tone) -> None:
    async with serving(saying(*[bytes(640)] * 30)) as url:
        report = await quick(url, tone(0.1))

    assert report.outcome == "no answer"
    assert report.frames_received == 30


async def test_an_answer_is_waited_for_to_its_end_though_it_came_at_once(serving: Serving, tone: Tone) -> None:
    answer = tone(0.3) + bytes(640 * 20) + tone(0.2)
    frames = [answer[at : at + 640] for at in range(0, len(answer), 640)]
    async with serving(saying(0.21, *frames)) as url:
        report = await quick(url, tone(0.1))

    assert report.outcome == "answered"
    assert answer in report.heard
    assert report.answer_after_s == pytest.approx(0.08, abs=0.06)


async def test_a_question_without_speech_can_be_answered(serving: Serving, tone: Tone) -> None:
    async with serving(saying(tone(0.02))) as url:
        report = await quick(url, bytes(640), compare=True)

    assert report.outcome == "answered"
    assert (report.question_end_s, report.answer_after_s, report.same_as_question) == (None, None, None)


async def test_an_answer_without_end_is_cut_off(serving: Serving, tone: Tone) -> None:
    async with serving(saying(*[tone(0.02)] * 500)) as url:
        report = await quick(url, tone(0.1), limit_s=0.2)

    assert report.outcome == "limit"
    assert report.unheard_s > 8
    assert report.ok


async def test_a_frame_of_a_wrong_size_is_a_problem(serving: Serving, tone: Tone) -> None:
    async with serving(saying(bytes(160), bytes(161), tone(0.02), tone(0.06))) as url:
        report = await quick(url, tone(0.1))

    assert report.wrong_size_frames == 3
    assert report.problems == ("3 of the server's frames were not 640 bytes long",)


async def test_an_answer_in_one_message_is_one_wrong_frame(serving: Serving, tone: Tone) -> None:
    async with serving(saying(bytes(2_000_000))) as url:
        report = await quick(url, tone(0.1))

    assert (report.wrong_size_frames, report.frames_heard) == (1, 1)
    assert report.outcome == "no answer"


async def test_a_burst_of_30_s_overflows_the_buffer(serving: Serving, tone: Tone) -> None:
    async with serving(saying(*[bytes(640)] * 1500)) as url:
        report = await quick(url, tone(0.1))

    assert report.frames_received == 1500
    assert 400 < report.overflow_frames <= 1500 - 1024
    assert 20 < report.furthest_ahead_s <= 1024 * 0.02
    assert report.unheard_s > 15
    assert not report.ok


async def test_a_stall_in_speech_is_one_gap_of_its_length(serving: Serving, tone: Tone) -> None:
    burst = [tone(0.02)] * 10
    async with serving(saying(*burst, 0.4, *burst)) as url:
        report = await quick(url, tone(0.1))

    assert len(report.gaps) == 1
    assert report.gap_ms == pytest.approx(200, abs=80)
    assert report.gaps[0].at_s == pytest.approx(0.2, abs=0.08)
    assert report.ok


async def test_clear_and_notify_are_answered(serving: Serving, tone: Tone) -> None:
    answers: list[str] = []

    async def handler(websocket: ServerConnection) -> None:
        await websocket.send(tone(0.02))
        await websocket.send('{"action":"notify","payload":{"n":1}}')
        for _ in range(20):
            await websocket.send(tone(0.02))
        await websocket.send('{"action":"clear"}')
        await websocket.send("anything else")
        answers.extend([message async for message in websocket if isinstance(message, str)])

    async with serving(handler) as url:
        report = await quick(url, tone(0.1))

    events = [json.loads(answer) for answer in answers]
    assert {"event": "websocket:cleared"} in events
    assert all(answer.startswith(" {") for answer in answers)
    assert report.clears == 1
    assert 17 <= report.cleared_frames + report.frames_heard == 21
    assert report.texts_received == 3


async def test_notify_is_answered_when_the_audio_before_it_was_played(serving: Serving, tone: Tone) -> None:
    waited_s: list[float] = []

    async def handler(websocket: ServerConnection) -> None:
        for _ in range(10):
            await websocket.send(tone(0.02))
        await websocket.send('{"action":"notify","payload":{"n":1}}')
        sent_s = asyncio.get_running_loop().time()
        async for message in websocket:
            if isinstance(message, str) and "notify" in message:
                assert json.loads(message) == {"event": "websocket:notify", "payload": {"n": 1}}
                waited_s.append(asyncio.get_running_loop().time() - sent_s)

    async with serving(handler) as url:
        await quick(url, tone(0.1))

    assert waited_s == [pytest.approx(0.2, abs=0.08)]


async def test_without_silence_after_the_question_nothing_more_is_sent(serving: Serving, tone: Tone) -> None:
    async with serving(listen) as url:
        report = await quick(url, tone(0.1), silence_after=False)

    assert report.frames_sent == 5
    assert report.duration_s > 0.25


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1000, "bye", None),
        (1001, "", None),
        (1011, "boom", "the server closed the connection with 1011 (boom)"),
        (4000, "", "the server closed the connection with 4000"),
    ],
)
async def test_the_server_may_end_the_call(
    serving: Serving, tone: Tone, code: int, reason: str, error: str | None
) -> None:
    async def handler(websocket: ServerConnection) -> None:
        for _ in range(5):
            await websocket.send(tone(0.02))
        await asyncio.sleep(0.05)
        await websocket.close(code, reason)

    async with serving(handler) as url:
        report = await quick(url, tone(1.0))

    assert (report.outcome, report.closed_by) == ("server closed", "server")
    assert (report.close_code, report.close_reason) == (code, reason)
    assert report.problems == ((error,) if error else ())
    assert report.duration_s < 0.5
    assert 0 < report.frames_heard <= 5
    assert report.frames_heard * 0.02 + report.unheard_s == pytest.approx(0.1)


async def test_a_connection_that_is_dropped_is_lost(serving: Serving, tone: Tone) -> None:
    async def handler(websocket: ServerConnection) -> None:
        await websocket.recv()
        websocket.transport.abort()

    async with serving(handler) as url:
        report = await quick(url, tone(1.0))

    assert (report.outcome, report.close_code, report.closed_by) == ("connection lost", 1006, None)
    assert report.problems == ("the connection was lost without a close frame",)


async def test_a_server_that_breaks_the_websocket_protocol_is_told(serving: Serving, tone: Tone) -> None:
    async def handler(websocket: ServerConnection) -> None:
        websocket.transport.write(b"\x81\x02\xff\xff")  # a text that is no UTF-8
        await listen(websocket)

    async with serving(handler) as url:
        report = await quick(url, tone(1.0))

    assert (report.outcome, report.close_code, report.closed_by) == ("protocol error", 1007, "simulator")
    assert report.error is not None
    assert report.error.startswith("the server broke the WebSocket protocol: ")


async def test_a_refused_handshake_is_told(serving: Serving, tone: Tone) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.FORBIDDEN, "no\n")

    async with serving(listen, process_request=refuse) as url:
        report = await quick(url, tone(0.1))

    assert (report.outcome, report.close_code, report.heard) == ("not connected", None, b"")
    assert report.problems[0].startswith("the server refused the connection with HTTP 403: authorize said no (")
    assert report.frames_sent == 0


async def test_nobody_listening_is_told(tone: Tone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    report = await quick(f"ws://127.0.0.1:{port}", tone(0.1))

    assert report.outcome == "not connected"
    assert report.error is not None
    assert report.error.startswith("no connection: ")


async def test_a_server_that_is_no_websocket_server_is_told(tone: Tone) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        report = await quick(f"ws://127.0.0.1:{port}", tone(0.1))

    assert report.outcome == "not connected"
    assert report.error is not None
    assert report.error.startswith("no WebSocket connection: ")


async def test_a_server_that_does_not_accept_in_time_is_told(tone: Tone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.simulator.socket_carrier.CONNECT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        report = await quick(f"ws://127.0.0.1:{listener.getsockname()[1]}", tone(0.1))

    assert report.problems == ("the server did not accept the connection within 0.1 s",)


async def test_tls(serving: Serving, tone: Tone) -> None:
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    async with serving(saying(tone(0.06)[:640]), ssl=server_tls) as url:
        trusted = await simulate(url, tone(0.1), ssl_context=client_tls, timeout_s=0.1)
        untrusted = await simulate(url, tone(0.1), timeout_s=0.1)

    assert trusted.ok
    assert untrusted.outcome == "not connected"
    assert untrusted.error is not None
    assert "certificate" in untrusted.error


async def test_a_server_that_does_not_read_is_told(
    serving: Serving, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vonage_audio_connector_server.simulator.socket_carrier.STUCK_S", 0.1)

    class Stuck:
        def __init__(self, stream: SocketStream) -> None:
            self._stream = stream
            self._sent = 0

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

        async def send(self, data: bytes) -> None:
            self._sent += 1
            await (self._stream.send(data) if self._sent == 1 else anyio.sleep_forever())  # the handshake goes through

    connect = anyio.connect_tcp

    async def connect_and_get_stuck(host: str, port: int) -> Stuck:
        return Stuck(await connect(host, port))

    async with serving(listen) as url:
        monkeypatch.setattr(anyio, "connect_tcp", connect_and_get_stuck)
        report = await quick(url, tone(0.1))

    assert (report.outcome, report.close_code, report.closed_by) == ("connection lost", 1006, None)
    assert report.problems == ("the server read nothing for 0.1 s",)


async def test_cancelling_closes_the_connection(serving: Serving, tone: Tone) -> None:
    begun = asyncio.Event()
    closed: asyncio.Future[ConnectionClosed] = asyncio.get_running_loop().create_future()

    async def handler(websocket: ServerConnection) -> None:
        try:
            while True:
                await websocket.recv()
                begun.set()
        except ConnectionClosed as exc:
            closed.set_result(exc)

    async with serving(handler) as url:
        call = asyncio.create_task(simulate(url, tone(5.0)))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        received = (await closed).rcvd

    assert received is not None
    assert received.code == 1000


async def test_progress_is_told_and_its_errors_end_the_call(serving: Serving, tone: Tone) -> None:
    told: list[Progress] = []

    def stop(progress: Progress) -> None:
        raise LookupError("of the caller")

    async with serving(echo) as url:
        await quick(url, tone(0.3), on_progress=told.append)
        with pytest.raises(LookupError, match="of the caller"):
            await quick(url, tone(0.3), on_progress=stop)

    assert told[0].elapsed_s == pytest.approx(0.08, abs=0.05)
    assert told[0].question_s == pytest.approx(0.3)
    assert told[0].sent_dbfs > -20
    assert told[-1].sent_dbfs == told[-1].heard_dbfs == -96.0
    assert max(progress.heard_dbfs for progress in told) > -20


async def test_many_calls_run_in_one_event_loop(serving: Serving, tone: Tone) -> None:
    async with serving(echo) as url:
        reports = await asyncio.gather(*(quick(url, tone(0.2)) for _ in range(5)))

    assert [report.outcome for report in reports] == ["answered"] * 5


@pytest.mark.parametrize(
    ("changed", "error", "told"),
    [
        ({"audio": b""}, AudioConnectorAudioError, "whole samples"),
        ({"audio": b"\1\2\3"}, AudioConnectorAudioError, "whole samples"),
        ({"rate_hz": 44_100}, AudioConnectorAudioError, "rate_hz must be 8000, 16000 or 24000, not 44100"),
        ({"url": "http://127.0.0.1"}, AudioConnectorConfigError, "url must begin with ws:// or wss://"),
        ({"url": "ws://127.0.0.1:99999"}, AudioConnectorConfigError, "can't be used"),
        ({"url": "ws://"}, AudioConnectorConfigError, "can't be used"),
        ({"ssl_context": ssl.create_default_context()}, AudioConnectorConfigError, "ssl_context is for wss://"),
        ({"quiet_s": -1.0}, AudioConnectorConfigError, "quiet_s must be 0 or more"),
        ({"timeout_s": float("nan")}, AudioConnectorConfigError, "timeout_s must be 0 or more"),
        ({"headers": {"event": "x"}}, AudioConnectorConfigError, "'event' can't be the name"),
        ({"headers": {"a b": "x"}}, AudioConnectorConfigError, "'a b' can't be the name"),
        ({"headers": {"a": "x\r\nb: y"}}, AudioConnectorConfigError, "the value of a must be one line"),
        ({"headers": {"a": "x" * 512}}, AudioConnectorConfigError, "513 bytes long; a connect call takes 512"),
    ],
)
async def test_what_can_not_be_used_is_named(changed: dict[str, Any], error: type[Exception], told: str) -> None:
    arguments: dict[str, Any] = {"url": "ws://127.0.0.1:1", "audio": bytes(2), **changed}

    with pytest.raises(error, match=told):
        await simulate(**arguments)
