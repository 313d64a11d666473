"""The command `vonage-audio-connector`. It needs the extra `cli`, and says so where it is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from ..errors import MissingExtraError


def main() -> None:
    """Run the command line; ends with `SystemExit`."""
    if find_spec("typer") is None or find_spec("rich") is None:
        print(MissingExtraError("The command vonage-audio-connector", "cli"), file=sys.stderr)
        raise SystemExit(2)
    from .commands import app

    app()
