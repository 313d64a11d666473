"""Fails unless the package's version is the newest heading of CHANGELOG.md."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def first(pattern: str, path: Path) -> str | None:
    """What the pattern's group captures first in the file; None where it matches nothing."""
    found = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


version = first(r'^__version__ = "(.+)"$', ROOT / "src/vonage_audio_connector_server/__init__.py")
heading = first(r"^## (\S+)", ROOT / "CHANGELOG.md")
if version is None or version != heading:
    sys.exit(f"The version is {version} in __init__.py, but {heading} in the newest heading of CHANGELOG.md.")
