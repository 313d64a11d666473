"""A page shows an example as it is, wherever it is read: the text is the file's, and no instruction to include it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHOWN = [
    (page, name, text)
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for name, text in re.findall(
        r'^```python title="(examples/[^"]+)"\n(.*?)^```$', page.read_text(), re.MULTILINE | re.DOTALL
    )
]


def test_some_pages_show_examples() -> None:
    assert {name for _, name, _ in SHOWN} >= {f"examples/{name}.py" for name in ("guarded", "interrupt", "diagnose")}


@pytest.mark.parametrize(("page", "name", "text"), SHOWN, ids=[name for _, name, _ in SHOWN])
def test_the_page_shows_the_file(page: Path, name: str, text: str) -> None:
    assert text == (ROOT / name).read_text(), f"{page.name} shows another {name} than there is"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_no_page_includes_what_a_code_host_would_not_show(page: Path) -> None:
    assert "--8<--" not in page.read_text()


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.stem
)
def test_every_install_brings_this_library(page: Path) -> None:
    """Until 0.2.0 is released its name brings the reference SDK."""
    assert not re.search(r"pip install[^\n]*vonage-audio-connector-server", page.read_text())
