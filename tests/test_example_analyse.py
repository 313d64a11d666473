"""The example that analyses calls: its functions on sounds that are known, and the whole on calls of real speech."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from rich.console import Console
from test_examples import EXAMPLES, SPEECH, free_port, running, wait_until_listening

from vonage_audio_connector_server.simulator import simulate
from vonage_audio_connector_server.speech import SpeechEnded, SpeechStarted
from vonage_audio_connector_server.testing import TestCall, on_virtual_clock, recording, session, silence

COLUMNS = ["present_s", "level_dbfs", "speech_share", "pitch_hz", "talk_over_s", "interruptions", "turns"]
Rows = list[dict[str, str]]


@pytest.fixture
def analyse(tmp_path: Path) -> Any:
    """The program as a module, as new, with files of its own."""
    spec = importlib.util.spec_from_file_location("analyse", EXAMPLES / "analyse.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.analysis.csv_path, module.analysis.summary_path = tmp_path / "rows.csv", tmp_path / "summary.csv"
    return module


def read(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def summary(analyse: Any) -> dict[str, dict[str, str]]:
    return {row["speaker"]: row for row in read(analyse.analysis.summary_path)}


async def talk(calls: AsyncExitStack, analyse: Any, name: str, **headers: str) -> TestCall:
    """One more speaker; the first one starts the program, and the last one to hang up, which is the same, ends it."""
    is_first = not hasattr(analyse.analysis, "speakers")
    headers = {"speaker": name, "x-opentok-ws-sessionid": "one"} | headers
    call = session(analyse.app, lifespan=is_first, silence="frames", headers=headers)
    return await calls.enter_async_context(call)


def voiced(pitch_hz: float, rate_hz: int, duration_s: float = 0.2) -> bytes:
    """What has the harmonics of a voice."""
    at_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    numbers = [number for number in range(1, 15) if number * pitch_hz < rate_hz / 2]
    wave = sum(np.sin(2 * np.pi * pitch_hz * number * at_s + number) / number for number in numbers)
    return bytes((np.asarray(wave) * 4_000).astype("<i2").tobytes())


# The functions


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("pitch_hz", [65, 140, 220, 390])
def test_the_pitch_of_a_voiced_sound(analyse: Any, pitch_hz: int, rate_hz: int) -> None:
    window = rate_hz * 2 // 25
    sound = voiced(pitch_hz, rate_hz)
    for at in range(0, len(sound) - window, window // 2):
        assert analyse.pitch_hz(sound[at : at + window], rate_hz) == pytest.approx(pitch_hz, rel=0.01)


def test_what_has_no_pitch(analyse: Any) -> None:
    noise = np.random.default_rng(1).normal(0, 3_000, 32_000).astype("<i2").tobytes()
    assert [analyse.pitch_hz(noise[at : at + 1_280], 16_000) for at in range(0, 60_000, 1_280)] == [None] * 47
    assert analyse.pitch_hz(bytes(1_280), 16_000) is None


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("name", ["librivox-1", "librivox-2", "librivox-5", "go-forward-ten-meters"])
def test_the_pitch_of_speech(analyse: Any, name: str, rate_hz: int) -> None:
    window = rate_hz * 2 // 25
    sound = recording(name, rate_hz)
    pitches = [analyse.pitch_hz(sound[at : at + window], rate_hz) for at in range(0, len(sound) - window, window // 2)]
    found = [pitch for pitch in pitches if pitch]
    assert 0.3 < len(found) / len(pitches) < 0.8
    assert 75 < np.median(found) < 130  # men read


def test_ticks(analyse: Any) -> None:
    assert analyse.ticks([(7.5, 8.25), (8.2, 8.3), (8.9, inf)], 8) == {*range(800, 830), *range(890, 900)}
    assert analyse.ticks([(1.0, 8.0), (9.0, inf)], 8) == set()


@pytest.mark.parametrize(
    ("others", "count"),
    [
        ([], 0),
        ([(2.0, 5.9)], 1),
        ([(2.0, 6.0)], 1),
        ([(2.0, 6.1)], 0),  # speaks on
        ([(2.0, inf)], 0),
        ([(2.0, 4.9)], 0),  # had ended
        ([(5.1, 5.5)], 0),  # began later
        ([(2.0, 5.5), (3.0, 5.6)], 1),  # two gave way to one
    ],
)
def test_interruptions(analyse: Any, others: list[tuple[float, float]], count: int) -> None:
    assert analyse.interruptions([(5.0, 8.0)], others) == count


def test_the_median_of_the_pitch_and_the_mean_of_the_power(analyse: Any) -> None:
    told = analyse.columns(Counter({100: 2, 180: 2, 300: 1, "frames": 2, "power": 2 * 10**-2.0}))
    assert (told["pitch_hz"], told["level_dbfs"]) == (180, -20.0)
    assert (analyse.columns(Counter())["pitch_hz"], analyse.columns(Counter())["level_dbfs"]) == ("", -96.0)


def test_a_turn_goes_on_until_it_has_ended(analyse: Any) -> None:
    one = analyse.Speaker("one", "Ann", 10.0)
    one.turn(SpeechStarted(1.0, 1.2))
    assert one.spans == [(11.0, inf)]
    one.turn(SpeechEnded(b"", 16_000, 1.0, 2.5, 3.1))
    one.turn(SpeechStarted(4.0, 4.2))
    assert one.spans == [(11.0, 12.5), (14.0, inf)]


def test_the_table(analyse: Any) -> None:
    ann, evil = analyse.Speaker("one", "Ann", 0.0), analyse.Speaker("two", "[red]Bob[/nonsense]", 0.0)
    ann.sums.update({"ticks": 200, "speech_ticks": 90, "talk_over_ticks": 50, "turns": 7, 182: 1})
    ann.level = 4.9, -30.0
    for width in (80, 140):
        console = Console(record=True, width=width, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115 (nothing is kept)
        with console.file:
            console.print(analyse.show([evil, ann], 5.0))
        text = console.export_text()
        assert text.index("Ann") < text.index("[red]Bob")
        assert all(told in text for told in ("######", "-30", "0.45", "182", "0.5", "7", "-96"))


# Calls


@on_virtual_clock(backends=("asyncio",))
async def test_one_speaker(analyse: Any) -> None:
    async with AsyncExitStack() as calls:
        ann = await talk(calls, analyse, "Ann")
        await ann.say(recording("librivox-2", 16_000) + silence(3.0))
    rows, told = read(analyse.analysis.csv_path), summary(analyse)["Ann"]
    assert list(rows[0]) == ["session", "speaker", "second", *COLUMNS]
    assert list(told) == ["session", "speaker", *COLUMNS]
    assert {(row["session"], row["speaker"]) for row in rows} == {("one", "Ann")}
    assert [int(row["second"]) for row in rows] == list(range(len(rows)))
    assert sum(float(row["present_s"]) for row in rows) == pytest.approx(float(told["present_s"]), abs=0.02)
    assert 5.9 < float(told["present_s"]) < 6.5
    assert 0.38 < float(told["speech_share"]) < 0.5  # of the 2.99 s of the recording about 2.6 are speech
    assert 60 < float(told["pitch_hz"]) < 300
    assert -35 < float(told["level_dbfs"]) < -15
    assert float(rows[-1]["level_dbfs"]) == -96.0
    assert [told[name] for name in ("talk_over_s", "interruptions", "turns")] == ["0.0", "0", "1"]


@pytest.mark.parametrize("later_s", [0.0, 0.37, 2.0])
@on_virtual_clock(backends=("asyncio",))
async def test_talk_over(analyse: Any, later_s: float) -> None:
    """Two speakers say the same, one 1.5 s behind the other, whenever the other's call has begun."""
    speech = recording("librivox-1", 16_000)
    async with AsyncExitStack() as calls:
        ann = await talk(calls, analyse, "Ann")
        await anyio.sleep(later_s)
        bob = await talk(calls, analyse, "Bob")
        await anyio.sleep(1)
        saying = ann.say(speech)
        await anyio.sleep(1.5)
        await bob.say(speech)
        await saying
        await anyio.sleep(4)
    told = summary(analyse)
    share_s = {name: float(row["speech_share"]) * float(row["present_s"]) for name, row in told.items()}
    assert share_s["Ann"] == pytest.approx(share_s["Bob"], abs=0.2)
    expected_s = share_s["Ann"] - 1.5  # one turn: what is said twice is as long, but for the 1.5 s
    assert told["Ann"]["turns"] == told["Bob"]["turns"] == "1"
    for row in told.values():
        assert float(row["talk_over_s"]) == pytest.approx(expected_s, abs=0.1)
        assert row["interruptions"] == "0"


@on_virtual_clock(backends=("asyncio",))
async def test_who_interrupts(analyse: Any) -> None:
    """Ann speaks, Bob begins, Ann stops 0.5 s later; Carol speaks in another session."""
    async with AsyncExitStack() as calls:
        ann = await talk(calls, analyse, "Ann")
        bob = await talk(calls, analyse, "Bob")
        carol = await talk(calls, analyse, "Carol", **{"x-opentok-ws-sessionid": "two"})
        carol.say(recording("librivox-1", 16_000))
        ann.say(recording("librivox-1", 16_000))
        await anyio.sleep(3.5)
        bob.interrupt(recording("librivox-4", 16_000)[16_000:])
        await anyio.sleep(0.5)
        ann.mute()
        await anyio.sleep(10)
    told = summary(analyse)
    assert {name: row["interruptions"] for name, row in told.items()} == {"Ann": "0", "Bob": "1", "Carol": "0"}
    assert float(told["Bob"]["talk_over_s"]) == pytest.approx(0.5, abs=0.1)
    assert told["Ann"]["talk_over_s"] == told["Bob"]["talk_over_s"]
    assert told["Carol"]["talk_over_s"] == "0.0"
    assert told["Carol"]["session"] == "two"
    rows = read(analyse.analysis.csv_path)
    assert [(row["speaker"], row["second"]) for row in rows if row["interruptions"] != "0"] == [("Bob", "3")]


@on_virtual_clock(backends=("asyncio",))
async def test_who_has_left_stays_in_the_summary(analyse: Any) -> None:
    async with AsyncExitStack() as calls:
        await talk(calls, analyse, "Ann")
        async with AsyncExitStack() as short:
            bob = await talk(short, analyse, "Bob")
            await bob.say(recording("librivox-2", 16_000))
        await anyio.sleep(30)
    told, rows = summary(analyse), read(analyse.analysis.csv_path)
    assert list(told) == ["Ann", "Bob"]
    assert 2.9 < float(told["Bob"]["present_s"]) < 4
    assert told["Bob"]["turns"] == "1"
    assert Counter(row["speaker"] for row in rows)["Bob"] <= 5
    assert Counter(row["speaker"] for row in rows)["Ann"] >= 33


@on_virtual_clock(backends=("asyncio",))
async def test_who_is_who(analyse: Any) -> None:
    given = [{"speaker": "Ann"}, {"name": "Bob"}, {"x-opentok-ws-connectionid": "connection-3"}]
    async with AsyncExitStack() as calls:
        for number, headers in enumerate(given):
            call = session(analyse.app, lifespan=number == 0, headers={"x-opentok-ws-sessionid": "one"} | headers)
            await calls.enter_async_context(call)
        await anyio.sleep(1)
    assert list(summary(analyse)) == ["Ann", "Bob", "connection-3"]


# The program


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("how", ["program", "uvicorn"])
async def test_the_program_without_a_terminal(tmp_path: Path, how: str) -> None:
    port = free_port()
    arguments = [str(EXAMPLES / "analyse.py"), "--csv", "analyse.csv"]
    if how == "uvicorn":
        arguments = ["-m", "uvicorn", "--app-dir", str(EXAMPLES.parent), "--port", str(port), "examples.analyse:app"]
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with running(*arguments, port=port) as program:
            report = await simulate(
                f"ws://localhost:{port}", SPEECH, 16_000, headers={"name": "Ann"}, quiet_s=3.0, timeout_s=3.0
            )
            assert program.stdout is not None
            line = program.stdout.readline()
    finally:
        os.chdir(before)
    assert report.frames_sent > 200
    assert line.startswith("Ann {'present_s': ")
    (told,) = read(tmp_path / "analyse-summary.csv")
    assert (told["speaker"], told["turns"]) == ("Ann", "1")
    assert 60 < float(told["pitch_hz"]) < 300
    assert len(read(tmp_path / "analyse.csv")) >= 5
    assert program.returncode == (0 if how == "program" else -signal.SIGTERM)  # uvicorn raises it once more


def read_all(file: int, into: bytearray) -> None:
    with contextlib.suppress(OSError):  # at its end, on Linux
        while chunk := os.read(file, 65_536):
            into += chunk


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_program_on_a_terminal(tmp_path: Path) -> None:
    import pty  # not there on Windows

    port = free_port()
    ours, theirs = pty.openpty()
    shown = bytearray()
    variables = os.environ | {"PORT": str(port), "TERM": "xterm-256color", "COLUMNS": "120"}
    arguments = [sys.executable, str(EXAMPLES / "analyse.py"), "--csv", "a.csv", "--summary", "b.csv"]
    with subprocess.Popen(arguments, env=variables, stdout=theirs, stderr=theirs, text=True, cwd=tmp_path) as program:  # noqa: ASYNC220
        wait_until_listening(program, port)
        os.close(theirs)
        reader = threading.Thread(target=read_all, args=(ours, shown))  # or the terminal is full, and the program waits
        reader.start()
        await simulate(f"ws://localhost:{port}", SPEECH, 16_000, headers={"speaker": "Ann"}, quiet_s=1, timeout_s=1)
        program.send_signal(signal.SIGINT)
        assert program.wait(20) in (0, 130, -signal.SIGINT)
        reader.join()
    os.close(ours)
    assert b"Ann" in shown
    assert b"####" in shown
    assert "\x1b[?25h" in shown.decode()  # the cursor is back
    assert [row["speaker"] for row in read(tmp_path / "b.csv")] == ["Ann"]
