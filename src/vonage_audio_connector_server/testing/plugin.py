"""The pytest plugin: a test that fails keeps what was said and heard in its calls, with the report.

    pytest_plugins = ["vonage_audio_connector_server.testing.plugin"]

In `conftest.py` this line is enough. `--call-reports FOLDER` names the folder, `.call-reports` by default.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from ..errors import MissingExtraError
from . import kept
from .call import TestCall

_NAME_CHARACTERS = 150  # file systems take 255 bytes


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the plugin."""
    parser.getgroup("audio connector").addoption(
        "--call-reports",
        metavar="FOLDER",
        default=".call-reports",
        help="where a test that fails leaves what was said and heard in its calls",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test begins, and its fixtures, which may open calls."""
    kept.begin()
    shutil.rmtree(_folder_of(item), ignore_errors=True)  # of an earlier run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A part of a test is over: if it failed, write down its calls."""
    report = yield
    calls = kept.calls()
    if report.failed and calls:
        report.sections.append(("calls", "\n".join(write_calls(calls, _folder_of(item)))))
    if report.when == "teardown":
        kept.end()
    return report


def write_calls(calls: Sequence[TestCall], folder: Path) -> list[str]:
    """Write the sound and the report of calls into a folder; returns lines that tell so."""
    from ..simulator.report.stereo import write_stereo_wav
    from ..simulator.report.timeline import Timeline

    if not folder.parent.exists():
        folder.parent.mkdir(parents=True)
        (folder.parent / ".gitignore").write_text("*\n")
    folder.mkdir(exist_ok=True)
    recordings = [call.both_sides for call in calls]
    lines = []
    for number, (call, recording) in enumerate(zip(calls, recordings, strict=True), 1):
        path = folder / f"call-{number}.wav"
        write_stereo_wav(path, Timeline.of(recording))
        lines.append(f"{path}: what was said (left) and heard (right) in {call.now_s:.2f} s")
    try:
        from ..simulator.report.html import write_html

        write_html(folder / "calls.html", recordings)
        lines.append(f"{folder / 'calls.html'}: the report")
    except MissingExtraError as exc:
        lines.append(str(exc))
    return lines


def _folder_of(item: pytest.Item) -> Path:
    name = re.sub(r"[^\w.-]+", "-", item.nodeid).strip("-.")
    return Path(item.config.getoption("--call-reports")) / name[-_NAME_CHARACTERS:]
