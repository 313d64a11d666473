"""Every program with a title in docs/testing.md is run by pytest, as the page says, and passes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = dict(
    re.findall(
        r'^```python title="([^"]+)"\n(.*?)^```$',
        (ROOT / "docs" / "testing.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


@pytest.fixture
def page_folder(tmp_path: Path) -> Path:
    for title, program in PROGRAMS.items():
        (tmp_path / title).write_text(program, "utf-8")
    shutil.copy(ROOT / "examples" / "fastapi_mount.py", tmp_path)
    shutil.copy(ROOT / "examples" / "audio" / "librivox-2.wav", tmp_path / "speech.wav")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\ntimeout = 50\n")
    return tmp_path


def run_pytest(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_the_programs_of_the_page_pass(page_folder: Path) -> None:
    told = run_pytest(page_folder)

    assert re.search(r"^15 passed in", told, re.MULTILINE), told
    assert not (page_folder / ".call-reports").exists()


def test_a_bot_that_talks_on_leaves_what_the_page_shows(page_folder: Path) -> None:
    bot = page_folder / "bot.py"
    bot.write_text(bot.read_text().replace("client.flush_buffer()", "pass"))

    told = run_pytest(page_folder, "test_bot.py", "-k", "silent and asyncio")

    assert re.search(r"the program was heard for \d+ ms more, 250 are allowed", told), told
    folder = ".call-reports/test_bot.py-test_it_falls_silent_when_it_is_interrupted-asyncio"
    assert f"{folder}/call-1.wav: what was said (left) and heard (right) in " in told
    assert f"{folder}/calls.html: the report" in told
