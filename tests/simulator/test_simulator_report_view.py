import io
import json

import pytest
from rich.console import Console

from vonage_audio_connector_server.cli.view import play_hint, print_report
from vonage_audio_connector_server.simulator import SimulationReport
from vonage_audio_connector_server.simulator.report import Ending, report_of

from .recorded import Call, eventful, speech


def printed(report: SimulationReport, *written: str) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_report(report, *written, console=console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_sentence_comes_first_then_what_is_wrong_then_the_numbers() -> None:
    lines = printed(report_of(eventful())).splitlines()

    assert lines[0].startswith("It greeted after 0.42 s, answered 3 of 3 questions")
    wrong = next(at for at, line in enumerate(lines) if line.startswith("✗ gaps: 2 gaps inside speech"))
    table = next(at for at, line in enumerate(lines) if "outcome" in line)
    assert 0 < wrong < table
    assert sum(line.startswith("✗") for line in lines) == 1


def test_a_row_that_says_nothing_is_not_shown() -> None:
    call = Call(5.0)
    asked_s = call.says(0.5, speech()[: 640 * 50])
    call.answers(asked_s + 0.5, speech()[: 640 * 50])

    text = printed(report_of(call.done()))

    for row in ("overflow", "wrong size", "wrong transport", "cleared", "pauses", "unheard", "keys", " late"):
        assert row not in text
    for row in ("gaps inside speech", "furthest ahead", "answer after"):
        assert row in text


def test_texts_in_the_order_of_time_and_not_too_much_of_them() -> None:
    call = Call(5.0)
    call.text_from_server(1.0, '{"b":1}')
    call.text_from_server(2.0, json.dumps({"words": [f"word {number}" for number in range(100)]}))
    for index in range(20):
        call.text_from_server(3.0 + index / 100, "plain [bold]text[/bold]")

    text = printed(report_of(call.done()))

    assert '    1.00 s  {"b": 1}\n    2.00 s  {\n' in text
    assert '"word 0",' in text
    assert "more lines" in text
    assert "word 99" not in text
    assert "plain [bold]text[/bold]" in text
    assert "… and 14 more texts" in text


def test_no_connection_is_one_sentence() -> None:
    text = printed(report_of(Call(1.0).done(), Ending("not connected", "nothing listens there")))

    assert text.startswith("There was no connection: nothing listens there.\n")
    assert "frames" not in text


def test_how_to_play_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/aplay" if name == "aplay" else None)
    assert "play it: aplay heard.wav\n" in printed(report_of(eventful()), "heard.wav")
    assert play_hint("my call.wav") == "play it: aplay 'my call.wav'"

    monkeypatch.setattr("shutil.which", lambda name: None)
    assert play_hint("heard.wav") == "written: heard.wav"
