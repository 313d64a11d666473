import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from vonage_audio_connector_server.core.wire import CLEAR_ACTION
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.simulator.report import Ending, Hole, SimulationReport, build_report
from vonage_audio_connector_server.simulator.router import Router
from vonage_audio_connector_server.simulator.rules import LENIENT

FORMAT = AudioFormat()
QUIET = b"\1\0" * 320
ANSWERED = Ending("answered", None, 1000, "", "simulator")


@pytest.fixture
def loud(tone: Callable[..., bytes]) -> bytes:
    return tone(0.02)


def played(*pieces: tuple[int, int, bytes]) -> Router:
    """A peer that has heard (first tick, ticks, frame) each."""
    peer = Router(FORMAT, 100.0)
    for first, ticks, frame in pieces:
        for tick in range(first, first + ticks):
            peer.receive_bytes(frame, at(tick) - 0.01)
    peer.advance(at(peer.runs[-1].start + peer.runs[-1].ticks + 5) if peer.runs else at(5))
    return peer


def at(tick: int) -> float:
    return 100.0 + tick * 0.02


def report_of(peer: Router, question_loud: list[int] | None = None) -> SimulationReport:
    return build_report(peer, ANSWERED, question_loud=question_loud or [])


def test_a_stretch_without_holes_has_no_gaps(loud: bytes) -> None:
    report = report_of(played((1, 100, loud)))

    assert (report.gaps, report.pauses) == ((), ())
    assert report.frames_received == report.frames_heard == 100
    assert report.heard_s == pytest.approx(2.0)
    assert report.ok


def test_short_holes_are_gaps_and_are_told_with_time_and_length(loud: bytes) -> None:
    report = report_of(played((1, 10, loud), (12, 10, QUIET), (32, 3, QUIET)))

    assert report.gaps == (Hole(11 * 0.02, 20), Hole(22 * 0.02, 200))
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
    report = report_of(played((1, 10, frames[before]), (11 + ticks, 10, frames[after])))

    hole = (Hole(11 * 0.02, ticks * 20),)
    assert (report.gaps, report.pauses) == ((hole, ()) if is_gap else ((), hole))


def test_the_sides_of_a_hole_reach_100_ms(loud: bytes) -> None:
    near = report_of(played((1, 10, loud), (11, 4, QUIET), (100, 4, QUIET), (104, 10, loud)))
    far = report_of(played((1, 10, loud), (11, 5, QUIET), (100, 5, QUIET), (105, 10, loud)))

    assert [hole.ms for hole in near.gaps] == [85 * 20]
    assert [hole.ms for hole in far.pauses] == [84 * 20]


def test_in_frames_of_10_ms_the_sides_reach_100_ms_as_well(loud: bytes) -> None:
    for quiet_ticks, is_gap in ((9, True), (10, False)):
        peer = Router(AudioFormat(16_000, 10), 100.0)
        for tick in [*range(1, 11), *range(200, 210)]:
            is_loud = tick <= 10 - quiet_ticks or tick >= 200 + quiet_ticks
            peer.receive_bytes(loud[320:] if is_loud else QUIET[:320], 100.0 + tick * 0.01 - 0.005)
        peer.advance(103.0)

        report = report_of(peer)

        hole = (Hole(11 * 0.01, 1890),)
        assert (report.gaps, report.pauses) == ((hole, ()) if is_gap else ((), hole))
        assert report.heard_s == pytest.approx(0.2)


def test_a_hole_that_was_asked_for_is_a_pause(loud: bytes) -> None:
    peer = Router(FORMAT, 100.0)
    for _ in range(10):
        peer.receive_bytes(loud, at(0) + 0.01)
    peer.receive_text(CLEAR_ACTION, at(4) + 0.01)  # four of ten have been played
    peer.receive_bytes(loud, at(9) + 0.01)
    peer.advance(at(12))

    report = report_of(peer)

    assert report.gaps == ()
    assert report.pauses == (Hole(5 * 0.02, 100, cleared=True),)
    assert (report.clears, report.cleared_frames, report.frames_heard) == (1, 6, 5)


def test_a_clear_that_is_answered_at_once_leaves_no_hole(loud: bytes) -> None:
    peer = Router(FORMAT, 100.0)
    peer.receive_bytes(loud, at(0) + 0.01)
    peer.receive_text(CLEAR_ACTION, at(1) + 0.01)
    peer.receive_bytes(loud, at(1) + 0.01)
    peer.advance(at(3))

    assert (report_of(peer).gaps, report_of(peer).pauses) == ((), ())


def test_silence_before_the_first_sound_and_after_the_last_is_no_hole(loud: bytes) -> None:
    report = report_of(played((200, 1, loud)))

    assert (report.gaps, report.pauses) == ((), ())


@pytest.mark.parametrize(
    ("pieces", "answer_after_s"),
    [
        ([(31, 5, True)], 0.22),
        ([(5, 10, True), (31, 5, True)], 0.22),
        ([(25, 6, False), (31, 5, True)], 0.22),
        ([(5, 30, True)], 0.02),
        ([(5, 16, True)], None),
        ([(25, 6, False)], None),
        ([], None),
    ],
)
def test_the_answer_is_the_first_loud_frame_after_the_question(
    loud: bytes, pieces: list[tuple[int, int, bool]], answer_after_s: float | None
) -> None:
    peer = played(*((first, ticks, loud if is_loud else QUIET) for first, ticks, is_loud in pieces))

    report = report_of(peer, question_loud=[3, 4, 10, 20])

    assert report.question_end_s == pytest.approx(0.4)
    assert report.answer_after_s == (answer_after_s and pytest.approx(answer_after_s))


def test_without_speech_in_the_question_there_is_no_answer_time(loud: bytes) -> None:
    report = report_of(played((3, 5, loud)))

    assert report.question_end_s is None
    assert report.answer_after_s is None


def test_what_was_never_played_is_told(loud: bytes) -> None:
    peer = Router(FORMAT, 100.0)
    for _ in range(30):
        peer.receive_bytes(loud, at(0) + 0.01)
    peer.advance(at(10))

    report = report_of(peer)

    assert report.heard_s == pytest.approx(0.2)
    assert report.unheard_s == pytest.approx(0.4)
    assert report.furthest_ahead_s == pytest.approx(0.59)


def test_wrong_sizes_overflow_and_errors_are_problems(loud: bytes) -> None:
    peer = Router(FORMAT, 100.0, rules=replace(LENIENT, buffer_frames=2))
    for frame in (loud, loud[:160], loud, loud):
        peer.receive_bytes(frame, at(0) + 0.01)
    peer.advance(at(5))

    ending = Ending("server closed", "the server closed", 1011, "", "server")
    report = build_report(peer, ending, question_loud=[], transport="json", wrong_transport_frames=3)

    assert not report.ok
    assert report.problems == (
        "the server closed",
        "1 of the server's frames were not 640 bytes long",
        "3 of the server's messages carried audio, but not as JSON texts with base64 in the agreed field",
        "2 frames were dropped because the router's buffer was full",
    )


def test_it_can_be_written_as_json_without_what_was_heard(loud: bytes) -> None:
    report = report_of(played((1, 10, loud), (12, 10, loud)), question_loud=[0])

    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))

    assert told["ok"] is True
    assert (told["rate_hz"], told["frame_ms"], told["transport"]) == (16_000, 20, "binary")
    assert told["wrong_transport_frames"] == 0
    assert told["gaps"] == [{"at_s": 0.22, "ms": 20, "cleared": False, "cause": None}]
    assert told["gap_ms"] == 20
    assert told["answer_after_s"] == 0.02
    assert "heard" not in told
    assert len(report.heard) % 640 == 0
    assert " heard=" not in repr(report)
