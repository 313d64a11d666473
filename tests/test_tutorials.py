"""The programs of the tutorials: each is run, and does what its page says."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from example_programs import load_example
from test_docs_examples import SHOWN

from vonage_audio_connector_server import AudioConnector, SpeechSegment, VideoSession
from vonage_audio_connector_server.testing import (
    NothingHeardError,
    assert_same_speech,
    on_virtual_clock,
    recording,
    session,
)

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "tutorials"
GREETING, SPEECH = recording("go-forward-ten-meters", 16_000), recording("librivox-2", 16_000)


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # as the pages say


def program(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"tutorial_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def titled(name: str, title: str) -> list[str]:
    """The programs of a page under a title."""
    return re.findall(rf'^```python title="{re.escape(title)}"\n(.*?)^```$', page(name), re.MULTILINE | re.DOTALL)


def joins(app: AudioConnector, session_id: str, **headers: str) -> Any:
    return session(app, headers={"x-opentok-ws-sessionid": session_id} | headers)


def test_every_program_is_shown_on_a_page() -> None:
    shown = {name for _, name, _ in SHOWN if name.startswith("examples/tutorials/")}
    assert {f"examples/tutorials/{path.name}" for path in FOLDER.glob("*.py")} == shown
    assert 30 <= len((FOLDER / "own_assistant.py").read_text().splitlines()) <= 45


# Your first bot


@on_virtual_clock
async def test_the_first_bot_greets_and_answers(capsys: pytest.CaptureFixture[str]) -> None:
    async with session(program("first_bot").on_connect) as call:
        await call.hears(GREETING, within_s=1)
        await call.say(SPEECH)
        answered = await call.hears(SPEECH, within_s=1)
        assert answered.after_s == pytest.approx(0.64, abs=0.1)
        call.assert_no_gap(over_ms=20)
    assert capsys.readouterr().out.count("the caller spoke from ") == 1


@on_virtual_clock
async def test_the_first_bot_is_interrupted_in_its_greeting(capsys: pytest.CaptureFixture[str]) -> None:
    async with session(program("first_bot").on_connect) as call:
        saying = call.say(SPEECH)  # at once, as `simulate` does
        await saying
        call.assert_silent_within(ms=600, of=saying)  # the recording begins with 0.26 s of silence
        await call.hears(SPEECH, within_s=1)
    assert capsys.readouterr().out.strip() in page("first-bot")


BOTS = titled("first-bot", "bot.py")


def test_the_page_builds_it_in_steps() -> None:
    assert len(BOTS) == 2


@pytest.mark.parametrize("answers", [False, True])
@on_virtual_clock
async def test_each_step_runs(answers: bool) -> None:
    names: dict[str, Any] = {}
    exec(BOTS[answers], names)
    async with session(names["on_connect"]) as call:
        await call.hears(GREETING, within_s=1)
        await call.say(SPEECH)
        if answers:
            await call.hears(SPEECH, within_s=1)
        else:
            with pytest.raises(NothingHeardError):
                await call.speaks(within_s=2)


@pytest.mark.timeout(120)
def test_the_test_of_the_page_passes(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text((FOLDER / "first_bot.py").read_text())
    (test,) = titled("first-bot", "test_bot.py")
    (tmp_path / "test_bot.py").write_text(test)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    shutil.copytree(ROOT / "examples" / "audio", tmp_path / "examples" / "audio")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


# Captions


@on_virtual_clock
async def test_who_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    app = program("who_speaks").app
    async with anyio.create_task_group() as tasks:

        async def speak(name: str, sound: bytes, after_s: float) -> None:
            await anyio.sleep(after_s)
            async with joins(app, "standup", speaker=name) as call:
                await call.say(sound)
                await anyio.sleep(3)

        tasks.start_soon(speak, "Ann", SPEECH, 0)
        tasks.start_soon(speak, "Bob", GREETING, 1)
    await anyio.sleep(0.5)
    told = capsys.readouterr().out
    assert told in page("captions")
    assert [line.split()[1] for line in told.splitlines()] == ["begins", "Ann", "Bob", "Ann", "Bob"]


def test_captions_look_as_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said is put in: tests/test_example_captions.py has it recognised."""
    transcribe = load_example("transcribe")
    monkeypatch.setitem(transcribe.settings, "out", "captions")
    monkeypatch.chdir(tmp_path)
    sent: list[Any] = []
    captions = transcribe.Captions(SimpleNamespace(id="standup", send_json_packet=sent.append))
    for name, start_s, end_s, text, is_final in (
        ("Ann", 0.259, 1.25, "He was not.", False),
        ("Ann", 0.259, 2.899, "He was not an old-sposed young man.", True),
        ("Bob", 1.564, 3.404, "Go forward 10 meters.", True),
    ):
        who: Any = SimpleNamespace(name=name)
        captions._show(SpeechSegment(who, b"", 16_000, start_s, end_s, is_final), text)
        if is_final:
            captions._final.append(transcribe.Caption(start_s, end_s, name, text))
    captions._save()
    shown = page("captions")
    assert all(json.dumps(packet) in shown for packet in sent[:2])
    assert all(line in shown for line in capsys.readouterr().out.splitlines())
    for suffix in ("vtt", "md"):
        assert Path(f"captions/standup.{suffix}").read_text().strip() in shown


def test_minutes_look_as_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    minutes = load_example("minutes")
    file = minutes.Minutes(str(tmp_path / "minutes.db"))
    number = file.begin("standup")
    file.add(number, "Ann", 0.26, 2.9, "He was not an old-sposed young man.")
    file.add(number, "Bob", 1.56, 3.4, "Go forward 10 meters.")
    for rows in (file.search("young man"), file.of()):
        minutes.show_rows(rows)
        assert capsys.readouterr().out in page("captions")
    assert [row[1] for row in file.search("meter")] == [row[1] for row in file.search("bob")] == ["Bob"]


# An assistant of your own


@on_virtual_clock
async def test_own_assistant(capsys: pytest.CaptureFixture[str]) -> None:
    async with session(program("own_assistant").on_connect) as call:
        await call.say(GREETING)
        heard = await call.hears(SPEECH * 2, within_s=2)
        assert heard.after_s == pytest.approx(0.45 + 0.3, abs=0.3)
        await call.say(GREETING)
        await call.speaks(within_s=2)
        await call.wait(4)
        interruption = await call.interrupt()
        call.assert_silent_within(ms=300, of=interruption)
    told = capsys.readouterr().out
    first, second = told.splitlines()[:2], told.splitlines()[2:4]
    assert "\n".join(first) in page("assistant")
    assert "\n".join(second) in page("assistant")
    assert first[1].endswith("Nothing else comes to my mind.")
    assert first[1].startswith(second[1])
    assert len(second[1]) < len(first[1])


# Who is speaking


@on_virtual_clock
async def test_what_the_page_says_of_participants() -> None:
    ended: list[VideoSession] = []
    app = AudioConnector(on_session_end=ended.append)
    async with joins(app, "standup", speaker="Ann") as ann:
        await anyio.sleep(1)
        async with joins(app, "standup", name="Bob") as bob:
            await anyio.sleep(1)
            one = app.sessions["standup"]
            assert [who.name for who in one.present] == ["Ann", "Bob"]
            playbacks = one.send_audio_buffer(SPEECH)  # to all
            one.participants[1].client.send_audio_buffer(SPEECH)  # into one, behind it
            one.send_json_packet({"question": "budget"})
            assert len(playbacks) == 2
            await anyio.sleep(7)
            assert_same_speech(ann.heard, SPEECH)
            assert_same_speech(bob.heard, SPEECH * 2)
            assert [event.data for event in ann.events] == [{"question": "budget"}]
        await anyio.sleep(0.5)
        async with joins(app, "standup", name="Bob"):  # comes back
            await anyio.sleep(0.5)
            assert len(one.present) == 2
            first, again = one.participants[1:]
            assert (first.name, again.name) == ("Bob", "Bob")
            assert first.left_s is not None
            assert again.left_s is None
            assert first.joined_s == pytest.approx(1, abs=0.1)
            assert first.joined_s < first.left_s < again.joined_s
            assert app.sessions.of(again.client) is one
    await anyio.sleep(0.1)
    assert ended == [one]
    assert not app.sessions


@on_virtual_clock
async def test_the_same_id_another_day_is_another_session() -> None:
    seen: list[VideoSession] = []
    app = AudioConnector(on_session_start=seen.append)
    for _ in range(2):
        async with joins(app, "standup", speaker="Ann"):
            await anyio.sleep(0.2)
    first, second = seen
    assert first is not second
    assert first.is_over
    assert second.id == first.id
