import json
from collections.abc import Callable

import pytest

from vonage_audio_connector_server.core.wire import CLEAR_ACTION
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.recording import Kind, Recording
from vonage_audio_connector_server.simulator.report import Ending, Hole, SimulationReport, report_of

FORMAT = AudioFormat()
QUIET = b"\1\0" * 320
ANSWERED = Ending("answered", None, 1000, "", "simulator")


@pytest.fixture
def loud(tone: Callable[..., bytes]) -> bytes:
    return tone(0.02)


def recorded(audio_format: AudioFormat = FORMAT) -> Recording:
    """A call that has just begun; its tick 0 is 2 s after the accept."""
    recording = Recording({"rate_hz": audio_format.rate_hz, "frame_ms": audio_format.frame_ms})
    recording.add(0.0, Kind.TEXT_TO_SERVER, b'{"content-type":"audio/l16;rate=16000"}')
    return recording


def played(*pieces: tuple[int, int, bytes]) -> Recording:
    """A call in which (first tick, ticks, frame) each was heard."""
    recording, last = recorded(), 0
    for first, ticks, frame in pieces:
        last = first + ticks
        for tick in range(first, last):
            recording.add(at(tick) - 0.01, Kind.AUDIO_FROM_SERVER, frame)
    recording.note(at(last + 5), "step", step="the end")
    return recording


def at(tick: int) -> float:
    return 2.0 + tick * 0.02


def hole(tick: int, ticks: int, *, cleared: bool = False) -> Hole:
    return Hole(round(at(tick), 6), ticks * 20, cleared)


def heard(recording: Recording) -> SimulationReport:
    return report_of(recording, ANSWERED)


def test_a_stretch_without_holes_has_no_gaps(loud: bytes) -> None:
    report = heard(played((1, 100, loud)))

    assert (report.gaps, report.pauses) == ((), ())
    assert report.frames_received == report.frames_heard == 100
    assert report.heard_s == pytest.approx(2.0)
    assert report.ok


def test_short_holes_are_gaps_and_are_told_with_time_and_length(loud: bytes) -> None:
    report = heard(played((1, 10, loud), (12, 10, QUIET), (32, 3, QUIET)))

    assert report.gaps == (hole(11, 1), hole(22, 10))
    assert report.gap_ms == 220
    assert report.pauses == ()


@pytest.mark.parametrize(
    ("before", "after", "ticks", "is_gap"),
    [
        ("quiet", "quiet", 50, True),
        ("quiet", "quiet", 51, False),
        ("loud", "quiet", 51, False),
        ("quiet", "loud", 51, False),
        ("loud", "loud", 51, True),
        ("loud", "loud", 150, True),
        ("loud", "loud", 151, False),
    ],
)
def test_up_to_1_s_is_a_gap_and_up_to_3_s_in_the_middle_of_speech(
    loud: bytes, before: str, after: str, ticks: int, is_gap: bool
) -> None:
    frames = {"loud": loud, "quiet": QUIET}
    report = heard(played((1, 10, frames[before]), (11 + ticks, 10, frames[after])))

    found = (hole(11, ticks),)
    assert (report.gaps, report.pauses) == ((found, ()) if is_gap else ((), found))


def test_the_sides_of_a_hole_reach_100_ms(loud: bytes) -> None:
    near = heard(played((1, 10, loud), (11, 4, QUIET), (100, 4, QUIET), (104, 10, loud)))
    far = heard(played((1, 10, loud), (11, 5, QUIET), (100, 5, QUIET), (105, 10, loud)))

    assert [hole.ms for hole in near.gaps] == [85 * 20]
    assert [hole.ms for hole in far.pauses] == [84 * 20]


def test_in_frames_of_10_ms_the_sides_reach_100_ms_as_well(loud: bytes) -> None:
    for quiet_ticks, is_gap in ((9, True), (10, False)):
        recording = recorded(AudioFormat(16_000, 10))
        for tick in [*range(1, 11), *range(200, 210)]:
            is_loud = tick <= 10 - quiet_ticks or tick >= 200 + quiet_ticks
            frame = loud[320:] if is_loud else QUIET[:320]
            recording.add(2.0 + tick * 0.01 - 0.005, Kind.AUDIO_FROM_SERVER, frame)
        recording.note(5.0, "step", step="the end")

        report = heard(recording)

        found = (Hole(2.11, 1890),)
        assert (report.gaps, report.pauses) == ((found, ()) if is_gap else ((), found))
        assert report.heard_s == pytest.approx(0.2)


def test_a_hole_that_was_asked_for_is_a_pause(loud: bytes) -> None:
    recording = recorded()
    for _ in range(10):
        recording.add(at(0) + 0.01, Kind.AUDIO_FROM_SERVER, loud)
    recording.add(at(4) + 0.01, Kind.TEXT_FROM_SERVER, CLEAR_ACTION.encode())  # four of ten have been played
    recording.add(at(9) + 0.01, Kind.AUDIO_FROM_SERVER, loud)
    recording.note(at(12), "step", step="the end")

    report = heard(recording)

    assert report.gaps == ()
    assert report.pauses == (hole(5, 5, cleared=True),)
    assert (report.clears, report.cleared_frames, report.frames_heard) == (1, 6, 5)


def test_a_clear_that_is_answered_at_once_leaves_no_hole(loud: bytes) -> None:
    recording = recorded()
    recording.add(at(0) + 0.01, Kind.AUDIO_FROM_SERVER, loud)
    recording.add(at(1) + 0.01, Kind.TEXT_FROM_SERVER, CLEAR_ACTION.encode())
    recording.add(at(1) + 0.01, Kind.AUDIO_FROM_SERVER, loud)
    recording.note(at(3), "step", step="the end")

    assert (heard(recording).gaps, heard(recording).pauses) == ((), ())


def test_silence_before_the_first_sound_and_after_the_last_is_no_hole(loud: bytes) -> None:
    report = heard(played((200, 1, loud)))

    assert (report.gaps, report.pauses) == ((), ())


@pytest.mark.parametrize(
    ("pieces", "answer_after_s"),
    [
        ([(31, 5, True)], 0.2),
        ([(5, 10, True), (31, 5, True)], 0.2),
        ([(25, 6, False), (31, 5, True)], 0.2),
        ([(5, 30, True)], 0.0),
        ([(5, 16, True)], None),
        ([(25, 6, False)], None),
        ([], None),
    ],
)
def test_the_answer_is_the_first_loud_frame_after_the_question(
    loud: bytes, pieces: list[tuple[int, int, bool]], answer_after_s: float | None
) -> None:
    recording = played(*((first, ticks, loud if is_loud else QUIET) for first, ticks, is_loud in pieces))
    for tick in range(30):
        recording.add(at(tick), Kind.AUDIO_TO_SERVER, loud if tick in (3, 4, 10, 20) else QUIET)
    recording.note(at(3), "said", until_s=at(21), name="", interrupts=False)

    report = heard(recording)

    assert report.question_end_s == pytest.approx(at(21))
    assert report.answer_after_s == (None if answer_after_s is None else pytest.approx(answer_after_s, abs=1e-6))


def test_without_speech_in_the_question_there_is_no_answer_time(loud: bytes) -> None:
    report = heard(played((3, 5, loud)))

    assert report.question_end_s is None
    assert report.answer_after_s is None


def test_audio_that_is_never_loud_is_told(loud: bytes) -> None:
    assert heard(played((1, 50, QUIET))).sentence == "1.0 s of audio were heard."
    assert heard(played((1, 50, QUIET), (55, 5, QUIET))).sentence == (
        "1.1 s of audio were heard, and its speech had 1 gap of 0.08 s."
    )


def test_what_was_never_played_is_told(loud: bytes) -> None:
    recording = recorded()
    for _ in range(30):
        recording.add(at(0) + 0.01, Kind.AUDIO_FROM_SERVER, loud)
    recording.note(at(10), "step", step="the end")

    report = heard(recording)

    assert report.heard_s == pytest.approx(0.2)
    assert report.unheard_s == pytest.approx(0.4)
    assert report.furthest_ahead_s == pytest.approx(0.59)


def test_wrong_sizes_overflow_and_errors_are_problems(loud: bytes) -> None:
    recording = recorded()
    recording.meta["transport"] = "json"
    for frame in (loud[:160], *[loud] * 1025):
        recording.add(at(0) + 0.01, Kind.AUDIO_FROM_SERVER, frame)
    for _ in range(3):
        recording.note(at(1), "wrong transport", bytes=12)

    report = report_of(recording, Ending("server closed", "the server closed", 1011, "", "server"))

    assert not report.ok
    assert report.problems == (
        "the server closed",
        "1 of the server's frames were not 640 bytes long",
        "3 of the server's messages carried audio, but not as JSON texts with base64 in the agreed field",
        "2 frames were dropped because the router's buffer was full",
    )
    assert [verdict.rule for verdict in report.verdicts if verdict.ok is False] == [
        "frame size",
        "transport",
        "ahead",
        "end",
    ]


def test_it_can_be_written_as_json_without_what_was_heard(loud: bytes) -> None:
    report = heard(played((1, 10, loud), (12, 10, loud)))

    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))

    assert told["ok"] is True
    assert (told["rate_hz"], told["frame_ms"], told["transport"]) == (16_000, 20, "binary")
    assert told["wrong_transport_frames"] == 0
    assert told["gaps"] == [{"at_s": 2.22, "ms": 20, "cleared": False, "cause": None}]
    assert told["gap_ms"] == 20
    assert told["answer_after_s"] is None
    assert "heard" not in told
    assert len(report.heard) % 640 == 0
    assert " heard=" not in repr(report)
