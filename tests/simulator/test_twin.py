"""The router's end of a call without I/O: what goes out when, and what comes of what comes in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_audio_connector_server.core.json_audio import JSONTransport
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.recording import Kind
from vonage_audio_connector_server.simulator.form import AudioForm
from vonage_audio_connector_server.simulator.rules import LENIENT, STRICT, WSBRIDGE, Rules, rules_of
from vonage_audio_connector_server.simulator.twin import Twin

ACCEPT_S = 100.0
FORMAT = AudioFormat(8_000)
FRAME = bytes(range(160)) * 2
SILENCE = bytes(320)
CLEAR_EVENT, CLEAR_ACTION, CLEAR_AUDIO = '{"event":"websocket:cleared"}', '{"action":"clear"}', '{"event":"clearAudio"}'

Tone = Callable[..., bytes]


def twin(**options: Any) -> Twin:
    return Twin(FORMAT, ACCEPT_S, **options)


def run(one: Twin, from_s: float, to_s: float, step_s: float = 0.02) -> list[tuple[float, bytes | str]]:
    """All that goes out, with when: asked at every step, as by a timer that is never late."""
    out: list[tuple[float, bytes | str]] = []
    for number in range(round((to_s - from_s) / step_s) + 1):
        at_s = from_s + number * step_s
        out += [(round(at_s, 3), message) for message in one.due(ACCEPT_S + at_s)]
    return out


def texts(out: list[tuple[float, bytes | str]]) -> list[tuple[float, Any]]:
    return [(at_s, json.loads(message)) for at_s, message in out if isinstance(message, str)]


def test_the_first_text_comes_50_ms_after_the_accept_and_frames_behind_it_on_their_ticks() -> None:
    one = twin(custom={"caller": "Ann"})
    assert one.next_s == ACCEPT_S + 0.05

    out = run(one, 0.0, 0.1, 0.01)

    assert out[0] == (0.05, ' {"content-type":"audio/l16;rate=8000","event":"websocket:connected","caller":"Ann"}')
    assert out[1:] == [(0.06, SILENCE), (0.08, SILENCE), (0.1, SILENCE)]
    assert one.next_s == pytest.approx(ACCEPT_S + 0.12)


def test_the_goodbye_goes_out_behind_frames_that_are_late() -> None:
    one = twin()
    run(one, 0.0, 0.1, 0.01)
    one.goodbye()
    assert one.next_s == ACCEPT_S

    *frames, last = one.due(ACCEPT_S + 0.2)

    assert frames == [SILENCE] * 5
    assert json.loads(str(last))["event"] == "websocket:disconnected"
    assert one.recording.entries[-1].payload == str(last).encode()
    assert one.due(ACCEPT_S + 0.2) == []


def test_nothing_goes_out_before_the_first_text_whatever_is_said_or_asked() -> None:
    one = twin(first_s=0.5)
    one.say(FRAME, ACCEPT_S)
    one.press("5")
    one.message_received(CLEAR_EVENT, ACCEPT_S + 0.1)

    assert one.due(ACCEPT_S + 0.49) == []
    out = one.due(ACCEPT_S + 0.5)

    assert [type(message) for message in out] == [str, str, str, bytes]
    assert json.loads(str(out[0]))["event"] == "websocket:connected"


def test_a_late_timer_sends_what_was_due_and_loses_no_time() -> None:
    one = twin(first_s=0.0)
    one.due(ACCEPT_S)

    assert len(one.due(ACCEPT_S + 0.1)) == 5
    assert one.lateness_s == pytest.approx(0.08)
    assert one.next_s == pytest.approx(ACCEPT_S + 0.12)


def test_what_is_said_goes_out_frame_by_frame_and_then_silence(tone: Tone) -> None:
    one = twin(first_s=0.0)
    said = one.say(tone(0.05, 8_000), ACCEPT_S)

    frames = [message for _, message in run(one, 0.0, 0.1) if isinstance(message, bytes)]

    assert b"".join(frames) == tone(0.05, 8_000) + bytes(160) + SILENCE * 3
    assert said.start_s == 0.0
    assert said.end_s == pytest.approx(0.06)
    assert [data["until_s"] for _, data in one.recording.notes("said")] == [0.06]


def test_an_interruption_is_said_at_once(tone: Tone) -> None:
    one = twin(first_s=0.0)
    first = one.say(tone(1.0, 8_000), ACCEPT_S)
    run(one, 0.0, 0.04)
    second = one.say(FRAME * 2, ACCEPT_S + 0.05, interrupts=True)

    assert [message for _, message in run(one, 0.06, 0.1)] == [FRAME, FRAME, SILENCE]
    assert first.end_s == second.start_s == pytest.approx(0.06)


def test_silence_and_mute_may_be_no_frames_at_all() -> None:
    one = twin(first_s=0.0, silence="none")
    assert len(one.due(ACCEPT_S)) == 1  # the first text alone
    assert one.next_s == math.inf
    one.say(FRAME * 3, ACCEPT_S)
    assert len(run(one, 0.0, 0.02)) == 1
    one.mute(ACCEPT_S + 0.03)

    muted = run(one, 0.04, 0.06)
    one.unmute(ACCEPT_S + 0.07)
    rest = run(one, 0.08, 0.2)

    assert [data["active"] for _, data in texts(muted + rest)] == [False, True]
    assert [message for _, message in muted + rest if isinstance(message, bytes)] == []  # it was said while muted


def test_what_is_said_after_a_long_silence_without_frames_goes_out_frame_by_frame() -> None:
    one = twin(first_s=0.0, silence="none")
    one.due(ACCEPT_S)
    one.say(FRAME * 3, ACCEPT_S + 5.001)

    assert [at_s for at_s, _ in run(one, 5.0, 5.2)] == [5.02, 5.04, 5.06]
    assert one.next_s == math.inf


def test_a_mute_with_frames_sends_silence(tone: Tone) -> None:
    one = twin(first_s=0.0)
    one.due(ACCEPT_S)
    one.say(tone(1.0, 8_000), ACCEPT_S)
    one.mute(ACCEPT_S, frames=True)

    frames = [message for _, message in run(one, 0.02, 0.1) if isinstance(message, bytes)]

    assert frames == [SILENCE] * 5


@pytest.mark.parametrize(
    ("rules", "first", "key"),
    [
        (LENIENT, {"content-type", "event"}, {"event": "websocket:dtmf", "digit": "5", "duration": 260}),
        (STRICT, {"content-type", "event"}, {"event": "websocket:dtmf", "digit": "5", "duration": 260}),
        (WSBRIDGE, {"content-type"}, {"digit": "5", "duration": 260}),
    ],
)
def test_what_the_texts_of_a_router_look_like(rules: Rules, first: set[str], key: dict[str, Any]) -> None:
    one = twin(first_s=0.0, rules=rules)
    one.press("5")

    out = one.due(ACCEPT_S)

    assert all(str(message).startswith(" {") for message in out[:2])
    assert set(json.loads(str(out[0]))) == first
    assert json.loads(str(out[1])) == key


@pytest.mark.parametrize(
    ("rules", "obeyed", "acknowledged"),
    [
        (LENIENT, {CLEAR_EVENT, CLEAR_ACTION, CLEAR_AUDIO}, True),
        (STRICT, {CLEAR_EVENT}, False),
        (WSBRIDGE, set(), False),
    ],
)
@pytest.mark.parametrize("command", [CLEAR_EVENT, CLEAR_ACTION, CLEAR_AUDIO])
def test_the_clear_forms_that_a_router_obeys(rules: Rules, obeyed: set[str], acknowledged: bool, command: str) -> None:
    one = twin(first_s=0.0, rules=rules)
    one.due(ACCEPT_S)
    for _ in range(10):
        one.message_received(FRAME, ACCEPT_S + 0.01)
    one.message_received(command, ACCEPT_S + 0.05)

    answers = texts(run(one, 0.06, 0.3))

    heard = sum(run.ticks for run in one.router.runs)
    assert heard == (2 if command in obeyed else 10)
    assert answers == ([(0.06, {"event": "websocket:cleared"})] if command in obeyed and acknowledged else [])


@pytest.mark.parametrize(("rules", "answers"), [(LENIENT, 1), (STRICT, 0), (WSBRIDGE, 0)])
def test_notify_is_answered_once_the_audio_before_it_was_played(rules: Rules, answers: int) -> None:
    one = twin(first_s=0.0, rules=rules)
    one.due(ACCEPT_S)
    for _ in range(3):
        one.message_received(FRAME, ACCEPT_S + 0.01)
    one.message_received('{"action":"notify","payload":{"n":1}}', ACCEPT_S + 0.01)

    told = texts(run(one, 0.02, 0.2))

    assert told == [(0.06, {"event": "websocket:notify", "payload": {"n": 1}})][:answers]


@pytest.mark.parametrize("size", [318, 322, 640, 2])
def test_a_strict_router_breaks_off_at_a_wrong_frame_and_the_others_go_on(size: int) -> None:
    strict, lenient = twin(first_s=0.0, rules=STRICT), twin(first_s=0.0)
    for one in (strict, lenient):
        one.message_received(FRAME, ACCEPT_S + 0.01)
        one.message_received(bytes(size), ACCEPT_S + 0.01)

    assert strict.router.violation == f"unexpected frame size {size}, when required 320"
    assert lenient.router.violation is None
    assert lenient.router.wrong_size == 1


def test_a_message_in_fragments_is_dropped_but_by_a_lenient_router() -> None:
    for rules, received in ((STRICT, 0), (WSBRIDGE, 0), (LENIENT, 1)):
        one = twin(first_s=0.0, rules=rules)
        one.message_received(FRAME, ACCEPT_S, is_fragmented=True)
        assert (one.router.frames_received, one.fragmented) == (received, 1)


def test_over_json_both_ways_carry_the_agreed_keys() -> None:
    one = twin(first_s=0.0, form=AudioForm(JSONTransport("question", "answer")))
    one.say(FRAME, ACCEPT_S)

    out = texts([(0.0, message) for message in one.due(ACCEPT_S)])
    one.message_received(JSONTransport("x", "answer").encode(FRAME), ACCEPT_S + 0.01)
    one.message_received(FRAME, ACCEPT_S + 0.01)

    assert set(out[1][1]) == {"question"}
    assert one.router.frames_received == 1
    assert one.wrong_transport == 1


def test_the_microphone_is_asked_where_nothing_else_is_said() -> None:
    one = twin(first_s=0.0)
    heard = iter([FRAME, None, FRAME])
    one.microphone = lambda: next(heard, None)
    one.say(SILENCE[:-2] + b"\x01\x00", ACCEPT_S)

    frames = [message for _, message in run(one, 0.0, 0.08) if isinstance(message, bytes)]

    assert frames == [SILENCE[:-2] + b"\x01\x00", FRAME, SILENCE, FRAME, SILENCE]


def test_an_unknown_router_is_named() -> None:
    with pytest.raises(ValueError, match="router must be one of strict, wsbridge, lenient, not 'kind'"):
        rules_of("kind")


@given(
    st.lists(
        st.tuples(st.floats(0.0, 0.2), st.sampled_from(["frame", "loud", "clear", "say", "mute", "unmute"])),
        max_size=40,
    )
)
def test_whatever_happens_frames_are_sent_once_a_tick_and_what_is_loud_is_what_is_heard(
    happens: list[tuple[float, str]],
) -> None:
    one = twin(first_s=0.0)
    loud = (b"\x00\x40" * 80 + b"\x00\xc0" * 80)[:320]
    now_s = ACCEPT_S
    for after_s, what in happens:
        now_s += after_s
        one.due(now_s)
        match what:
            case "frame":
                one.message_received(SILENCE, now_s)
            case "loud":
                one.message_received(loud, now_s)
            case "clear":
                one.message_received(CLEAR_EVENT, now_s)
            case "say":
                one.say(loud * 3, now_s)
            case "mute":
                one.mute(now_s, frames=True)
            case "unmute":
                one.unmute(now_s)
    now_s += 2.0
    one.due(now_s)

    sent = [entry for entry in one.recording.entries if entry.kind is Kind.AUDIO_TO_SERVER]
    assert len(sent) == math.floor((now_s - ACCEPT_S) / 0.02 + 1e-6) + 1
    heard = bytes(one.router.heard)
    loud_ticks = [tick for tick in range(len(heard) // 320) if heard[tick * 320 : tick * 320 + 320] == loud]
    assert [tick for start, end in one.loud for tick in range(start, end)] == loud_ticks
