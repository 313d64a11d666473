"""Serving anew whenever a file of the program changes: in a process of its own, which is ended and begun again."""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path

from ..errors import MissingExtraError


def serve_again(folder: Path) -> None:
    """Run this command, without `--reload`, until Ctrl-C; begin it anew when a Python file in the folder changes.

    Raises:
        MissingExtraError: watchfiles is not installed.
    """
    try:
        watchfiles = importlib.import_module("watchfiles")
    except ImportError as exc:
        raise MissingExtraError("serve --reload", "cli") from exc
    options = [one for one in sys.argv[1:] if one != "--reload"]
    # Whoever changes a file wants to hear it: nothing is waited for.
    command = [sys.executable, "-m", __package__.partition(".")[0], *options, "--drain", "0"]
    watchfiles.run_process(
        folder, target=shlex.join(command), target_type="command", watch_filter=watchfiles.PythonFilter()
    )
