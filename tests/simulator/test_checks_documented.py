"""The page on the simulator names every number that a check may use, in the words of the code."""

from __future__ import annotations

from pathlib import Path

from vonage_audio_connector_server.simulator.check_names import CHECK_NAMES

PAGE = Path(__file__).parent.parent.parent / "docs" / "simulator.md"


def test_the_table_of_names_is_that_of_the_code() -> None:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in CHECK_NAMES.items()]

    assert "\n".join(["| name | what it is |", "|---|---|", *rows]) in PAGE.read_text("utf-8")
