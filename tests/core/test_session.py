"""What a session knows of its connection: which format holds, audio before that, frames as callers name them."""

from __future__ import annotations

import pytest
from driving import first, long_sound, make_session, play, sound, stuck, wait_until_s, write, write_audio

from vonage_audio_connector_server.core.events import DTMF, Connected, MediaUpdate, UnknownEvent
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.errors import AudioConnectorAudioError
from vonage_audio_connector_server.formats import AudioFormat

# The audio format


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_first_message_tells_the_format(rate_hz: int) -> None:
    session = make_session(None)
    assert session.audio_format is None
    assert session.out.frame_bytes == 0
    event = session.text_received(first(rate_hz))
    assert isinstance(event, Connected)
    assert session.audio_format == AudioFormat(rate_hz)
    assert session.out.frame_bytes == rate_hz // 25


@pytest.mark.parametrize(("size_bytes", "rate_hz"), [(320, 8_000), (640, 16_000), (960, 24_000)])
def test_without_a_first_message_the_first_frame_tells_it(size_bytes: int, rate_hz: int) -> None:
    session = make_session(None)
    session.audio_received(bytes(size_bytes))
    assert session.audio_format == AudioFormat(rate_hz)
    assert session.odd_frames_in == 0


def test_a_first_message_without_a_rate_leaves_it_to_the_first_frame() -> None:
    session = make_session(None)
    session.text_received('{"event":"websocket:connected","caller":"Ann"}')
    assert session.audio_format is None
    assert session.custom == {"caller": "Ann"}
    session.audio_received(bytes(320))
    assert session.audio_format == AudioFormat(8_000)


@pytest.mark.parametrize("size_bytes", [0, 1, 160, 641, 1_280])
def test_a_frame_of_another_size_tells_nothing(size_bytes: int) -> None:
    session = make_session(None)
    session.audio_received(bytes(size_bytes))
    assert session.audio_format is None
    assert session.odd_frames_in == 1


def test_other_texts_tell_nothing() -> None:
    session = make_session(None)
    event = session.text_received(
        '{"event":"websocket:media:update","active":true,"content-type":"audio/l16;rate=8000"}'
    )
    assert isinstance(event, MediaUpdate)
    assert session.audio_format is None


def test_after_one_second_the_configured_format_is_taken() -> None:
    session = make_session(None, assumed=24_000)
    session.queue_audio(sound(480), 0.0)
    assert wait_until_s(session, 0.0) == 1.0
    assert wait_until_s(session, 0.999) == 1.0
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
    session.queue_audio(sound(rate_hz // 50), 0.0, frame_bytes=frame_bytes, frame_ms=frame_ms)
    assert session.audio_format == AudioFormat(rate_hz)
    assert write(session, 0.0) == [sound(rate_hz // 50)]


def test_what_was_queued_before_a_named_frame_goes_out_before_it() -> None:
    session = make_session(None)
    session.queue_audio(sound(200), 0.0)
    session.queue_audio(sound(120, 200), 0.0, frame_bytes=320)
    assert write(session, 0.0) == [sound(160), sound(160, 160)]


def test_a_frame_of_the_peer_does_not_overrule_its_first_message() -> None:
    session = make_session(8_000)
    session.audio_received(bytes(640))
    assert session.audio_format == AudioFormat(8_000)
    assert session.odd_frames_in == 1


def test_a_late_first_message_overrules_the_first_frame() -> None:
    session = make_session(None)
    session.audio_received(bytes(320))
    session.text_received(first(16_000))
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
        session.text_received(first(rate_hz))
    else:
        session.audio_received(bytes(rate_hz // 25))
    session.queue_audio(sound(100, 1_000), 0.0, end=True)
    frames = write_audio(session, 0.0)
    assert {len(frame) for frame in frames} == {rate_hz // 25}
    assert b"".join(frames).rstrip(b"\0") == sound(1_100)
    assert session.queued_s == 0.0


def test_the_same_format_again_changes_nothing() -> None:
    session = make_session(8_000)
    session.queue_audio(long_sound(1.0, 8_000), 0.0)
    write(session, 0.0)
    session.text_received(first(8_000))
    assert session.out.ahead_s(0.0) == pytest.approx(0.3)
    assert write(session, 0.0) == []


def test_a_correction_cuts_unwritten_frames_anew() -> None:
    session = make_session(None)
    session.queue_audio(sound(8_000), 0.0, frame_bytes=640)
    assert len(stuck(session, 0.0, 5)) == 5  # then the socket is busy
    session.text_received(first(8_000))
    assert (session.out.frames_out, session.out.bytes_out) == (5, 5 * 640)
    frames = write_audio(session, 0.0)
    assert len(frames) == 15
    assert (session.out.frames_out, session.out.bytes_out) == (20, 5 * 640 + 15 * 320)
    frames += [frame for _, frame in play(session, 0.0, 2.0)]
    assert {len(frame) for frame in frames} == {320}
    assert b"".join(frames) == sound(6_400, 1_600)


def test_a_correction_starts_a_new_schedule() -> None:
    session = make_session(None)
    session.queue_audio(long_sound(5.0, 16_000), 0.0, frame_bytes=640)
    assert len(write(session, 0.0)) == 15
    session.text_received(first(8_000))
    assert session.out.ahead_s(0.0) == 0.0
    assert len(write(session, 0.0)) == 15  # due at once
    assert session.out.ahead_s(0.0) == pytest.approx(0.3)
    assert wait_until_s(session, 0.0) == pytest.approx(0.1)
    assert len(write(session, 0.1)) == 5
    assert session.out.gaps.noted == []


@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
def test_what_went_out_before_a_correction_counts_as_heard_and_the_rest_at_the_new_rate(rate_hz: int) -> None:
    session = make_session(None)
    session.queue_audio(sound(16_000), 0.0, frame_bytes=640)
    sent = 320 * len(play(session, 0.0, 0.5))
    assert sent >= 0.7 * 16_000
    session.text_received(first(rate_hz))
    counts = []
    for step in range(50, 301):
        write(session, step / 100)
        counts.append(session.out.ledger.heard(session.out.heard_wire(step / 100)))
    assert counts[:11] == list(range(sent, sent + rate_hz // 10 + 1, rate_hz // 100))
    assert counts == sorted(counts)
    assert counts[-1] == 16_000


def test_what_a_socket_has_not_taken_when_a_correction_comes_is_not_heard() -> None:
    session = make_session(None)
    session.queue_audio(sound(8_000), 0.0, frame_bytes=640)
    assert len(stuck(session, 0.0, 5)) == 5
    session.text_received(first(8_000))
    assert session.heard_s(0.0) <= 5 * 320 / 8_000
    assert session.queued_s == (8_000 - 5 * 320) / 8_000


def test_a_correction_leaves_nothing_to_rewind() -> None:
    session = make_session(None)
    session.queue_audio(sound(16_000), 0.0, frame_bytes=640)
    sent = 320 * len(play(session, 0.0, 0.5))
    session.text_received(first(8_000))
    session.pause(0.5)
    session.resume(1.0, 0.5)
    assert write_audio(session, 0.5)[0] == sound(160, sent)


# Audio before the format is known


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_a_greeting_waits_for_the_format_and_is_whole(rate_hz: int) -> None:
    session = make_session(None)
    for start in range(0, 1_400, 200):
        session.queue_audio(sound(200, start), 0.0, end=start == 1_200)
    assert wait_until_s(session, 0.5) == 1.0
    session.text_received(first(rate_hz))
    frames = [frame for _, frame in play(session, 0.5, 5.0)]
    assert {len(frame) for frame in frames} == {rate_hz // 25}
    whole_bytes = len(frames) * (rate_hz // 25)
    assert whole_bytes - 2_800 < rate_hz // 25
    assert b"".join(frames) == sound(1_400).ljust(whole_bytes, b"\0")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("pieces", [1, 3, 50])
def test_a_greeting_in_whole_frames_starts_at_once_with_the_first(rate_hz: int, pieces: int) -> None:
    session = make_session(None)
    frame = rate_hz // 50
    frames = [sound(frame, start) for start in range(0, pieces * frame, frame)]
    for pcm in frames:
        session.queue_audio(pcm, 0.0)
    assert wait_until_s(session, 0.4) == 1.0
    session.text_received(first(rate_hz))
    assert session.out.outbox == []
    session.due_s(0.5)
    assert session.out.outbox == frames[:15]  # lead and batch
    assert [frame for _, frame in play(session, 0.5, 5.0)] == frames
    assert session.heard_s(5.0) == pieces * 0.02
    assert session.out.gaps.noted == []


@pytest.mark.parametrize("by_text", [True, False])
def test_so_it_does_whatever_tells_the_format(by_text: bool) -> None:
    session = make_session(None)
    for start in range(0, 4_800, 480):
        session.queue_audio(sound(480, start), 0.0)
    if by_text:
        session.text_received(first(24_000))
    else:
        session.audio_received(bytes(960))
    assert session.out.has_more
    assert write(session, 0.1) == [sound(480, start) for start in range(0, 4_800, 480)]
    assert session.out.gaps.noted == []


def test_a_greeting_in_frames_of_10_ms_goes_out_in_frames_of_20() -> None:
    session = make_session(None)
    for start in range(0, 320, 80):
        session.queue_audio(sound(80, start), 0.0, frame_ms=10)
    session.text_received(first(8_000))
    assert write(session, 0.0) == [sound(160), sound(160, 160)]


def test_two_greetings_that_end_are_padded_each() -> None:
    session = make_session(None)
    session.queue_audio(sound(100), 0.0, end=True)
    session.queue_audio(sound(100, 100), 0.0, end=True)
    session.text_received(first(8_000))
    assert write(session, 0.0) == [sound(100).ljust(320, b"\0"), sound(100, 100).ljust(320, b"\0")]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_ends_within_a_greeting_stay_where_they_are(rate_hz: int) -> None:
    session = make_session(None)
    frame = rate_hz // 50
    pieces = [(100, False), (frame, True), (1, True), (frame - 1, False), (1, False), (0, True), (7, False)]
    start, out, piece = 0, b"", b""
    for samples, end in pieces:
        session.queue_audio(sound(samples, start), 0.0, end=end)
        piece += sound(samples, start)
        start += samples
        if end:
            out += piece + bytes(-len(piece) % (2 * frame))
            piece = b""
    session.text_received(first(rate_hz))
    frames = [frame for _, frame in play(session, 0.1, 5.0)]
    assert b"".join(frames) == out + piece.ljust(2 * frame, b"\0")
    assert session.heard_s(5.0) == start / rate_hz


def test_a_greeting_counts_as_queued() -> None:
    session = make_session(None, assumed=8_000)
    session.queue_audio(sound(4_000), 0.0)
    assert session.queued_s == 0.5
    session.text_received(first(8_000))
    assert session.queued_s == 0.5


def test_a_text_does_not_wait_for_the_format() -> None:
    session = make_session(None)
    session.queue_audio(sound(320), 0.0)
    session.queue_text("{}")
    assert write(session, 0.0) == ["{}"]
    assert wait_until_s(session, 0.0) == 1.0


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
    assert wait_until_s(session, 2.0) is None


@pytest.mark.parametrize("frame_bytes", [None, 320])
def test_frames_of_10_ms_go_out_in_frames_of_20(frame_bytes: int | None) -> None:
    session = make_session(16_000)
    for start in range(0, 16_000, 160):
        session.queue_audio(sound(160, start), 0.0, frame_bytes=frame_bytes, frame_ms=10)
    frames = write_audio(session, 0.0)
    assert len(frames) == 15  # lead and batch, 300 ms
    frames += [frame for _, frame in play(session, 0.0, 2.0)]
    assert {len(frame) for frame in frames} == {640}
    assert b"".join(frames) == sound(16_000)


# Counters


def test_counters_of_what_arrives() -> None:
    session = make_session(8_000)
    session.text_received("hello")
    session.audio_received(bytes(320))
    session.audio_received(bytes(100))
    assert session.texts_in == 2
    assert (session.frames_in, session.bytes_in, session.odd_frames_in) == (2, 420, 1)


@pytest.mark.parametrize(("sizes_bytes", "odd"), [((320, 320, 320), 3), ((640, 320, 320), 2), ((320, 640, 320), 2)])
def test_frames_of_10_ms_that_come_in_are_odd_ones_and_change_nothing(sizes_bytes: tuple[int, ...], odd: int) -> None:
    session = make_session(16_000)
    assert not any(session.audio_received(bytes(size_bytes)) for size_bytes in sizes_bytes)
    assert session.audio_format == AudioFormat(16_000)
    assert (session.frames_in, session.bytes_in, session.odd_frames_in) == (3, sum(sizes_bytes), odd)
    session.queue_audio(sound(320), 0.0)
    assert write(session, 0.0) == [sound(320)]


def test_after_a_correction_frames_of_the_size_before_are_odd() -> None:
    session = make_session(None)
    assert session.audio_received(bytes(320))  # it tells the format
    assert not session.audio_received(bytes(320))
    session.text_received(first(16_000))
    assert not session.audio_received(bytes(320))
    assert not session.audio_received(bytes(640))
    assert session.audio_format == AudioFormat(16_000)
    assert (session.frames_in, session.odd_frames_in) == (4, 1)


def test_counters_of_what_goes_out() -> None:
    session = make_session(8_000)
    session.queue_audio(sound(400), 0.0)
    session.queue_text("{}")
    assert (session.out.frames_out, session.out.bytes_out, session.texts_out) == (0, 0, 1)
    write(session, 0.0)
    assert (session.out.frames_out, session.out.bytes_out, session.texts_out) == (2, 640, 1)
    assert session.queued_s == 80 / 8_000
    assert session.out.ahead_s(0.0) == pytest.approx(0.04)
    assert session.out.ahead_s(9.0) == 0.0


def test_custom_keys_are_kept() -> None:
    session = make_session(None)
    assert session.custom == {}
    session.text_received('{"event":"websocket:connected","caller":"Ann","content-type":"audio/l16;rate=8000"}')
    assert session.custom == {"caller": "Ann"}


# What was found later


def test_a_frame_of_no_whole_milliseconds_is_refused_before_anything_is_flushed() -> None:
    session = make_session()
    session.queue_audio(long_sound(1.0, 8_000), 0.0)
    with pytest.raises(AudioConnectorAudioError, match=r"frames_ms=20\.0"):
        session.queue_audio(sound(160), 0.0, frame_ms=20.0, flush=True)  # type: ignore[arg-type]
    assert session.flushes == 0


def test_a_later_text_with_a_content_type_is_no_first_message() -> None:
    session = make_session(None)
    session.text_received(first(16_000))
    custom = session.custom
    text = '{"content-type":"audio/l16;rate=8000","x":"5"}'
    assert session.text_received(text) == UnknownEvent(text, {"content-type": "audio/l16;rate=8000", "x": "5"}, None)
    pressed = '{"content-type":"audio/l16;rate=8000","digit":"5"}'
    assert session.text_received(pressed) == DTMF(pressed, "5", None)
    assert session.audio_format == AudioFormat(16_000)
    assert session.custom is custom
