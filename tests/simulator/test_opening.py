"""Calls over real sockets and TLS, on asyncio and on trio, to a server of ours in a thread of its own."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import trustme
import uvicorn
from serving import on_own_thread
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from vonage_audio_connector_server import AudioConnector, Client, SharedSecret, WebSocketProtocol
from vonage_audio_connector_server.simulator import Conversation, Faults, Patience, Setup, simulate
from vonage_audio_connector_server.simulator.call import SimulatedCall
from vonage_audio_connector_server.simulator.carrier import DialError
from vonage_audio_connector_server.simulator.heard import NothingHeardError
from vonage_audio_connector_server.simulator.opening import dial
from vonage_audio_connector_server.simulator.steps import Hear, Interrupt, Mute, Press, Say, Sound, Wait
from vonage_audio_connector_server.simulator.steps import Send as SendText
from vonage_audio_connector_server.simulator.steps import WaitForGreeting as Greeting

pytestmark = pytest.mark.anyio

Tone = Callable[..., bytes]
seen: list[str] = []


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def on_connect(client: Client) -> None:
    """Greets, then says back each text, and 0.4 s of what is loud as soon as it was loud for so long."""
    rate_hz = (await client.wait_format()).rate_hz
    loud = bytearray()

    def on_message(message: bytes | str) -> None:
        if isinstance(message, str):
            seen.append(message)
        elif any(message):
            loud.extend(message)
            if len(loud) == len(message):
                client.flush_buffer()
            if len(loud) == 20 * len(message):
                client.send_audio_buffer(bytes(loud) * 4, pad_last_frame=True)
        else:
            loud.clear()

    client.set_handler(on_message=on_message)
    await client.send_audio_buffer(b"\x00\x20\x00\xe0" * (rate_hz // 10), pad_last_frame=True)


async def wrong_frames(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    for size in (640, 640, 160):
        await send({"type": "websocket.send", "bytes": bytes(size)})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def never_accepts(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def moved(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    headers = [(b"location", b"/bot/?token=secret")]
    await send({"type": "websocket.http.response.start", "status": 307, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})


async def raises(client: Client) -> None:
    await client.wait_format()
    raise LookupError("on purpose")


APP = Starlette(
    routes=[
        Mount("/bot", AudioConnector(on_connect)),
        Mount("/raises", AudioConnector(raises)),
        Mount("/guarded", AudioConnector(on_connect, authorize=SharedSecret("a-long-secret-value", query="token"))),
        Mount("/wrong", wrong_frames),
        Mount("/never", never_accepts),
        Mount("/moved", moved),
    ]
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(APP) as port:
        yield f"ws://127.0.0.1:{port}"


def serve(app: ASGIApp, **options: Any) -> Any:
    ws: Any = WebSocketProtocol
    return on_own_thread(uvicorn.Config(app, log_config=None, lifespan="off", ws=ws, **options))


async def test_a_conversation_step_by_step(url: str, tone: Tone) -> None:
    sound = Sound("tone", tone(0.5))
    steps = (
        Greeting(),
        Say(sound),
        Interrupt(0.3, Sound("stop", tone(0.1))),
        Press("5#"),
        SendText('{"my": 1}'),
        Mute(0.2),
        Say(sound),
        Hear(quiet_s=0.3),
    )
    seen.clear()
    call = Conversation(f"{url}/bot/", steps, Setup(router="strict"), patience=Patience(within_s=2.0, quiet_s=0.3))

    await call.run()

    report = call.report()
    assert report.ok, report.problems
    assert (report.outcome, report.closed_by, report.gaps) == ("answered", "simulator", ())
    assert report.greeting_s is not None
    assert [one.meant for one in report.interruptions] == [True]
    assert 0 < (report.interruptions[0].silent_after_s or 0) < 0.4
    told = [json.loads(text) for text in seen]
    assert [text["digit"] for text in told if "digit" in text] == ["5", "#"]
    assert [text["active"] for text in told if "active" in text] == [False, True]
    assert {"my": 1} in told
    words = [data["step"] for _, data in call.recording.notes("step")]
    assert words == [step.words for step in steps]
    times_s = [entry.at_s for entry in call.recording.entries]
    assert times_s == sorted(times_s)


async def test_a_strict_router_breaks_off_where_frames_are_wrong(url: str, tone: Tone) -> None:
    strict = await simulate(f"{url}/wrong/", tone(0.1), router="strict", timeout_s=0.3)
    lenient = await simulate(f"{url}/wrong/", tone(0.1), timeout_s=0.3)

    assert (strict.outcome, strict.close_code) == ("connection lost", 1006)
    assert strict.error == "the router broke it off: unexpected frame size 160, when required 640"
    assert (lenient.outcome, lenient.wrong_size_frames, lenient.ok) == ("no answer", 1, False)


async def test_a_redirect_is_told_and_not_followed(url: str) -> None:
    with pytest.raises(DialError) as refused:
        async with dial(f"{url}/moved/", make_call=SimulatedCall):
            pass

    assert str(refused.value) == (
        "the server sends the caller elsewhere (HTTP 307), to /bot/: the router is not known to follow: give it that "
        "address"
    )


async def test_a_refusal_and_a_server_that_never_accepts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DialError, match="HTTP 403: authorize said no"):
        async with dial(f"{url}/guarded/", make_call=SimulatedCall):
            pass
    async with dial(f"{url}/guarded/?token=a-long-secret-value", make_call=SimulatedCall) as call:
        await call.speaks(within_s=2.0)

    monkeypatch.setattr("vonage_audio_connector_server.simulator.socket_carrier.CONNECT_S", 0.2)
    with pytest.raises(DialError, match=r"did not accept the connection within 0.2 s"):
        async with dial(f"{url}/never/", make_call=SimulatedCall):
            pass


async def test_nobody_there_is_told_through_a_relay_as_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unused_port = listener.getsockname()[1]
    for faults in (None, Faults()):
        with pytest.raises(DialError, match=f"nothing listens at 127.0.0.1:{unused_port}"):
            async with dial(f"ws://127.0.0.1:{unused_port}", faults=faults, make_call=SimulatedCall):
                pass


async def test_a_program_that_fails_closes_the_call_and_ends_all_waits(url: str) -> None:
    async with dial(f"{url}/raises/", make_call=SimulatedCall) as call:
        with pytest.raises(NothingHeardError, match="before the call ended"):
            await call.hears(within_s=5.0)
        assert call.ended is not None
        assert (call.ended.code, call.ended.by) == (1011, "server")


async def test_an_error_in_the_block_hangs_up_and_is_raised_as_it_is(url: str) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with dial(f"{url}/bot/", make_call=SimulatedCall) as call:
            raise KeyError("mine")

    assert call.ended is not None
    assert (call.ended.code, call.ended.by) == (1000, "simulator")


async def test_cancelling_hangs_up(url: str) -> None:
    call = Conversation(f"{url}/bot/", [Wait(30.0)])
    with anyio.move_on_after(0.3):
        await call.run()

    assert call.call is not None
    assert call.call.ended is not None
    assert (call.call.ended.code, call.call.ended.by) == (1000, "simulator")
    report = call.report()
    assert (report.outcome, report.frames_heard > 5) == ("open", True)


async def test_a_server_that_is_gone_without_a_word_does_not_hold_the_end(url: str) -> None:
    began_s = time.monotonic()
    async with dial(f"{url}/bot/", faults=Faults(), make_call=SimulatedCall) as call:
        await call.speaks(within_s=2.0)
        call.disturb(Faults(half_open_at_s=0.0))
        await call.wait(0.1)

    assert time.monotonic() - began_s < 6.0
    assert call.ended is not None
    assert call.ended.code == 1006
    assert [data["fault"] for _, data in call.recording.notes("fault")] == ["half open"]


async def test_tls_with_and_without_a_relay(tone: Tone, tmp_path: Any) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain = tmp_path / "server.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(chain))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    with serve(AudioConnector(on_connect), ssl_certfile=str(chain)) as port:
        for faults in (None, Faults(delay_s=0.02)):
            report = await simulate(
                f"wss://127.0.0.1:{port}/", tone(0.5), ssl_context=trusting, faults=faults, quiet_s=0.3, timeout_s=2.0
            )
            assert report.ok, report.problems
            assert report.outcome == "answered"
        distrusted = await simulate(f"wss://127.0.0.1:{port}/", tone(0.1))
        in_the_clear = await simulate(f"ws://127.0.0.1:{port}/", tone(0.1))

    assert "--cafile" in str(distrusted.error)
    assert in_the_clear.outcome == "not connected"
