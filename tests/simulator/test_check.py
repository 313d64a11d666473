import re
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_audio_connector_server.errors import AudioConnectorConfigError, MissingExtraError
from vonage_audio_connector_server.simulator.check import CHECK_NAMES, Check, Value, check_values
from vonage_audio_connector_server.simulator.report import Hole, SimulationReport
from vonage_audio_connector_server.simulator.report.turns import Answer, Interruption

REPORT = SimulationReport(
    outcome="answered",
    error=None,
    close_code=1000,
    close_reason="",
    closed_by="simulator",
    rate_hz=16_000,
    frame_ms=20,
    transport="binary",
    duration_s=12.5,
    frames_sent=600,
    send_lateness_max_ms=1.25,
    frames_received=200,
    frames_heard=200,
    heard_s=4.0,
    unheard_s=0.0,
    gaps=(Hole(1.0, 40), Hole(2.0, 60)),
    pauses=(),
    furthest_ahead_s=0.2,
    overflow_frames=0,
    wrong_size_frames=0,
    wrong_transport_frames=0,
    clears=1,
    cleared_frames=10,
    texts_received=3,
    question_end_s=2.0,
    answer_after_s=0.9,
    same_as_question=None,
    greeting_s=0.3,
    answers=(Answer("a", 2.0, 0.7), Answer("b", 5.0, None), Answer("c", 8.0, 2.31)),
    answer_p50_s=1.5,
    answer_p95_s=2.31,
    answer_max_s=2.31,
    interruptions=(Interruption(5.0, 0.21, 1.0, True), Interruption(9.0, None, 0.0, True)),
    heard=b"",
)
SILENT = replace(
    REPORT,
    outcome="no answer",
    gaps=(),
    heard_s=0.0,
    answer_after_s=None,
    answers=(Answer("a", 2.0, None),),
    answer_p50_s=None,
    answer_p95_s=None,
    answer_max_s=None,
    interruptions=(),
    greeting_s=None,
)
BROKEN = replace(REPORT, outcome="server closed", error="no", close_code=1011, closed_by="server", duration_s=1.0)


def test_the_values_of_a_report() -> None:
    assert check_values(REPORT) == {
        "ok": True,
        "outcome": "answered",
        "close_code": 1000,
        "closed_by": "simulator",
        "duration_s": 12.5,
        "heard_s": 4.0,
        "unheard_s": 0.0,
        "gaps": 2,
        "gap_ms": 100,
        "gap_max_ms": 60,
        "greeting_s": 0.3,
        "answers": 2,
        "unanswered": 1,
        "answer_s": 0.7,
        "answer_p50_s": 1.5,
        "answer_p95_s": 2.31,
        "answer_max_s": 2.31,
        "interruptions": 2,
        "silent_after_s": 0.21,
        "furthest_ahead_s": 0.2,
        "overflow_frames": 0,
        "wrong_size_frames": 0,
        "wrong_transport_frames": 0,
        "fragmented_messages": 0,
        "clears": 1,
        "texts": 3,
        "same_as_question": None,
        "send_lateness_max_ms": 1.25,
        "streams": 1,
        "failed": 0,
    }
    assert list(check_values(REPORT)) == list(CHECK_NAMES)
    assert all(CHECK_NAMES.values())


def test_of_several_calls_each_value_is_the_worst() -> None:
    values = check_values(REPORT, SILENT, BROKEN)

    assert (values["streams"], values["failed"], values["ok"]) == (3, 1, False)
    assert (values["outcome"], values["close_code"], values["closed_by"]) == ("server closed", 1011, "server")
    assert (values["gaps"], values["heard_s"], values["duration_s"]) == (2, 0.0, 12.5)
    assert (values["answer_s"], values["answer_p95_s"], values["greeting_s"]) == (None, None, None)
    assert (values["interruptions"], values["silent_after_s"]) == (0, 0.21)
    assert check_values(REPORT, SILENT)["outcome"] == "answered"
    with pytest.raises(AudioConnectorConfigError):
        check_values()


@pytest.mark.parametrize(
    ("expression", "ok", "text"),
    [
        ("answer_p95_s < 1.5", False, "answer_p95_s < 1.5 is false: answer_p95_s is 2.31"),
        ("gaps == 2 and answer_s <= 0.7", True, "gaps == 2 and answer_s <= 0.7 is true: gaps is 2, answer_s is 0.7"),
        ("  gaps == 0 or clears > 0 ", True, "gaps == 0 or clears > 0 is true: gaps is 2, clears is 1"),
        ("outcome == 'answered'", True, "outcome == 'answered' is true: outcome is 'answered'"),
        ('closed_by != "server"', True, "closed_by != \"server\" is true: closed_by is 'simulator'"),
        ("ok", True, "ok is true: ok is true"),
        ("ok == True and not ok == False", True, None),
        ("not ok", False, "not ok is false: ok is true"),
        ("gap_ms / gaps == 50", True, None),
        ("(gaps + 1) * 2 - 1 == 5", True, None),
        ("-gaps < -1", True, None),
        ("0 < answer_s < 1", True, None),
        ("0 < answer_s < 0.5", False, None),
        ("1 < 2", True, "1 < 2 is true"),
        (
            "same_as_question > 0.9",
            False,
            "same_as_question > 0.9 is false: same_as_question has no value (it was not ",
        ),
        ("gap_ms / overflow_frames < 3", False, None),
        ("gap_ms / overflow_frames >= 3", False, None),
    ],
)
def test_a_check_tells_why(expression: str, ok: bool, text: str | None) -> None:
    result = Check(expression).run(check_values(REPORT))

    assert result.ok is ok
    if text is not None:
        assert result.text.startswith(text)


@pytest.mark.parametrize(
    ("expression", "ok"),
    [
        ("answer_s < 1", False),
        ("answer_s >= 1", False),
        ("not answer_s < 1", False),
        ("answer_s != 1", False),
        ("answer_s - 1 < 1", False),
        ("-answer_s < 1", False),
        ("0 < answer_s < 1", False),
        ("answer_s < 1 or outcome == 'no answer'", True),
        ("outcome == 'no answer' or answer_s < 1", True),
        ("not (answer_s < 1 and outcome == 'answered')", True),
        ("not (answer_s < 1 or outcome == 'answered')", False),
        ("answer_s < 1 and ok", False),
        ("unanswered == 0", False),
    ],
)
def test_what_has_no_value_holds_no_check(expression: str, ok: bool) -> None:
    result = Check(expression).run(check_values(SILENT))

    assert result.ok is ok
    if "answer_s" in expression:
        assert "answer_s has no value (the first thing said was not answered)" in result.text


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "can't be understood"),
        ("gaps ==", "can't be understood"),
        ("gaps = 0", "can't be understood"),
        ("gaps == 0; ok", "can't be understood"),
        ("gaps == 0\nok", "can't be understood"),
        ("gaps == \0", "can't be understood"),
        ("gap == 0", "there is no 'gap'; there are ok, outcome, close_code"),
        ("gaps", "it must be true or false"),
        ("gaps + 1", "it must be true or false"),
        ("outcome", "it must be true or false"),
        ("not gaps", "1 is a number, and not takes true or false"),
        ("ok and gaps", "and takes true or false"),
        ("ok or gaps", "or takes true or false"),
        ("outcome == 1", "'answered' is a text and 1 is a number: they can't be compared"),
        ("ok == 1", "true is true or false and 1 is a number"),
        ("5 < gaps < 'a'", "they can't be compared"),
        ("outcome < 'b'", "only numbers are more or less"),
        ("outcome + 'b' == 'ab'", "arithmetic takes a number"),
        ("'a' * 3 == 'aaa'", "arithmetic takes a number"),
        ("ok + 1 == 2", "arithmetic takes a number"),
        ("-ok == 1", "a minus sign takes a number"),
        ("abs(gaps) == 0", r"abs\(gaps\) is none of what a check is made of: names, numbers"),
        ("outcome.upper == 'A'", "outcome.upper is none of"),
        ("outcome[0] == 'a'", r"outcome\[0\] is none of"),
        ("gaps ** 2 == 4", r"gaps \*\* 2 is none of"),
        ("gaps % 2 == 0", "gaps % 2 is none of"),
        ("gaps // 2 == 0", "gaps // 2 is none of"),
        ("~gaps == 0", "~gaps is none of"),
        ("gaps in (1, 2)", r"gaps in \(1, 2\) is none of"),
        ("answer_s is None", "answer_s is None is none of"),
        ("gaps == None", "None is none of"),
        ("gaps == 1j", "1j is none of"),
        ("outcome == b'a'", "b'a' is none of"),
        ("outcome == f'{ok}'", "is none of"),
        ("ok if ok else ok", "is none of"),
        ("(lambda: ok)", "is none of"),
        ("[ok for ok in ok]", "is none of"),
        ("(x := 1) == 1", "is none of"),
        ("__import__('os')", "is none of"),
        ("gaps == " + "1" * 1_000, "longer than 1000 characters"),
        ("(" * 400 + "ok" + ")" * 400, "can't be"),
        ("- " * 490 + "1 == 1", "can't be used"),
    ],
)
def test_what_is_wrong_with_a_check_is_told_before_it_runs(expression: str, told: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match=told) as caught:
        Check(expression)
    assert str(caught.value).startswith("the check ")


def test_its_names_are_known() -> None:
    check = Check("gaps == 0 and 1 < answer_s and gaps == 0")

    assert check.names == ("gaps", "answer_s")
    assert check.expression == "gaps == 0 and 1 < answer_s and gaps == 0"


def test_without_simpleeval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simpleeval", None)

    with pytest.raises(MissingExtraError, match=r"vonage-audio-connector-server\[cli\]"):
        Check("ok")


COMPARISONS = st.builds(
    "{} {} {}".format,
    st.sampled_from(["gaps", "answer_s", "heard_s", "2"]),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.sampled_from(["gaps", "clears + 1", "1.5"]),
)
CHECKS = st.recursive(
    COMPARISONS | st.just("ok"),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=6,
)


@given(CHECKS)
def test_a_check_says_what_python_says(expression: str) -> None:
    values: dict[str, Value] = check_values(REPORT)
    names: dict[str, Any] = dict(values)

    assert Check(expression).run(values).ok is eval(expression, {"__builtins__": {}}, names)


@given(st.text(alphabet="gaps okandr01.5()<=!+-*/'\"[]", max_size=30))
def test_nothing_else_is_raised(expression: str) -> None:
    try:
        result = Check(expression).run(check_values(REPORT))
    except AudioConnectorConfigError:
        return
    assert re.match(r".* is (true|false)(: |$)", result.text)
