"""The programs of the how-to pages: each is run, on recorded speech, and does what its page says."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import soundfile
from test_docs_examples import SHOWN
from test_examples import free_port, wait_until_listening

from vonage_audio_connector_server import AudioConnectorAudioError, Client
from vonage_audio_connector_server.audio import Base64Audio, Resampler, level_dbfs, to_float32, to_mono, to_pcm
from vonage_audio_connector_server.testing import assert_same_speech, on_virtual_clock, recording, session, tone

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "howto"
QUESTION, LONG_QUESTION, ANSWER = "go-forward-ten-meters", "librivox-4", "librivox-2"  # of 2.8, 6.1 and 3.0 s
TEXT = "He was not an ill disposed young man."


def program(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"howto_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def test_every_program_is_short_and_shown_on_a_page() -> None:
    lines = {f"examples/howto/{path.name}": len(path.read_text().splitlines()) for path in FOLDER.glob("*.py")}
    assert set(lines) == {name for _, name, _ in SHOWN if name.startswith("examples/howto/")}
    assert {name: count for name, count in lines.items() if not 15 <= count <= 48} == {}


# Any sample rate


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@on_virtual_clock
async def test_realtime(rate_hz: Any) -> None:
    async with session(program("realtime").app, rate_hz=rate_hz) as call:
        await call.say(recording(ANSWER, rate_hz))
        await call.hears(recording(ANSWER, rate_hz), within_s=1)
        call.assert_no_gap(over_ms=0)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@on_virtual_clock
async def test_float_models(rate_hz: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async with session(program("float_models").on_connect, rate_hz=rate_hz) as call:
        await call.say(recording(QUESTION, rate_hz))
        answer = await call.hears(recording(ANSWER, rate_hz), within_s=2)
        assert answer.after_s < 1
        call.assert_no_gap(over_ms=0)
    assert re.fullmatch(r"heard 2\.[0-9] s of speech\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("rate_hz", "program_hz", "most_s"),
    [(16_000, 24_000, 0.005), (8_000, 24_000, 0.009), (16_000, 22_050, 0.165), (8_000, 22_050, 0.325)],
)
@on_virtual_clock
async def test_what_a_rate_of_its_own_costs_a_live_echo(rate_hz: Any, program_hz: int, most_s: float) -> None:
    from vonage_audio_connector_server import AudioConnector

    began_s = []
    for hz in (None, program_hz):

        async def on_connect(client: Client) -> None:
            client.set_handler(on_audio=client.send_audio_buffer)

        async with session(AudioConnector(on_connect, sample_rate_hz=hz), rate_hz=rate_hz) as call:
            saying = call.say(tone(0.5, rate_hz))
            await call.wait(2)
            loud = np.flatnonzero(np.abs(to_float32(call.heard)) > 0.01)
            assert saying.start_s is not None
            began_s.append(loud[0] / rate_hz - saying.start_s)
    assert 0 < began_s[1] - began_s[0] <= most_s


@on_virtual_clock
async def test_a_synthesis_at_another_rate_is_not_delayed() -> None:
    async def on_connect(client: Client) -> None:
        await client.wait_format()
        for _ in range(10):  # as quick as it can
            client.send_audio_buffer(tone(0.1, 24_000), sample_rate_hz=24_000)
        await client.drain()

    async with session(on_connect) as call:
        assert await call.speaks(within_s=1) < 0.1


def test_the_tools_do_what_the_page_says() -> None:
    pcm = recording(ANSWER, 16_000)
    resampler = Resampler(from_hz=24_000, to_hz=16_000)
    out = b"".join(resampler.process(pcm[at : at + 960]) for at in range(0, len(pcm), 960)) + resampler.flush()
    assert len(out) == pytest.approx(len(pcm) / 1.5, abs=2)
    assert to_pcm(to_float32(pcm)) == pcm
    assert to_pcm(np.array([[0.5, -0.5], [0.5, 0.0]])) == to_pcm([0.0, 0.25])
    assert to_mono(b"\1\0\3\0\5\0\7\0") == b"\2\0\6\0"
    audio = Base64Audio()
    assert (audio.push("AQID"), audio.push("BA==")) == (b"\1\2", b"\3\4")
    with pytest.raises(AudioConnectorAudioError):
        audio.push("no base64!")


# Play a file, record a call


@pytest.mark.parametrize("skips", [False, True])
@on_virtual_clock
async def test_play_and_record(
    skips: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECORDINGS", str(tmp_path))
    async with session(program("play_and_record").on_connect) as call:
        await call.wait(1.55)
        if skips:
            call.press("5")
        await call.wait(3)
        saying = call.say(recording(QUESTION, 16_000))
        await saying
        await call.wait(1)
        ended_s = call.now_s
    greeting, ended = capsys.readouterr().out.splitlines()
    assert (greeting in page("play-and-record")) == skips
    heard_s = 1.5 if skips else 2.99
    told = re.fullmatch(r"greeting: heard (\d\.\d\d) s, interrupted: (True|False)", greeting)
    assert told is not None
    assert float(told[1]) == pytest.approx(heard_s, abs=0.02)
    assert told[2] == str(skips)
    (path,) = tmp_path.glob("*.wav")
    assert re.fullmatch(re.escape(str(path)) + rf" {ended_s:.1f} s", ended)
    samples, rate_hz = soundfile.read(path, dtype="int16")
    assert (rate_hz, len(samples) / rate_hz) == (16_000, pytest.approx(ended_s, abs=0.05))
    caller, bot = (samples[:, side].tobytes() for side in (0, 1))
    assert_same_speech(caller, recording(QUESTION, 16_000))
    assert saying.start_s is not None
    said_at = round(saying.start_s * 16_000) * 2
    assert_same_speech(bot[:said_at], recording(ANSWER, 16_000)[: round(heard_s * 16_000) * 2])
    assert_same_speech(bot[said_at:], recording(QUESTION, 16_000))
    assert level_dbfs(bot[said_at - 32_000 : said_at]) < -60  # behind the greeting, or what there was of it


# Interrupt a streaming synthesis


@pytest.mark.parametrize("after_s", [4, 0.3])
@on_virtual_clock
async def test_streaming(after_s: float, capsys: pytest.CaptureFixture[str]) -> None:
    async with session(program("streaming").app) as call:
        await call.speaks(within_s=1)
        await call.wait(after_s)
        interruption = call.interrupt()
        await interruption
        await call.wait(5)
        call.assert_silent_within(ms=300, of=interruption)
        call.assert_no_gap(over_ms=0)
    told = capsys.readouterr().out.strip()
    assert told in page("streaming-synthesis")
    heard = re.fullmatch(r"heard (\d\.\d) of (\d\.\d) s: (.*)", told)
    assert heard is not None
    assert float(heard[1]) == pytest.approx(after_s + 0.2, abs=0.1)
    assert (float(heard[2]) < 3) == (after_s < 1)  # no more than what was made by then
    assert f"{TEXT} {TEXT}".startswith(heard[3])


@on_virtual_clock
async def test_streaming_is_heard_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    async with session(program("streaming").app) as call:
        await call.hears(recording(ANSWER, 16_000) * 3)
        call.assert_no_gap(over_ms=0)
    assert capsys.readouterr().out == f"heard 9.0 of 9.0 s: {TEXT} {TEXT} {TEXT}\n"


def test_streaming_in_a_thread(capsys: pytest.CaptureFixture[str]) -> None:
    async def talk() -> None:
        with anyio.fail_after(20):
            async with session(program("streaming_thread").app) as call:
                await call.speaks(within_s=2)
                await call.wait(0.7)
                await call.interrupt()
                await call.wait(1)

    anyio.run(talk)
    told = re.fullmatch(r"heard (\d\.\d) of (\d\.\d) s\n", capsys.readouterr().out)
    assert told is not None
    assert float(told[1]) == pytest.approx(1, abs=0.3)
    assert float(told[2]) < 7  # of 9: the thread has ended


@on_virtual_clock
async def test_what_the_page_says_of_turns_among_utterances() -> None:
    order: list[str] = []

    async def on_connect(client: Client) -> None:
        await client.wait_format()
        story, more, news = client.utterance(), client.utterance(), client.utterance(priority=1)
        for name, utterance in (("story", story), ("more", more), ("news", news)):
            utterance.send(tone(0.5))
            client.start_soon(tell, name, utterance)
        await anyio.sleep(2)
        assert order == []  # all wait for the end of the first one
        assert more.heard_s == news.heard_s == 0
        for utterance in (story, more, news):
            utterance.end()
        await client.drain()

    async def tell(name: str, utterance: Any) -> None:
        await utterance.wait()
        order.append(name)

    async with session(on_connect) as call:
        await call.wait(6)
    assert order == ["story", "news", "more"]


# Know when somebody speaks


@on_virtual_clock
async def test_turns(capsys: pytest.CaptureFixture[str]) -> None:
    async with session(program("turns").on_connect) as call:
        await call.say(recording(QUESTION, 16_000))
        await call.wait(1)  # it says it back
        await call.say(recording(ANSWER, 16_000))
        await call.hears(recording(ANSWER, 16_000))
    told = capsys.readouterr().out
    assert told in page("turns")
    assert told.count("has spoken") == 2
    assert told.count("interrupted") == 1


@on_virtual_clock
async def test_a_short_turn_ends_by_patience(capsys: pytest.CaptureFixture[str]) -> None:
    async with session(program("turns").on_connect) as call:
        speech = recording(ANSWER, 16_000)[: 2 * 16_000]
        await call.say(speech)
        await call.wait(4)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2].split()[0] for line in lines] == ["speaks", "a", "has"]
    paused_s, ended_s = (float(lines[at].split()[0]) for at in (1, 2))
    assert ended_s - paused_s == pytest.approx(1.7, abs=0.05)


# Heavy models off the event loop


@contextlib.contextmanager
def served(target: str, log: Path, **environment: str) -> Iterator[str]:
    """A program that is served in a process of its own; yields its address."""
    port = free_port()
    arguments = ["serve", str(FOLDER / target), "--port", str(port)]
    command = [sys.executable, "-c", "from vonage_audio_connector_server.cli import main; main()", *arguments]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=file, stderr=subprocess.STDOUT, text=True
        )
        try:
            wait_until_listening(process, port)
            yield f"ws://localhost:{port}/"
        finally:
            process.terminate()
            process.wait(20)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("work_in", ["thread", "loop"])
async def test_in_threads(work_in: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served("in_threads.py:on_connect", log, WORK_IN=work_in) as address:
        async with session(address) as call:
            await call.say(recording(QUESTION, 16_000))
            await call.wait(0.5)
            await call.say(recording(ANSWER, 16_000))
            await call.wait(2.5)
            has_gap = True
            with contextlib.suppress(AssertionError):
                call.assert_no_gap(over_ms=300)
                has_gap = False
    told = log.read_text()
    recognised = re.findall(r"^\d\.\d to \d\.\d s: (\d\.\d) s of speech$", told, re.MULTILINE)
    assert len(recognised) == 2
    place = next(
        number
        for number, text in enumerate((FOLDER / "in_threads.py").read_text().splitlines(), 1)
        if "time.sleep(" in text
    )
    blamed = f"in_threads.py:{place} in recognise: nothing else runs, so let a thread do it"
    assert blamed in page("off-the-loop")
    assert (blamed in told) == (work_in == "loop")
    assert has_gap == (work_in == "loop")
    if work_in == "loop":
        assert re.search(r"gaps: \d loop blocked", told)
    else:
        assert float(recognised[1]) == pytest.approx(3.2, abs=0.2)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_processes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served("in_processes.py:app", log) as address:
        async with session(address) as call:
            await call.say(recording(QUESTION, 16_000))
            await call.wait(2)
    told = log.read_text()
    ready = re.search(r"^ready in process (\d+)$", told, re.MULTILINE)
    worked = re.findall(r"^model in process (\d+): [1-9]\d+$", told, re.MULTILINE)
    assert ready is not None
    assert len(worked) == 1
    assert worked[0] != ready[1]
    assert "is blocked" not in told
