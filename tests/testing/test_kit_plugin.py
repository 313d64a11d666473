"""The pytest plugin, in a pytest of its own: what a failing test leaves behind, and who leaves nothing."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = 'pytest_plugins = ["vonage_audio_connector_server.testing.plugin"]\n'
PROGRAM = """
import pytest
from vonage_audio_connector_server.testing import on_virtual_clock, session, tone

async def on_connect(client):
    await client.wait_format()
    await client.send_audio_buffer(tone(0.5), pad_last_frame=True)
"""
TESTS = (
    PROGRAM
    + '''
@on_virtual_clock
async def test_passes():
    async with session(on_connect) as call:
        await call.hears(within_s=1)

@on_virtual_clock(backends=("asyncio",))
@pytest.mark.parametrize("name", ["a/b c", pytest.param("x", id="x" * 200)])
async def test_fails(name):
    """Two calls of one test."""
    async with session(on_connect) as call:
        await call.hears(within_s=1)
    async with session(on_connect) as call:
        await call.say(tone(0.3))
        assert name == "something else"

@pytest.fixture
async def call():
    async with session(on_connect) as call:
        yield call

@on_virtual_clock(backends=("trio",))
async def test_fails_with_a_fixture(call):
    await call.hears(within_s=1)
    assert 1 == 2

async def raises(client):
    await client.wait_format()
    raise LookupError("on purpose")

@on_virtual_clock(backends=("trio",))
async def test_fails_by_the_program():
    async with session(raises) as call:
        await call.wait(1)

def test_fails_without_a_call():
    assert 1 == 2

@on_virtual_clock(backends=("trio",))
@pytest.mark.xfail(strict=True)
async def test_is_expected_to_fail():
    async with session(on_connect) as call:
        assert 1 == 2
'''
)


@pytest.fixture
def here(pytester: pytest.Pytester) -> Path:
    pytester.makeconftest(CONFTEST)
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nfilterwarnings = ['error']\n")
    return pytester.path


def duration_s(path: Path) -> float:
    with wave.open(str(path), "rb") as sound:
        assert sound.getnchannels() == 2
        return sound.getnframes() / sound.getframerate()


def test_who_fails_leaves_sound_and_report_and_who_passes_leaves_nothing(pytester: pytest.Pytester, here: Path) -> None:
    pytester.makepyfile(test_bot=TESTS)
    stale = here / ".call-reports" / "test_bot.py-test_passes-asyncio"
    stale.mkdir(parents=True)

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=2, failed=5, xfailed=1)
    reports = here / ".call-reports"
    names = sorted(path.name for path in reports.iterdir())
    assert names == sorted(
        [
            "test_bot.py-test_fails-a-b-c-asyncio",
            ("x" * 200 + "-asyncio")[-150:],
            "test_bot.py-test_fails_with_a_fixture-trio",
            "test_bot.py-test_fails_by_the_program-trio",
        ]
    )
    for name in names:
        assert (reports / name / "calls.html").stat().st_size > 1_000
    first = reports / "test_bot.py-test_fails-a-b-c-asyncio"
    assert sorted(path.name for path in first.iterdir()) == ["call-1.wav", "call-2.wav", "calls.html"]
    assert duration_s(first / "call-1.wav") == pytest.approx(1.58, abs=0.1)  # the greeting, and 1 s of silence
    result.stdout.fnmatch_lines(
        [
            "*- calls -*",
            "*test_fails-a-b-c-asyncio?call-1.wav: what was said (left) and heard (right) in 1.*s",
            "*test_fails-a-b-c-asyncio?call-2.wav: *",
            "*test_fails-a-b-c-asyncio?calls.html: the report",
        ]
    )
    by_program = (reports / "test_bot.py-test_fails_by_the_program-trio" / "calls.html").read_text()
    assert "on purpose" in by_program  # what the program's side had to say


def test_the_folder_is_chosen_and_is_no_affair_of_git(pytester: pytest.Pytester, here: Path) -> None:
    pytester.makepyfile(test_bot=PROGRAM + TESTS[TESTS.index("@pytest.fixture") : TESTS.index("async def raises")])

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--call-reports", "build/calls")

    result.assert_outcomes(failed=1)
    assert sorted(path.name for path in (here / "build" / "calls").iterdir()) == [
        ".gitignore",
        "test_bot.py-test_fails_with_a_fixture-trio",
    ]
    assert not (here / ".call-reports").exists()


def test_without_the_plugin_nothing_is_kept(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_bot=TESTS)

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=2, failed=5, xfailed=1)
    assert not (pytester.path / ".call-reports").exists()
