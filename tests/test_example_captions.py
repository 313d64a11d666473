"""Live captions and minutes, of five people who speak at once."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import jiwer
import pytest
import webvtt
from example_programs import EXAMPLES, WORDS, load_example, served, until, words_of

from vonage_audio_connector_server import watchdog
from vonage_audio_connector_server.testing import ServerText, recording, session

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(120)]

transcribe, minutes = load_example("transcribe"), load_example("minutes")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def five_speak(app: Any, session_id: str) -> dict[str, list[ServerText]]:
    """Each LibriVox file by a speaker of its own, at once; what each of them was sent."""
    sent: dict[str, list[ServerText]] = {}

    async def speak(address: str, name: str, delay_s: float) -> None:
        await anyio.sleep(delay_s)
        headers = {"x-opentok-ws-sessionid": session_id, "speaker": name}
        async with session(f"{address}/", headers=headers) as call:
            await call.say(recording(name, 16_000))
            await anyio.sleep(7)
            sent[name] = call.events

    async with served(app) as address, anyio.create_task_group() as tasks:
        for number, name in enumerate(WORDS):
            tasks.start_soon(speak, address, name, 0.2 * number)
    return sent


def word_error_rate(said: dict[str, str]) -> float:
    names = list(WORDS)
    wanted, got = ([" ".join(words_of(texts.get(name, ""))) for name in names] for texts in (WORDS, said))
    return float(jiwer.wer(wanted, got))


async def test_every_caption_stands_under_its_speaker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(transcribe.settings, "out", tmp_path)
    monkeypatch.setattr(watchdog, "BLOCKED_S", 0.05)
    await transcribe.load()
    await transcribe.recogniser().text_of(bytes(32_000))
    with caplog.at_level(logging.WARNING):
        sent = await five_speak(transcribe.app, "The meeting / 1")
        await until(lambda: (tmp_path / "The-meeting---1.md").exists())
    assert "blocked" not in caplog.text

    # What came into the call: to everybody, growing, and final in the end.
    captions = [event.data["caption"] for event in sent["librivox-1"] if event.data]
    final: dict[str, str] = defaultdict(str)
    for caption in captions:
        if caption["final"]:
            final[caption["speaker"]] += caption["text"] + " "
    assert word_error_rate(final) <= 0.10
    assert {caption["speaker"] for caption in captions if not caption["final"]} <= set(WORDS)
    assert any(not caption["final"] for caption in captions)

    # The files.
    file: Any = webvtt.read(str(tmp_path / "The-meeting---1.vtt"))
    assert {caption.voice for caption in file} == set(WORDS)
    for name in WORDS:
        assert word_error_rate(WORDS | {name: " ".join(one.text for one in file if one.voice == name)}) <= 0.10
    starts_s = [caption.start_in_seconds for caption in file]
    assert starts_s == sorted(starts_s)
    assert all(caption.end_in_seconds >= caption.start_in_seconds for caption in file)
    markdown = (tmp_path / "The-meeting---1.md").read_text()
    assert markdown.startswith("# Transcript\n")
    assert markdown.count("**librivox-") == len(file)


def test_what_could_break_the_file_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transcribe.settings, "out", tmp_path)

    class Session:
        id = "../x"

    captions = transcribe.Captions(Session())
    odd = transcribe.Caption(3_661.5, 3_661.6, "Ann <b> & Bob", "a --> b & <c>")
    captions._final = [odd, transcribe.Caption(0, 2, "", "x")]
    captions._save()
    (path,) = tmp_path.glob("*.vtt")
    captions_read: Any = webvtt.read(str(path))
    first, second = captions_read
    assert (first.start, second.start, second.end) == ("00:00:00.000", "01:01:01.500", "01:01:02.000")
    assert "<v Ann &lt;b & Bob>" in path.read_text().replace("&amp;", "&")


async def test_minutes_can_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "minutes.db"
    monkeypatch.setitem(minutes.settings, "db", str(path))
    await five_speak(minutes.app, "s1")
    await until(lambda: len(list(minutes.Minutes(str(path)).of())) >= 5)
    said: dict[str, str] = defaultdict(str)
    for _, speaker, _, text in minutes.Minutes(str(path)).of():
        said[speaker] += text + " "
    assert word_error_rate(said) <= 0.10

    def run(*arguments: str) -> list[str]:
        command = [sys.executable, str(EXAMPLES / "minutes.py"), *arguments, "--db", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    (line,) = await anyio.to_thread.run_sync(run, "search", "respectable woman")
    assert "librivox-4: Had he married a more amiable woman" in line
    assert line.split()[0] == "1"
    assert await anyio.to_thread.run_sync(run, "search", 'no" such OR word') == []
    assert len(await anyio.to_thread.run_sync(run, "show")) == len(list(minutes.Minutes(str(path)).of()))
