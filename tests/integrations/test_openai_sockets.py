"""The Realtime integrations over real sockets and TLS, and the examples as they are."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
import trustme
from example_programs import load_example, served, until
from openai import AsyncOpenAI
from realtime_calls import answer, stretches, words
from realtime_stand_in import KEY, RATE_HZ, SPEECH, TEXT, Answer, StandIn

from vonage_audio_connector_server import Client
from vonage_audio_connector_server.integrations.openai_realtime import RealtimeCall, RealtimeClosedError
from vonage_audio_connector_server.testing import session

pytestmark = pytest.mark.anyio

SAID = SPEECH[: 2 * RATE_HZ]

Listens = Callable[[StandIn], AbstractAsyncContextManager[str]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def listens(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listens:
    """Serves the stand-in over TLS, where programs look for the API; gives its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))

    @asynccontextmanager
    async def listening(stand_in: StandIn) -> AsyncIterator[str]:
        async with stand_in.served(context) as port:
            address = f"https://localhost:{port}/v1"
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            monkeypatch.setenv("OPENAI_BASE_URL", address)
            yield address

    return listening


@pytest.mark.slow
async def test_an_interruption_is_cut_over_tls_too(listens: Listens) -> None:
    stand_in = StandIn(answer(4.0, 440, speed=2.0), answer(0.5, 660))

    async def on_connect(client: Client) -> None:
        async with AsyncOpenAI() as openai:
            call = RealtimeCall(client, lambda: openai.realtime.connect(model="gpt-realtime"))
            call.respond()
            await call.run()

    async with listens(stand_in), session(on_connect) as call:
        began_s = await call.speaks(within_s=5)
        await call.wait(began_s + 0.8 - call.now_s)
        interruption = call.interrupt()
        await interruption
        await call.hears(within_s=3)
    call.assert_silent_within(ms=300, of=interruption)
    first, second = stretches(call)
    assert [round(first.pitch_hz, -1), round(second.pitch_hz, -1)] == [440, 660]
    (cut,) = stand_in.session.truncations
    assert cut.end_ms == pytest.approx(first.duration_s * 1000, abs=20)


@pytest.mark.parametrize(
    ("broken", "message", "is_final"),
    [
        ("key", "refused the connection with HTTP 401, the API key is not accepted", True),
        ("model", "refused the connection with HTTP 404, there is no such model", True),
        ("busy", "refused the connection with HTTP 429, too many requests", False),
        ("certificate", "no Realtime session: the TLS connection failed", False),
        ("port", "the network failed", False),
    ],
)
async def test_what_is_wrong_is_told_in_one_line(
    listens: Listens, broken: str, message: str, is_final: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = StandIn()
    stand_in.status = {"model": HTTPStatus.NOT_FOUND, "busy": HTTPStatus.TOO_MANY_REQUESTS}.get(broken)
    errors: list[RealtimeClosedError] = []

    async def on_connect(client: Client) -> None:
        async with AsyncOpenAI(max_retries=0) as openai:
            call = RealtimeCall(client, lambda: openai.realtime.connect(model="gpt-realtime"))
            try:
                await call.run()
            except RealtimeClosedError as exc:
                errors.append(exc)
                await client.disconnect()

    async with listens(stand_in):
        if broken == "key":
            monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-secret")
        elif broken == "certificate":
            trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
        elif broken == "port":
            monkeypatch.setenv("OPENAI_BASE_URL", "https://localhost:1/v1")
        async with session(on_connect) as call:
            await call.wait_ended(within_s=15)
    (error,) = errors
    assert message in str(error)
    assert error.is_final is is_final
    assert "\n" not in str(error)
    assert "sk-" not in str(error)


# The examples


@pytest.mark.slow
async def test_the_example_answers_is_interrupted_and_hangs_up(
    listens: Listens, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load_example("openai_realtime")
    hangs_up = Answer(pcm=SAID, text="Goodbye.", calls=[("hang_up", "{}")])
    stand_in = StandIn(Answer(), Answer(pcm=SAID), hangs_up)
    async with listens(stand_in), served(example.app) as address, session(f"{address}/") as call:
        await call.speaks(within_s=5)
        await call.wait(0.7)
        await call.interrupt()
        await call.speaks(within_s=5)
        call.press("5")
        await call.wait_ended(within_s=20)
    assert call.ended is not None
    one = stand_in.session
    assert one.refused == []
    assert len(one.truncations) == 1
    texts = [event["item"]["content"][0]["text"] for event in one.received if "content" in event.get("item", {})]
    assert texts == ["[The caller has pressed the key 5.]"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("assistant: he")
    assert lines[0].endswith(" -")
    assert "caller: go forward ten meters" in lines
    assert f"assistant: {TEXT}" in lines
    assert lines[-1] == "assistant: Goodbye."
    await until(lambda: one.is_over)


@pytest.mark.slow
async def test_the_example_of_an_agent_answers_and_uses_its_tool(
    listens: Listens, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("agents", reason="the Agents SDK is not installed: it doesn't allow websockets 17")
    example = load_example("openai_agent")
    asks = Answer(pcm=b"", calls=[("opening_hours", '{"weekday": "Monday"}')])
    stand_in = StandIn(answer(0.5), asks, Answer(pcm=SAID))
    async with listens(stand_in) as api, served(example.app) as address:
        monkeypatch.setattr(example, "BASE_URL", api)
        async with session(f"{address}/") as call:
            await call.hears(within_s=5)
            await call.say(words(16_000))
            await call.hears(within_s=5)
    outputs = [event["item"].get("output") for event in stand_in.session.received if "item" in event]
    assert "9 to 18" in outputs
    lines = capsys.readouterr().out.splitlines()
    assert "tool_end" in lines
    assert lines[-1] == f"agent: {TEXT}"


@pytest.mark.slow
async def test_the_interpreter_translates_every_turn(listens: Listens, capsys: pytest.CaptureFixture[str]) -> None:
    """Those, too, that are said while the one before them is spoken."""
    example = load_example("translate")
    stand_in = StandIn(Answer(pcm=SPEECH[: 4 * RATE_HZ], text="adelante diez metros", speed=1.5))
    async with listens(stand_in), served(example.app) as address:
        async with session(f"{address}/?from=English&into=Spanish") as call:
            await call.say(words(16_000))
            await call.wait(0.6)
            await call.say(words(16_000))
            await call.wait(4.0)
    one = stand_in.session
    assert one.received[0]["session"]["instructions"].startswith("You are an interpreter. Say in Spanish what is said")
    assert one.truncations == []
    assert one.refused == []
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("English: go forward ten meters") == 2
    assert lines.count("Spanish: adelante diez metros") == 2


# Without the extra


@pytest.mark.parametrize("module", ["openai_realtime", "openai_agents"])
def test_without_the_extra_one_sentence_tells_how_to_get_it(module: str) -> None:
    code = (
        "import sys\n"
        "sys.modules['openai'] = sys.modules['agents'] = None\n"
        "from vonage_audio_connector_server import MissingExtraError\n"
        "try:\n"
        f"    import vonage_audio_connector_server.integrations.{module}\n"
        "except MissingExtraError as exc:\n"
        "    print(exc)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.endswith(" needs the extra 'openai': pip install 'vonage-audio-connector-server[openai]'\n")


def test_the_library_without_it_imports_none_of_it() -> None:
    code = (
        "import sys, vonage_audio_connector_server as library, vonage_audio_connector_server.integrations\n"
        "[getattr(library, name) for name in library.__all__]\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'openai', 'agents'}))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "[]\n"
