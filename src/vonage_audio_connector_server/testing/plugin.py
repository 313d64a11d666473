"""The pytest plugin: a test that fails keeps what was said and heard in its calls, with the report.

    pytest_plugins = ["vonage_audio_connector_server.testing.plugin"]

In `conftest.py` this line is enough. `--call-reports FOLDER` names the folder, `.call-reports` by default.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from ..errors import MissingExtraError
from . import kept
from .call import TestCall


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the plugin."""
    parser.getgroup("audio connector").addoption(
        "--call-reports",
        metavar="FOLDER",
        default=".call-reports",
        help="where a test that fails leaves what was said and heard in its calls",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Keep the calls of a test; where it fails, write them down."""
    kept.begin()
    failed = True
    try:
        result = yield
        failed = False
    finally:
        calls = kept.end()
        if failed and calls:
            folder = Path(item.config.getoption("--call-reports")) / re.sub(r"[^\w.-]+", "-", item.nodeid).strip("-")
            item.add_report_section("call", "calls", "\n".join(write_calls(calls, folder)))
    return result


def write_calls(calls: list[TestCall], folder: Path) -> list[str]:
    """Write the sound and the report of calls into a folder; returns lines for the failure's section."""
    from ..simulator.report.stereo import write_stereo_wav
    from ..simulator.report.timeline import Timeline

    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, call in enumerate(calls, 1):
        path = folder / f"call-{number}.wav"
        write_stereo_wav(path, Timeline.of(call.recording))
        lines.append(f"{path}: what was said (left) and heard (right) in {call.now_s:.2f} s")
    try:
        from ..simulator.report.html import write_html

        write_html(folder / "calls.html", [call.recording for call in calls])
        lines.append(f"{folder / 'calls.html'}: the report")
    except MissingExtraError as exc:
        lines.append(str(exc))
    return lines
