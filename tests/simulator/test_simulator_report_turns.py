import json
import random
from dataclasses import replace

import pytest

from vonage_audio_connector_server.recording import Kind, Recording
from vonage_audio_connector_server.simulator.report import Ending, Timeline, report_of
from vonage_audio_connector_server.simulator.report.judge import verdicts_of
from vonage_audio_connector_server.simulator.report.make import percentile
from vonage_audio_connector_server.simulator.report.picture import picture_of

from .recorded import Call, eventful, speech

SPEECH = speech()
QUESTION = SPEECH[: 640 * 60]


def test_each_thing_said_has_its_answer() -> None:
    call = Call(20.0)
    call.answers(0.3, QUESTION)
    for begin_s, wait_s in ((2.0, 0.5), (6.0, 0.9), (10.0, 0.7)):
        asked_s = call.says(begin_s, QUESTION, name=f"at {begin_s}")
        call.answers(asked_s + wait_s, QUESTION)
    call.says(15.0, QUESTION, name="at the end")

    report = report_of(call.done())

    assert report.greeting_s == pytest.approx(0.32)
    assert [answer.to for answer in report.answers] == ["at 2.0", "at 6.0", "at 10.0", "at the end"]
    assert [answer.after_s for answer in report.answers[:3]] == [
        pytest.approx(wait, abs=0.03) for wait in (0.5, 0.9, 0.7)
    ]
    assert report.answers[3].after_s is None
    assert report.answer_p50_s == pytest.approx(0.7, abs=0.03)
    assert report.answer_p95_s == report.answer_max_s == pytest.approx(0.9, abs=0.03)
    assert report.sentence == "It greeted after 0.32 s, and answered 3 of 4 questions after 0.72 s at the median."


def test_what_no_script_says_is_found_by_its_sound() -> None:
    call = Call(8.0, seen_by="server")
    asked_s = call.says(1.0, QUESTION, noted=False)
    call.answers(asked_s + 0.5, QUESTION)

    report = report_of(call.done(by="session"))

    (answer,) = report.answers
    assert answer.said_until_s == pytest.approx(asked_s, abs=0.05)
    assert answer.after_s == pytest.approx(0.5, abs=0.05)
    assert (report.outcome, report.seen_by) == ("answered", "server")


def test_an_echo_answers_while_it_is_spoken_to() -> None:
    call = Call(6.0)
    call.says(1.0, SPEECH, name="q.wav")
    call.answers(1.04, SPEECH)

    report = report_of(call.done(), compare=True)

    assert report.answers[0].overlaps
    assert report.interruptions == ()
    assert report.same_as_question == pytest.approx(1.0, abs=0.01)
    assert report.sentence == "The bot said all of it back while it was being said, without a gap."


def test_a_parrot_waits_for_the_end_and_says_all_of_it_back() -> None:
    call = Call(9.0)
    asked_s = call.says(1.0, SPEECH, name="q.wav")
    call.answers(asked_s + 0.6, SPEECH)

    report = report_of(call.done(), compare=True)

    assert report.sentence == (
        "The bot waited for the end of the sentence, 0.62 s, and said all of it back without a gap."
    )
    assert all(verdict.ok for verdict in report.verdicts)


def interrupted(talks_on_s: float, *, interrupts: bool = True, clears: bool = True) -> Call:
    """A long answer, interrupted at 3.0 s; the server goes on for so long. The new answer begins at 5.2 s."""
    call = Call(9.0)
    call.answers(1.0, SPEECH + SPEECH, until_s=3.0 + talks_on_s)
    if clears:
        call.flushes(3.0 + talks_on_s)
    asked_s = call.says(3.0, SPEECH[: 640 * 50], name="stop.wav", interrupts=interrupts)
    call.answers(asked_s + 1.2, QUESTION)
    return call


def test_an_interruption_that_is_obeyed() -> None:
    report = report_of(interrupted(0.12).done())

    (one,) = report.interruptions
    assert one.at_s == pytest.approx(3.0)
    assert one.silent_after_s == pytest.approx(0.14, abs=0.03)
    assert one.heard_s == pytest.approx(2.1, abs=0.1)
    assert one.meant
    assert report.answers[0].after_s == pytest.approx(1.2, abs=0.04)
    (verdict,) = (verdict for verdict in report.verdicts if verdict.rule == "interruption")
    assert verdict.ok
    assert "fell silent 0.14 s after the interruption" in report.sentence


def test_what_was_sent_ahead_is_heard_where_nothing_clears_it() -> None:
    (one,) = report_of(interrupted(0.1, clears=False).done()).interruptions

    assert one.silent_after_s == pytest.approx(0.3, abs=0.05)


def test_a_bot_that_talks_on() -> None:
    report = report_of(interrupted(1.5).done())

    (one,) = report.interruptions
    assert one.silent_after_s == pytest.approx(1.5, abs=0.1)
    (verdict,) = (verdict for verdict in report.verdicts if verdict.rule == "interruption")
    assert verdict.ok is False
    assert "talked on for 1.5" in report.sentence


def test_speech_that_was_queued_behind_the_clear_is_still_what_was_interrupted() -> None:
    call = interrupted(0.12)
    call.answers(3.3, SPEECH[: 640 * 30])  # the producer went on

    (one,) = report_of(call.done()).interruptions

    assert one.silent_after_s is not None
    assert one.silent_after_s > 0.7


def test_who_merely_speaks_at_the_same_time_is_not_called_an_interruption() -> None:
    report = report_of(interrupted(1.5, interrupts=False).done())

    (one,) = report.interruptions
    assert not one.meant
    (verdict,) = (verdict for verdict in report.verdicts if verdict.rule == "interruption")
    assert verdict.ok is None


def test_nothing_to_interrupt() -> None:
    call = Call(4.0)
    call.says(1.0, QUESTION, interrupts=True)

    report = report_of(call.done())

    assert [one.silent_after_s for one in report.interruptions] == [None]


def test_nobody_answered() -> None:
    call = Call(4.0)
    call.says(1.0, QUESTION)

    report = report_of(call.done())

    assert report.outcome == "no answer"
    assert report.sentence == "Nobody answered: not one message came in 4.0 s."
    assert report.first_received_s is None


def test_texts_alone() -> None:
    call = Call(4.0)
    call.text_from_server(2.0, '{"transcript":"a"}')
    call.text_from_server(3.0, '{"transcript":"b"}')

    report = report_of(call.done())

    assert report.sentence == "Nobody answered: only 2 texts came in 4.0 s."
    assert [(text.at_s, json.loads(text.text)["transcript"]) for text in report.texts] == [(2.0, "a"), (3.0, "b")]


def test_no_connection() -> None:
    report = report_of(Call(1.0).done(), Ending("not connected", "nothing listens on 127.0.0.1:1"))

    assert report.sentence == "There was no connection: nothing listens on 127.0.0.1:1."
    assert [(verdict.rule, verdict.ok) for verdict in report.verdicts] == [("connection", False)]


@pytest.mark.parametrize(
    ("code", "reason", "by", "outcome", "error"),
    [
        (1000, "", "simulator", "answered", None),
        (1000, "", "session", "answered", None),
        (1000, "", "program", "server closed", None),
        (
            1011,
            "a handler raised",
            "library",
            "server closed",
            "the server closed the connection with 1011 (a handler raised)",
        ),
        (1006, "", "network", "connection lost", "the connection was lost without a close frame"),
    ],
)
def test_the_end_is_read_from_the_recording(code: int, reason: str, by: str, outcome: str, error: str | None) -> None:
    call = Call(5.0)
    call.answers(1.0, SPEECH)

    report = report_of(call.done(code=code, reason=reason, by=by))

    assert (report.outcome, report.error, report.close_code) == (outcome, error, code)
    assert report.ok is (error is None)


def test_a_recording_that_ends_before_the_call_is_open() -> None:
    recording = Call(2.0).done()
    recording.entries = [entry for entry in recording.entries if entry.data.get("note") != "closed"]

    assert report_of(recording).outcome == "open"


def test_wrong_frames_and_lateness() -> None:
    call = Call(3.0)
    call.silent.append((1.0, 1.1))
    recording = call.done()
    at = next(index for index, entry in enumerate(recording.entries) if entry.at_s > 1.09)
    late = [recording.entries[at]._replace(at_s=1.096)] * 5  # five frames, together: the first was due at 1.0 s
    recording.entries[at:at] = late
    recording.note(1.5, "wrong transport", bytes=12)
    recording.note(1.6, "fragmented", bytes=640)

    report = report_of(recording)

    assert report.send_lateness_max_ms == pytest.approx(96)
    busy = replace(report, send_lateness_max_ms=583.0)
    assert [verdict.ok for verdict in verdicts_of(busy) if verdict.rule == "simulator"] == [None]
    assert (report.wrong_transport_frames, report.fragmented_messages) == (1, 1)
    assert [verdict.rule for verdict in report.verdicts if verdict.ok is False] == ["fragments", "transport"]
    assert not report.ok


def test_all_of_it_can_be_written_as_json() -> None:
    told = json.loads(json.dumps(report_of(eventful()).to_dict(), allow_nan=False))

    assert [gap["cause"] for gap in told["gaps"]] == ["network: stall, on purpose", "producer late"]
    assert [answer["to"] for answer in told["answers"]] == ["question.wav", "next.wav", "stop.wav"]
    assert told["interruptions"][0]["silent_after_s"] == pytest.approx(0.14, abs=0.03)
    assert told["verdicts"][0] == {"rule": "connection", "ok": True, "text": "the connection was opened"}
    assert told["buffer_max_s"] == told["furthest_ahead_s"]
    assert told["frame_interval_p99_ms"] < 500
    assert "heard" not in told


def test_percentiles() -> None:
    assert percentile([], 50) is None
    assert percentile([1.0], 95) == 1.0
    assert percentile([1.0, 2.0], 50) == 1.5
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([float(value) for value in range(1, 101)], 95) == 95.0


@pytest.mark.parametrize("seed", range(60))
def test_whatever_a_recording_holds_it_has_a_report(seed: int) -> None:
    drawn = random.Random(seed)
    recording = Recording({"seen_by": drawn.choice(["router", "server"]), "rate_hz": 16_000})
    texts = [b'{"action":"clear"}', b'{"event":"websocket:cleared"}', b'{"content-type":"audio/l16;rate=16000"}', b"?"]
    for _ in range(drawn.randrange(60)):
        at_s = drawn.random() * 3 + drawn.choice([0, 0, 7])
        kind = drawn.choice(
            [Kind.AUDIO_TO_SERVER, Kind.AUDIO_FROM_SERVER] * 4 + [Kind.TEXT_TO_SERVER, Kind.TEXT_FROM_SERVER]
        )
        size = drawn.choice([640] * 9 + [0, 1, 333, 1000])
        audio = drawn.choice([SPEECH[640 * 20 : 640 * 20 + size], bytes(size)])
        is_audio = kind in (Kind.AUDIO_TO_SERVER, Kind.AUDIO_FROM_SERVER)
        recording.add(at_s, kind, audio if is_audio else drawn.choice(texts))
    for name in drawn.sample(["said", "gap", "fault", "muted", "closed", "log", "step"], drawn.randrange(4)):
        at_s = drawn.random() * 3
        recording.note(
            at_s, name, until_s=at_s + 1, since_s=at_s, active=True, for_s=1, interrupts=drawn.random() < 0.5
        )

    report = report_of(recording)

    assert report.sentence[0].isupper() or report.sentence[0].isdigit()
    assert report.sentence.endswith(".")
    json.dumps(report.to_dict(), allow_nan=False)
    json.dumps(picture_of(Timeline.of(recording), 100), allow_nan=False)
