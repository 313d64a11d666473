"""Our side of a connection: which format holds, what goes out and when, what a clear takes back."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.session import REMAINDER_WAIT_S, Idle, Send, Session, Wait
from vonage_audio_connector_server.core.wire import Connected, TextEvent
from vonage_audio_connector_server.errors import AudioConnectorAudioError
from vonage_audio_connector_server.models import AudioFormat

CLEAR = ['{"event":"websocket:cleared"}', '{"action":"clear"}']
STREAM = array("H", range(1, 65_536)).tobytes()  # no sample like another, and none of them silence
TINY_S = 1e-6


def first(rate_hz: int) -> str:
    return f' {{"content-type":"audio/l16;rate={rate_hz}","event":"websocket:connected"}}'


def sound(samples: int, start: int = 0) -> bytes:
    return STREAM[2 * start : 2 * (start + samples)]


def long_sound(seconds: float, rate_hz: int) -> bytes:
    return sound(1_000) * int(seconds * rate_hz / 1_000)


def make_session(rate_hz: int | None = 8_000, *, lead_s: float = 0.2, assumed: int = 16_000) -> Session:
    session = Session(0.0, lead_s=lead_s, assumed_format=AudioFormat(assumed))
    if rate_hz is not None:
        session.receive_text(first(rate_hz))
    return session


def write(session: Session, now_s: float) -> list[bytes | str]:
    """Write all that is due now."""
    out: list[bytes | str] = []
    while isinstance(action := session.poll(now_s), Send):
        while action.payloads:
            out.append(action.payloads.popleft())
    return out


def write_audio(session: Session, now_s: float) -> list[bytes]:
    return [payload for payload in write(session, now_s) if isinstance(payload, bytes)]


def play(session: Session, from_s: float, to_s: float) -> list[tuple[float, bytes]]:
    """Write everything at the moment when it is due, as a loop does that is never late."""
    out, now_s = [], from_s
    while True:
        out += [(now_s, frame) for frame in write_audio(session, now_s)]
        action = session.poll(now_s)
        if not isinstance(action, Wait) or action.until_s > to_s:
            return out
        assert action.until_s > now_s  # or the writer would spin
        now_s = action.until_s


def wait_until_s(session: Session, now_s: float) -> float:
    action = session.poll(now_s)
    assert isinstance(action, Wait)
    return action.until_s


# The audio format


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_first_message_tells_the_format(rate_hz: int) -> None:
    session = make_session(None)
    assert session.audio_format is None
    event = session.receive_text(first(rate_hz))
    assert isinstance(event, Connected)
    assert session.audio_format == AudioFormat(rate_hz)


@pytest.mark.parametrize(("size_bytes", "rate_hz"), [(320, 8_000), (640, 16_000), (960, 24_000)])
def test_without_a_first_message_the_first_frame_tells_it(size_bytes: int, rate_hz: int) -> None:
    session = make_session(None)
    session.receive_bytes(bytes(size_bytes))
    assert session.audio_format == AudioFormat(rate_hz)
    assert session.odd_frames_in == 0


def test_a_first_message_without_a_rate_leaves_it_to_the_first_frame() -> None:
    session = make_session(None)
    session.receive_text('{"event":"websocket:connected","caller":"Ann"}')
    assert session.audio_format is None
    assert session.custom == {"caller": "Ann"}
    session.receive_bytes(bytes(320))
    assert session.audio_format == AudioFormat(8_000)


@pytest.mark.parametrize("size_bytes", [0, 1, 160, 641, 1_280])
def test_a_frame_of_another_size_tells_nothing(size_bytes: int) -> None:
    session = make_session(None)
    session.receive_bytes(bytes(size_bytes))
    assert session.audio_format is None
    assert session.odd_frames_in == 1


def test_other_texts_tell_nothing() -> None:
    session = make_session(None)
    event = session.receive_text(
        '{"event":"websocket:media:update","active":true,"content-type":"audio/l16;rate=8000"}'
    )
    assert isinstance(event, TextEvent)
    assert session.audio_format is None


def test_after_one_second_the_configured_format_is_taken() -> None:
    session = make_session(None, assumed=24_000)
    session.queue_audio(sound(480), 0.0)
    assert session.poll(0.0) == Wait(1.0)
    assert session.poll(0.999) == Wait(1.0)
    assert session.audio_format is None
    assert write(session, 1.0) == [sound(480)]
    assert session.audio_format == AudioFormat(24_000)


def test_the_second_counts_from_the_accept() -> None:
    session = Session(500.0)
    session.queue_audio(sound(320), 503.0)
    assert write(session, 503.0) == [sound(320)]


def test_assume_format_keeps_a_known_one() -> None:
    assert make_session(8_000, assumed=24_000).assume_format() == AudioFormat(8_000)
    assert make_session(None, assumed=24_000).assume_format() == AudioFormat(24_000)


@pytest.mark.parametrize(
    ("frame_bytes", "frame_ms", "rate_hz"),
    [(320, 20, 8_000), (640, 20, 16_000), (960, 20, 24_000), (160, 10, 8_000), (320, 10, 16_000)],
)
def test_a_caller_who_names_the_frame_need_not_wait(frame_bytes: int, frame_ms: int, rate_hz: int) -> None:
    session = make_session(None)
    session.queue_audio(sound(frame_bytes // 2), 0.0, frame_bytes=frame_bytes, frame_ms=frame_ms)
    assert session.audio_format == AudioFormat(rate_hz)
    assert write(session, 0.0) == [sound(frame_bytes // 2)]


def test_what_was_queued_before_a_named_frame_goes_out_before_it() -> None:
    session = make_session(None)
    session.queue_audio(sound(200), 0.0)
    session.queue_audio(sound(120, 200), 0.0, frame_bytes=320)
    assert write(session, 0.0) == [sound(160), sound(160, 160)]


def test_a_frame_of_the_peer_does_not_overrule_its_first_message() -> None:
    session = make_session(8_000)
    session.receive_bytes(bytes(640))
    assert session.audio_format == AudioFormat(8_000)
    assert session.odd_frames_in == 1


def test_a_late_first_message_overrules_the_first_frame() -> None:
    session = make_session(None)
    session.receive_bytes(bytes(320))
    session.receive_text(first(16_000))
    assert session.audio_format == AudioFormat(16_000)


@pytest.mark.parametrize("by_text", [True, False])
@pytest.mark.parametrize(("settled", "rate_hz"), [("named", 8_000), ("named", 24_000), ("assumed", 8_000)])
def test_a_correction_by_the_peer_cuts_what_is_queued_anew(settled: str, rate_hz: int, by_text: bool) -> None:
    session = make_session(None)
    if settled == "named":
        session.queue_audio(sound(1_000), 0.0, frame_bytes=640)
    else:
        session.queue_audio(sound(1_000), 0.0)
        session.assume_format()
    assert session.audio_format == AudioFormat(16_000)
    if by_text:
        session.receive_text(first(rate_hz))
    else:
        session.receive_bytes(bytes(rate_hz // 25))
    session.queue_audio(sound(100, 1_000), 0.0, end=True)
    frames = write_audio(session, 0.0)
    assert {len(frame) for frame in frames} == {rate_hz // 25}
    assert b"".join(frames).rstrip(b"\0") == sound(1_100)
    assert session.queued_s == 0.0


def test_the_same_format_again_changes_nothing() -> None:
    session = make_session(8_000)
    session.queue_audio(long_sound(1.0, 8_000), 0.0)
    write(session, 0.0)
    session.receive_text(first(8_000))
    assert session.ahead_s(0.0) == pytest.approx(0.3)
    assert write(session, 0.0) == []


def test_a_correction_cuts_unwritten_frames_anew() -> None:
    session = make_session(None)
    session.queue_audio(sound(8_000), 0.0, frame_bytes=640)
    action = session.poll(0.0)
    assert isinstance(action, Send)
    for _ in range(5):
        action.payloads.popleft()  # then the socket is busy
    session.receive_text(first(8_000))
    frames = write_audio(session, 0.0)
    assert len(frames) == 10  # which makes 15 messages, 300 ms
    assert session.frames_out == 15
    frames += [frame for _, frame in play(session, 0.0, 2.0)]
    assert {len(frame) for frame in frames} == {320}
    assert b"".join(frames) == sound(6_400, 1_600)


def test_a_correction_does_not_run_further_ahead() -> None:
    session = make_session(None)
    session.queue_audio(long_sound(5.0, 16_000), 0.0, frame_bytes=640)
    assert len(write(session, 0.0)) == 15
    session.receive_text(first(8_000))
    assert session.ahead_s(0.0) == pytest.approx(0.3)  # the router plays one message a tick, whatever its size
    assert wait_until_s(session, 0.0) == pytest.approx(0.1)
    assert len(write(session, 0.1)) == 5


# Audio before the format is known


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_a_greeting_waits_for_the_format_and_is_whole(rate_hz: int) -> None:
    session = make_session(None)
    for start in range(0, 1_400, 200):
        session.queue_audio(sound(200, start), 0.0, end=start == 1_200)
    assert session.poll(0.5) == Wait(1.0)
    session.receive_text(first(rate_hz))
    frames = [frame for _, frame in play(session, 0.5, 5.0)]
    assert {len(frame) for frame in frames} == {rate_hz // 25}
    whole_bytes = len(frames) * (rate_hz // 25)
    assert whole_bytes - 2_800 < rate_hz // 25
    assert b"".join(frames) == sound(1_400).ljust(whole_bytes, b"\0")


def test_a_greeting_in_frames_of_10_ms_keeps_them() -> None:
    session = make_session(None)
    session.queue_audio(sound(160), 0.0, frame_ms=10)
    session.receive_text(first(8_000))
    assert write(session, 0.0) == [sound(80), sound(80, 80)]


def test_two_greetings_that_end_are_padded_each() -> None:
    session = make_session(None)
    session.queue_audio(sound(100), 0.0, end=True)
    session.queue_audio(sound(100, 100), 0.0, end=True)
    session.receive_text(first(8_000))
    assert write(session, 0.0) == [sound(100).ljust(320, b"\0"), sound(100, 100).ljust(320, b"\0")]


def test_a_greeting_counts_as_queued() -> None:
    session = make_session(None, assumed=8_000)
    session.queue_audio(sound(4_000), 0.0)
    assert session.queued_s == 0.5
    session.receive_text(first(8_000))
    assert session.queued_s == 0.5


def test_a_text_does_not_wait_for_the_format() -> None:
    session = make_session(None)
    session.queue_audio(sound(320), 0.0)
    session.queue_text("{}")
    assert write(session, 0.0) == ["{}"]
    assert session.poll(0.0) == Wait(1.0)


# Frame pairs


@pytest.mark.parametrize(
    ("frame_bytes", "frame_ms", "hint"),
    [
        (320, 20, "is 8000 Hz.*carries 16000 Hz: pass bytes_per_sample=640"),
        (960, 20, "is 24000 Hz.*pass bytes_per_sample=640"),
        (640, 10, "is 32000 Hz.*pass bytes_per_sample=320"),
        (641, 20, "pass bytes_per_sample=640"),
        (2, 20, "pass bytes_per_sample=640"),
        (0, 20, "pass bytes_per_sample=640"),
        (-640, 20, "pass bytes_per_sample=640"),
        (640, 30, "frames_ms=30.*20 or 10"),
        (None, 0, "frames_ms=0.*20 or 10"),
        (None, 40, "frames_ms=40.*20 or 10"),
    ],
)
def test_a_frame_of_another_rate_is_refused_and_nothing_is_queued(
    frame_bytes: int | None, frame_ms: int, hint: str
) -> None:
    session = make_session(16_000)
    session.queue_audio(sound(100), 0.0)
    with pytest.raises(AudioConnectorAudioError, match=hint):
        session.queue_audio(sound(640, 100), 0.1, frame_bytes=frame_bytes, frame_ms=frame_ms, end=True)
    assert session.queued_s == 100 / 16_000
    session.queue_audio(b"", 0.1, end=True)
    assert write(session, 0.1) == [sound(100).ljust(640, b"\0")]


@pytest.mark.parametrize(("frame_bytes", "frame_ms"), [(641, 20), (2, 20), (0, 20), (-640, 20), (161, 10)])
def test_a_frame_of_no_rate_is_refused_before_the_format_is_known(frame_bytes: int, frame_ms: int) -> None:
    session = make_session(None)
    with pytest.raises(AudioConnectorAudioError, match=r"no rate of the Audio Connector.*640 at 16 kHz"):
        session.queue_audio(sound(640), 0.0, frame_bytes=frame_bytes, frame_ms=frame_ms)
    assert session.audio_format is None
    assert session.queued_s == 0.0
    assert session.poll(2.0) == Idle()


@pytest.mark.parametrize("frame_bytes", [None, 320])
def test_frames_of_10_ms_are_cut_and_paced_as_such(frame_bytes: int | None) -> None:
    session = make_session(16_000)
    session.queue_audio(sound(16_000), 0.0, frame_bytes=frame_bytes, frame_ms=10)
    frames = write_audio(session, 0.0)
    assert len(frames) == 30  # lead and batch, 300 ms
    frames += [frame for _, frame in play(session, 0.0, 2.0)]
    assert {len(frame) for frame in frames} == {320}
    assert b"".join(frames) == sound(16_000)


# The remainder


def test_the_remainder_is_kept_for_the_next_call() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0)
    assert write(session, 0.0) == [sound(160)]
    session.queue_audio(sound(120, 200), 0.0)
    assert write(session, 0.0) == [sound(160, 160)]
    assert session.poll(0.0) == Idle()


def test_end_pads_the_last_frame_now() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0, end=True)
    assert write(session, 0.0) == [sound(160), sound(40, 160).ljust(320, b"\0")]


def test_end_at_a_whole_frame_pads_nothing() -> None:
    session = make_session()
    session.queue_audio(sound(320), 0.0, end=True)
    session.queue_audio(b"", 0.0, end=True)
    assert write(session, 0.0) == [sound(160), sound(160, 160)]


def test_a_remainder_behind_queued_audio_goes_out_just_before_its_turn() -> None:
    session = make_session()
    session.queue_audio(sound(8_100), 0.0)  # 50 frames and more: heard until 1.0
    sent = play(session, 0.0, 0.9)
    assert len(sent) == 50
    assert wait_until_s(session, 0.9) == pytest.approx(0.96)
    [(sent_s, frame)] = play(session, 0.9, 2.0)
    assert sent_s == pytest.approx(0.96)  # and so before 1.0
    assert frame == sound(100, 8_000).ljust(320, b"\0")
    assert session.underruns == 0


def test_a_source_that_is_a_little_ahead_is_not_live() -> None:
    session = make_session()
    session.queue_audio(sound(160 * 7 + 40), 0.0)  # heard until 0.14, before the time of a live source is over
    assert len(write(session, 0.0)) == 7
    session.queue_audio(b"", 0.06)
    [(sent_s, _)] = play(session, 0.06, 1.0)
    assert sent_s == pytest.approx(0.1)


def test_the_rest_that_comes_in_time_makes_padding_needless() -> None:
    session = make_session()
    session.queue_audio(sound(8_100), 0.0)
    play(session, 0.0, 0.95)
    session.queue_audio(sound(60, 8_100), 0.95)
    assert write(session, 0.95) == [sound(160, 8_000)]


def test_a_live_source_has_time_to_bring_the_rest() -> None:
    session = make_session()
    session.queue_audio(sound(200), 10.0)
    assert write(session, 10.0) == [sound(160)]
    assert session.poll(10.0) == Wait(10.0 + REMAINDER_WAIT_S)
    assert write(session, 10.0 + REMAINDER_WAIT_S - TINY_S) == []
    assert write(session, 10.0 + REMAINDER_WAIT_S) == [sound(40, 160).ljust(320, b"\0")]


@pytest.mark.parametrize("samples", [30, 80, 100, 250])
def test_a_live_source_in_chunks_of_any_size_is_never_padded(samples: int) -> None:
    session = make_session()
    frames, start = [], 0
    while start + samples < 20_000:
        now_s = start / 8_000 + (0.05 if start % 7 == 3 else 0.0)
        frames += write_audio(session, now_s)
        session.queue_audio(sound(samples, start), now_s)
        frames += write_audio(session, now_s)
        start += samples
    assert b"".join(frames) == sound(start - start % 160)


def test_a_late_loop_is_never_told_to_wait_for_the_past() -> None:
    session = make_session(lead_s=0.04)
    session.queue_audio(sound(700), 0.0)
    sent = play(session, 0.21, 1.0)  # which looks at every wait
    assert sent[-1][0] == pytest.approx(0.25)  # two frames before its turn


def test_empty_calls_do_not_hold_the_remainder_back() -> None:
    session = make_session()
    session.queue_audio(sound(100), 0.0)
    out = []
    for step in range(1, 20):
        session.queue_audio(b"", step * 0.1)
        out += write(session, step * 0.1)
    assert out == [sound(100).ljust(320, b"\0")]


# Polling


def test_nothing_queued_is_idle() -> None:
    assert make_session().poll(0.0) == Idle()
    assert make_session(None).poll(5.0) == Idle()


def test_lead_and_batch_go_out_at_once_and_the_rest_in_time() -> None:
    session = make_session()
    session.queue_audio(long_sound(5.0, 8_000), 0.0)
    assert len(write(session, 0.0)) == 15
    assert wait_until_s(session, 0.0) == pytest.approx(0.1)
    assert write(session, 0.099) == []
    assert len(write(session, 0.1)) == 5
    assert session.ahead_s(0.1) == pytest.approx(0.3)
    assert session.queued_s == pytest.approx(4.6)


def test_a_text_goes_ahead_of_audio_that_is_not_on_its_way() -> None:
    session = make_session()
    session.queue_audio(sound(160 * 20), 0.0)
    session.poll(0.0)
    session.queue_text('"a"')
    session.queue_text('"b"')
    out = write(session, 0.1)
    assert out[15:17] == ['"a"', '"b"']
    assert len(out) == 22


def test_a_new_lead_holds_from_now_on() -> None:
    session = make_session()
    session.queue_audio(long_sound(5.0, 8_000), 0.0)
    assert len(write(session, 0.0)) == 15
    session.lead_s = 1.0
    assert len(write(session, 0.0)) == 40  # 1.1 s together
    session.lead_s = 0.04
    assert session.lead_s == 0.04
    assert wait_until_s(session, 0.0) == pytest.approx(1.06)
    assert len(write(session, 1.06)) == 1


def test_a_new_lead_survives_a_correction_of_the_format() -> None:
    session = make_session(None)
    session.lead_s = 1.0
    session.receive_text(first(8_000))
    assert session.lead_s == 1.0


def test_underruns_count_gaps_and_not_pauses() -> None:
    session = make_session()
    now_s = 0.0
    for silence_s, underruns in [(0.0, 0), (0.019, 0), (0.05, 1), (0.99, 2), (1.01, 2), (60.0, 2)]:
        now_s += 0.02 + silence_s
        session.queue_audio(sound(160), now_s)
        write(session, now_s)
        assert session.underruns == underruns


def test_counters_of_what_arrives() -> None:
    session = make_session(8_000)
    session.receive_text("hello")
    session.receive_bytes(bytes(320))
    session.receive_bytes(bytes(100))
    assert session.texts_in == 2
    assert (session.frames_in, session.bytes_in, session.odd_frames_in) == (2, 420, 1)


def test_counters_of_what_goes_out() -> None:
    session = make_session(8_000)
    session.queue_audio(sound(400), 0.0)
    session.queue_text("{}")
    assert (session.frames_out, session.bytes_out, session.texts_out) == (0, 0, 1)
    write(session, 0.0)
    assert (session.frames_out, session.bytes_out, session.texts_out) == (2, 640, 1)
    assert session.queued_s == 80 / 8_000
    assert session.ahead_s(0.0) == pytest.approx(0.04)
    assert session.ahead_s(9.0) == 0.0


def test_custom_keys_are_kept() -> None:
    session = make_session(None)
    assert session.custom == {}
    session.receive_text('{"event":"websocket:connected","caller":"Ann","content-type":"audio/l16;rate=8000"}')
    assert session.custom == {"caller": "Ann"}


# Clear


def test_clear_drops_all_audio_that_is_not_written_and_says_how_much() -> None:
    session = make_session()
    session.queue_audio(sound(8_100), 0.0)
    action = session.poll(0.0)
    assert isinstance(action, Send)
    for _ in range(3):
        action.payloads.popleft()
    assert session.clear() == pytest.approx((8_100 - 480) / 8_000)
    assert (session.frames_out, session.bytes_out) == (3, 960)
    assert session.dropped_out_s == pytest.approx((8_100 - 480) / 8_000)
    assert session.queued_s == 0.0
    assert write(session, 0.0) == CLEAR
    assert session.poll(0.0) == Idle()


def test_clear_commands_go_between_earlier_texts_and_later_audio() -> None:
    session = make_session()
    session.queue_text('"a"')
    session.queue_audio(long_sound(5.0, 8_000), 0.0)
    session.poll(0.0)
    session.queue_text('"b"')
    session.clear()
    session.queue_audio(sound(320), 0.0)
    session.queue_text('"c"')
    assert write(session, 0.0) == ['"a"', '"b"', *CLEAR, '"c"', sound(160), sound(160, 160)]
    assert session.texts_out == 5


def test_audio_after_a_clear_is_due_at_once_and_whole() -> None:
    session = make_session()
    session.queue_audio(long_sound(60.0, 8_000), 0.0)
    write(session, 0.0)
    session.clear()
    assert session.ahead_s(0.0) == 0.0
    session.queue_audio(sound(8_000), 0.001)
    out = write(session, 0.001)
    assert out[:3] == [*CLEAR, sound(160)]
    frames = [payload for payload in out[2:] if isinstance(payload, bytes)]
    assert len(frames) == 15
    frames += [frame for _, frame in play(session, 0.001, 5.0)]
    assert b"".join(frames) == sound(8_000)


def test_clear_drops_the_remainder() -> None:
    session = make_session()
    session.queue_audio(sound(100), 0.0)
    assert session.clear() == 100 / 8_000
    session.queue_audio(sound(160, 500), 0.0)
    assert write(session, 0.0) == [*CLEAR, sound(160, 500)]


def test_clear_drops_a_greeting() -> None:
    session = make_session(None, assumed=8_000)
    session.queue_audio(sound(400), 0.0)
    assert session.clear() == 0.05
    session.receive_text(first(8_000))
    assert write(session, 2.0) == CLEAR


def test_clear_of_nothing_still_tells_the_router_and_once_is_enough() -> None:
    session = make_session()
    assert session.clear() == 0.0
    assert session.clear() == 0.0  # before the socket took the first commands
    assert session.flushes == 2
    assert write(session, 0.0) == CLEAR
    session.clear()
    assert write(session, 0.0) == CLEAR


def test_what_clears_dropped_adds_up() -> None:
    session = make_session()
    for _ in range(2):
        session.queue_audio(sound(800), 0.0)
        session.clear()
    assert session.dropped_out_s == 0.2


def test_clear_is_no_underrun() -> None:
    session = make_session()
    session.queue_audio(sound(160), 0.0)
    write(session, 0.0)
    session.clear()
    session.queue_audio(sound(160), 0.5)
    write(session, 0.5)
    assert session.underruns == 0


@pytest.mark.parametrize("commands", [[], ['{"event":"clearAudio"}'], ['{"x":1}', '{"x":2}']])
def test_clear_commands_are_those_of_the_configuration(commands: list[str]) -> None:
    session = Session(0.0, clear_commands=commands)
    session.clear()
    assert write(session, 0.0) == commands


def test_a_flush_with_new_audio_clears_first() -> None:
    session = make_session()
    session.queue_audio(sound(1_000), 0.0)
    session.queue_audio(sound(160, 2_000), 0.0, flush=True)
    assert write(session, 0.0) == [*CLEAR, sound(160, 2_000)]
    assert session.dropped_out_s == 1_000 / 8_000
    assert session.flushes == 1


def test_a_flush_with_a_refused_frame_drops_nothing() -> None:
    session = make_session()
    session.queue_audio(sound(320), 0.0)
    with pytest.raises(AudioConnectorAudioError):
        session.queue_audio(sound(320), 0.0, frame_bytes=640, flush=True)
    assert session.flushes == 0
    assert write(session, 0.0) == [sound(160), sound(160, 160)]


def test_drop_audio_keeps_texts_and_says_nothing_to_the_router() -> None:
    session = make_session()
    session.queue_text("{}")
    session.queue_audio(sound(800), 0.0)
    session.poll(0.0)
    assert session.drop_audio() == 0.1
    assert session.flushes == 0
    assert write(session, 1.0) == ["{}"]


# What goes out is what came in


@dataclass
class Listener:
    """Hears what a session sends, and holds it to the rules. Frames are 160 samples."""

    session: Session
    late_s: float = 0.0  # every wake-up comes so much after its time
    now_s: float = 0.0
    queued: int = 0  # samples
    heard: int = 0
    ends: set[int] = field(default_factory=set)
    heard_until_s: float = 0.0

    def queue(self, samples: int, end: bool) -> None:
        self.session.queue_audio(sound(samples, self.queued), self.now_s, end=end)
        self.queued += samples
        if end:
            self.ends.add(self.queued)

    def advance(self, to_s: float) -> None:
        while True:
            for frame in write_audio(self.session, self.now_s):
                self.hear(frame)
            action = self.session.poll(self.now_s)
            if not isinstance(action, Wait) or action.until_s > to_s:
                break
            assert action.until_s > self.now_s
            self.now_s = action.until_s + self.late_s
        self.now_s = max(self.now_s, to_s)

    def hear(self, frame: bytes) -> None:
        assert len(frame) == 320
        assert self.session.audio_format is not None
        content = array("H", frame)
        samples = content.index(0) if 0 in content else 160
        start, stop = self.heard, self.heard + samples
        assert frame == sound(samples, start) + bytes(320 - 2 * samples)  # all of it, in order
        assert not any(start < end < stop for end in self.ends)  # an utterance that ended is padded
        if samples < 160 and stop not in self.ends:  # nobody asked for padding: it fell due
            assert stop == self.queued
            assert self.now_s >= self.heard_until_s - 0.04 - TINY_S
        self.heard = stop
        self.heard_until_s = max(self.heard_until_s, self.now_s) + 0.02
        assert self.heard_until_s - self.now_s <= self.session.lead_s * 1.5 + TINY_S  # lead and batch


leads_s = st.sampled_from([0.04, 0.07, 0.2])
chunks = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.3, 1.5]), st.integers(0, 900), st.booleans()), max_size=10
)


def check(chunks: list[tuple[float, int, bool]], lead_s: float, first_message_at: int = 0, late_s: float = 0.0) -> None:
    session = make_session(None, lead_s=lead_s, assumed=8_000)
    listener = Listener(session, late_s)
    for number, (pause_s, samples, end) in enumerate(chunks):
        if number == first_message_at:
            session.receive_text(first(8_000))
        listener.queue(samples, end)
        listener.advance(listener.now_s + pause_s)
    listener.advance(listener.now_s + 20.0)
    assert listener.heard == listener.queued
    assert session.poll(listener.now_s) == Idle()
    assert session.queued_s == 0.0
    assert session.bytes_out == 320 * session.frames_out


@settings(max_examples=25, deadline=None)
@given(chunks, leads_s)
def test_for_any_chunks_the_input_goes_out_padded_only_where_due(
    chunks: list[tuple[float, int, bool]], lead_s: float
) -> None:
    check(chunks, lead_s)


@settings(max_examples=25, deadline=None)
@given(chunks, leads_s, st.integers(0, 12), st.sampled_from([0.0, 0.003, 0.15]))
@example([(0.0, 321, True), (0.0, 1, False)], 0.2, 2, 0.0)
@example([(0.0, 321, True), (0.0, 1, False)], 0.04, 2, 0.0)
def test_it_does_so_on_a_late_loop_and_before_the_format_is_known_too(
    chunks: list[tuple[float, int, bool]], lead_s: float, first_message_at: int, late_s: float
) -> None:
    check(chunks, lead_s, first_message_at, late_s)


# What was found later


def test_the_rest_of_a_10_ms_stream_is_a_10_ms_frame() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0, frame_ms=10)
    assert [len(frame) for _, frame in play(session, 0.0, 2.0)] == [160, 160, 160]


def test_after_a_blocked_socket_no_more_than_lead_and_batch_goes_out() -> None:
    session = make_session()
    session.queue_audio(long_sound(10.0, 8_000), 0.0)
    assert len(write(session, 0.0)) == 15
    action = session.poll(0.1)
    assert isinstance(action, Send)
    assert len(action.payloads) == 5  # the socket is blocked until 5.0
    assert len(write(session, 5.0)) == 15
    assert session.ahead_s(5.0) == pytest.approx(0.3)


def test_a_frame_of_no_whole_milliseconds_is_refused_before_anything_is_flushed() -> None:
    session = make_session()
    session.queue_audio(long_sound(1.0, 8_000), 0.0)
    with pytest.raises(AudioConnectorAudioError, match=r"frames_ms=20\.0"):
        session.queue_audio(sound(160), 0.0, frame_ms=20.0, flush=True)  # type: ignore[arg-type]
    assert session.flushes == 0


def test_a_later_text_with_a_content_type_is_no_first_message() -> None:
    session = make_session(None)
    session.receive_text(first(16_000))
    custom = session.custom
    event = session.receive_text('{"content-type":"audio/l16;rate=8000","digit":"5"}')
    assert isinstance(event, TextEvent)
    assert session.audio_format == AudioFormat(16_000)
    assert session.custom is custom
