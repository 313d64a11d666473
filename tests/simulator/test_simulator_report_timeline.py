import io
import wave
from array import array

import pytest

from vonage_audio_connector_server.core.wire import CLEAR_ACTION
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.recording import Kind, Recording
from vonage_audio_connector_server.simulator.report import Hole, Timeline, joined, report_of, write_stereo_wav
from vonage_audio_connector_server.simulator.report.noted import pretty
from vonage_audio_connector_server.simulator.report.timeline import format_of

from .recorded import FIRST, FORMAT, Call, eventful, speech

SPEECH = speech()


def gap_of(recording: Recording) -> Hole:
    (gap,) = Timeline.of(recording).gaps
    return gap


def stalled() -> Call:
    """Something is heard with a gap of 0.4 s, from 2.02 s on."""
    call = Call(5.0)
    call.answers(1.0, SPEECH, stall=(1.0, 0.4))
    return call


def test_what_was_said_and_heard_lie_on_one_time_line() -> None:
    call = Call(6.0)
    call.says(1.0, SPEECH[: 640 * 50])
    call.answers(3.0, SPEECH)

    timeline = Timeline.of(call.done())

    assert len(timeline.said) == len(timeline.heard) == 640 * 301  # the tick at 6 s is played, too
    assert timeline.said[640 * 50 : 640 * 100] == SPEECH[: 640 * 50]
    assert not any(timeline.said[: 640 * 50])
    assert timeline.heard[640 * 151 : 640 * 151 + len(SPEECH)] == SPEECH
    assert not any(timeline.heard[: 640 * 151])


def test_a_burst_behind_a_stall_was_said_during_the_stall() -> None:
    recording = Recording({"rate_hz": 16_000, "seen_by": "server"})
    recording.add(0.0, Kind.TEXT_TO_SERVER, FIRST.encode())
    for index in range(100):
        on_time_s = 0.1 + index * 0.02 + (0.004 if index % 3 else 0.0)  # with jitter
        at_s = 1.2 if 0.6 < on_time_s < 1.2 else on_time_s
        recording.add(at_s, Kind.AUDIO_TO_SERVER, SPEECH[index * 640 : (index + 1) * 640])

    said = Timeline.of(recording).said

    at = round(0.1 * 16_000) * 2
    assert said[at : at + 640 * 98] == SPEECH[: 640 * 98]


def test_where_no_frames_came_nothing_was_said() -> None:
    call = Call(3.0)
    call.says(0.5, SPEECH[: 640 * 100])
    call.silent.append((1.0, 1.5))

    said = Timeline.of(call.done()).said

    assert not any(said[640 * 50 : 640 * 75])
    assert said[640 * 75 : 640 * 125] == SPEECH[640 * 50 : 640 * 100]


def test_the_level_of_the_buffer_rises_with_each_frame_and_drains_to_nothing() -> None:
    call = Call(3.0)
    call.answers(1.0, SPEECH[: 640 * 50])

    levels = Timeline.of(call.done()).levels

    assert max(level_s for _, level_s in levels) == pytest.approx(0.2, abs=0.03)
    assert [at_s for at_s, _ in levels] == sorted(at_s for at_s, _ in levels)
    last_s = max(at_s for at_s, level_s in levels if level_s)
    assert levels[-1] == (3.0, 0.0)
    assert 1.7 < last_s < 2.05


def test_the_server_knows_the_cause_of_a_gap() -> None:
    call = stalled()
    call.recording.note(2.3, "gap", cause="loop blocked", since_s=1.8, until_s=2.2)
    call.recording.note(1.9, "fault", fault="stall", for_s=0.5)

    assert gap_of(call.done()) == Hole(2.02, 400, cause="loop blocked")


def test_else_a_disturbance_on_purpose_is_the_cause() -> None:
    call = stalled()
    call.recording.note(1.9, "fault", fault="stall", for_s=0.3)
    call.recording.note(0.0, "fault", fault="delay", for_s=None)  # an even delay leaves no gap
    call.recording.note(4.0, "gap", cause="producer late", since_s=3.8, until_s=4.0)  # of another time

    assert gap_of(call.done()).cause == "network: stall, on purpose"


def test_else_nobody_knows_it() -> None:
    assert gap_of(stalled().done()).cause is None


def test_of_two_causes_the_nearest_counts() -> None:
    call = stalled()
    call.recording.note(2.6, "gap", cause="producer late", since_s=2.5, until_s=2.6)
    call.recording.note(2.2, "gap", cause="socket backed up", since_s=2.05, until_s=2.2)

    assert gap_of(call.done()).cause == "socket backed up"


@pytest.mark.parametrize("shift_s", [0.0, 5.0])
def test_what_only_the_server_knows_is_joined_on_the_time_line_of_the_router(shift_s: float) -> None:
    seen = stalled().done()
    server = Recording({"seen_by": "server"})
    server.note(2.2 - shift_s, "gap", cause="loop blocked", since_s=1.8 - shift_s, until_s=2.2 - shift_s)
    server.note(2.3 - shift_s, "log", level="WARNING", text="late")
    server.note(5.0 - shift_s, "closed", code=1000, reason="", by="session")
    if shift_s:
        seen.meta["origin_s"], server.meta["origin_s"] = 100.0, 100.0 + shift_s

    both = joined(seen, server)

    assert gap_of(both).cause == "loop blocked"
    assert [event.text for event in Timeline.of(both).events if event.kind == "log"] == ["late"]
    assert report_of(both).closed_by == "simulator"
    assert gap_of(seen).cause is None  # as it was


def test_the_turn_of_the_caller_is_no_gap() -> None:
    call = Call(6.0)
    call.answers(0.4, SPEECH[: 640 * 60])
    asked_s = call.says(1.9, SPEECH[: 640 * 40])
    call.answers(asked_s + 0.4, SPEECH)

    timeline = Timeline.of(call.done())

    assert timeline.gaps == ()
    assert [pause.ms for pause in timeline.pauses] == [1500]


def test_a_server_records_what_a_router_that_obeys_has_played() -> None:
    call = Call(4.0, seen_by="server")
    call.recording.meta["router"] = "wsbridge"  # would know no clear command
    call.answers(1.0, SPEECH, until_s=1.5)
    call.text_from_server(1.5, CLEAR_ACTION)

    timeline = Timeline.of(call.done(by="session"))

    assert timeline.seen_by_server
    assert timeline.router.cleared_frames > 5


def test_the_rules_of_the_simulated_router_are_kept() -> None:
    call = Call(4.0)
    call.recording.meta["router"] = "wsbridge"
    call.answers(1.0, SPEECH, until_s=1.5)
    call.text_from_server(1.5, CLEAR_ACTION)

    assert Timeline.of(call.done()).router.cleared_frames == 0


def test_a_recording_may_begin_in_the_middle() -> None:
    call = Call(40.0)
    call.says(30.5, SPEECH[: 640 * 40], name="late.wav")
    call.answers(32.0, SPEECH)
    recording = call.done()
    recording.entries = [entry for entry in recording.entries if entry.at_s >= 30.01]

    timeline = Timeline.of(recording)
    report = report_of(recording)

    assert timeline.begin_s == pytest.approx(30.02)
    assert len(timeline.heard) == round((40.0 - 30.02) / 0.02 + 1) * 640
    assert report.answers[0].after_s == pytest.approx(32.02 - 31.3, abs=0.021)
    assert report.greeting_s is None
    assert report.gaps == ()


def test_an_empty_recording_is_a_call_of_nothing() -> None:
    report = report_of(Recording())

    assert (report.outcome, report.duration_s, report.frames_heard, report.heard) == ("open", 0.0, 0, b"")


def test_mutes_faults_events_and_keys() -> None:
    timeline = Timeline.of(eventful())

    (mute,) = timeline.mutes
    assert mute.until_s - mute.at_s == pytest.approx(0.5)
    (fault,) = timeline.faults
    assert fault.name == "stall"
    assert fault.until_s - fault.at_s == pytest.approx(0.5)
    titles = [event.title for event in timeline.events]
    assert [event.at_s for event in timeline.events] == sorted(event.at_s for event in timeline.events)
    assert titles[0] == "websocket:connected"
    assert {"fault", "gap", "clear", "websocket:dtmf", "WARNING", "muted", "closed"} <= set(titles)
    assert [key.text for key in report_of(eventful()).keys] == ["5"]


def test_a_server_sees_mutes_in_the_texts() -> None:
    call = Call(4.0, seen_by="server")
    call.text_to_server(1.0, '{"event":"websocket:media:update","method":"update","active":false}')
    call.text_to_server(2.0, '{"event":"websocket:media:update","method":"update","active":true}')
    call.text_to_server(3.0, '{"event":"websocket:media:update","method":"update","active":false}')

    mutes = Timeline.of(call.done()).mutes

    assert [(mute.at_s, mute.until_s) for mute in mutes] == [(1.0, 2.0), (3.0, float("inf"))]


def test_notes_may_be_broken() -> None:
    call = Call(2.0)
    for text in (b"{}", b"no json", b'{"note":"gap","since_s":"x"}', b'{"note":"said"}', b'{"note":"muted"}'):
        call.recording.add(1.0, Kind.NOTE, text)
    call.recording.add(1.0, Kind.TEXT_TO_SERVER, b"\xff\xfe")
    call.recording.add(1.0, Kind.TEXT_FROM_SERVER, b"[" * 100_000)

    assert Timeline.of(call.done()).gaps == ()


@pytest.mark.parametrize(
    ("meta", "kind", "payload", "audio_format"),
    [
        ({"rate_hz": 24_000, "frame_ms": 10}, Kind.NOTE, b"{}", AudioFormat(24_000, 10)),
        ({}, Kind.TEXT_TO_SERVER, b'{"content-type":"audio/l16;rate=8000"}', AudioFormat(8_000)),
        ({}, Kind.AUDIO_FROM_SERVER, bytes(960), AudioFormat(24_000)),
        ({}, Kind.AUDIO_FROM_SERVER, bytes(12), AudioFormat(16_000)),
    ],
)
def test_the_format_is_found(meta: dict[str, object], kind: Kind, payload: bytes, audio_format: AudioFormat) -> None:
    recording = Recording(meta)
    recording.add(0.0, kind, payload)

    assert format_of(recording) == audio_format


def test_readable_json() -> None:
    assert pretty('{"a":1}') == '{\n  "a": 1\n}'
    assert pretty("plain") == "plain"
    assert pretty("[" * 100_000).startswith("[[[")


def test_both_sides_in_one_wav_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    call = Call(4.0)
    call.says(0.5, SPEECH[: 640 * 50])
    call.answers(2.0, SPEECH[: 640 * 50])
    timeline = Timeline.of(call.done())

    write_stereo_wav(tmp_path / "call.wav", timeline)

    with wave.open(io.BytesIO((tmp_path / "call.wav").read_bytes())) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, FORMAT.rate_hz)
        both = array("h", file.readframes(file.getnframes()))
    assert both[::2].tobytes() == timeline.said
    assert both[1::2].tobytes() == timeline.heard
