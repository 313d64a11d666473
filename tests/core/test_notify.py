"""Notify: the text stands right behind its audio, whatever happens to that; and a confirmed mark is acknowledged."""

from __future__ import annotations

import pytest
from driving import CLEAR, Call, fill, first, make_session, play_all, sizes, sound, stuck, write

from vonage_audio_connector_server.core.events import Notified
from vonage_audio_connector_server.core.ledger import Mark
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.errors import AudioConnectorJSONError


def note(name: str) -> str:
    return '{"action":"notify","payload":"' + name + '"}'


def asked(number: int) -> str:
    return '{"action":"notify","payload":{"vonage_audio_connector_server.playback":' + str(number) + "}}"


def answer(number: object) -> str:
    return '{"event":"websocket:notify","payload":{"vonage_audio_connector_server.playback":' + str(number) + "}}"


def played(session: Session, from_s: float = 0.0, to_s: float = 30.0) -> list[int | str]:
    return sizes([payload for _, payload in play_all(session, from_s, to_s)])


def acknowledged(session: Session, mark: Mark) -> bool | None:
    """Whether the router has acknowledged it; None: it is not asked."""
    is_awaited = session.is_awaited(mark)
    if mark in session.acknowledged:
        assert not is_awaited
        return True
    return False if is_awaited else None


# The place among the frames


@pytest.mark.parametrize("samples", [160, 1_600, 16_000])
def test_it_goes_out_right_behind_its_audio(samples: int) -> None:
    session = make_session()
    session.queue_audio(sound(samples), 0.0)
    session.notify("a")
    session.notify("b")
    session.queue_audio(sound(samples), 0.0)
    session.notify("c")
    frames = [320] * (samples // 160)
    assert played(session) == [*frames, note("a"), note("b"), *frames, note("c")]
    assert session.texts_out == 3


def test_it_waits_for_the_rest_of_a_frame() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0)
    session.notify("a")
    assert sizes(write(session, 0.0)) == [320]
    session.queue_audio(sound(200, 200), 0.1)
    assert sizes(write(session, 0.1)) == [320, note("a")]


def test_and_for_its_padding_where_nobody_brings_the_rest() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0)
    session.notify("a")
    assert played(session) == [320, 320, note("a")]


def test_behind_an_utterance_that_ended_and_before_the_next() -> None:
    session = make_session()
    for name in "abc":
        session.queue_audio(sound(200), 0.0, end=True)
        session.notify(name)
    assert played(session) == [320, 320, note("a"), 320, 320, note("b"), 320, 320, note("c")]


def test_without_audio_it_goes_out_at_once() -> None:
    session = make_session()
    session.notify("a")
    assert write(session, 0.0) == [note("a")]
    session.queue_audio(sound(160), 0.0)
    write(session, 0.0)
    session.notify("b")  # its audio is out, and not heard yet
    assert write(session, 0.0) == [note("b")]


def test_a_text_overtakes_it() -> None:
    session = make_session()
    session.queue_audio(sound(1_600), 0.0)
    session.notify("a")
    session.queue_text("{}")
    assert played(session) == ["{}", *[320] * 10, note("a")]


def test_behind_a_greeting_that_waits_for_the_format() -> None:
    session = make_session(None)
    session.queue_audio(sound(200), 0.0, end=True)
    session.notify("a")
    mark = session.queue_audio(sound(160, 200), 0.0)
    session.queue_audio(sound(160, 360), 0.0)
    session.confirm(mark)
    session.notify("b")
    assert write(session, 0.0) == []
    session.text_received(first(8_000))
    assert sizes(write(session, 0.0)) == [320, 320, note("a"), 320, asked(1), 320, note("b")]


def test_a_payload_that_is_no_json_is_refused_and_nothing_is_sent() -> None:
    session = make_session()
    with pytest.raises(AudioConnectorJSONError, match="notify takes"):
        session.notify({1, 2})
    assert session.texts_out == 0
    assert write(session, 0.0) == []


# When audio is taken out


def test_a_clear_takes_it_along() -> None:
    session = make_session()
    session.queue_audio(sound(8_000), 0.0)
    session.notify("a")
    session.clear(0.0)
    session.notify("b")
    assert played(session) == [*CLEAR, note("b")]


def test_a_clear_takes_it_along_where_it_is_due_and_not_written() -> None:
    session = make_session()
    session.queue_audio(sound(320), 0.0)
    session.notify("a")
    fill(session, 0.0)
    assert session.out.outbox[-1] == note("a")
    session.queue_text("{}")
    session.clear(0.0)
    assert write(session, 0.0) == ["{}", *CLEAR]


def test_a_clear_takes_it_along_where_it_waits_for_the_format() -> None:
    session = make_session(None)
    session.queue_audio(sound(320), 0.0)
    session.notify("a")
    session.clear(0.0)
    session.queue_audio(sound(320), 0.0)
    session.notify("b")
    session.text_received(first(8_000))
    assert played(session) == [*CLEAR, 320, 320, note("b")]


def test_a_correction_of_the_format_leaves_it_behind_its_audio() -> None:
    session = make_session(None)
    session.queue_audio(sound(640), 0.0, frame_bytes=640)
    session.notify("a")
    session.queue_audio(sound(640), 0.0)
    session.notify("b")
    fill(session, 0.0)  # all of it is due, and nothing is written
    session.text_received(first(8_000))
    assert sizes(write(session, 0.0)) == [*[320] * 4, note("a"), *[320] * 4, note("b")]


# A pause


def test_a_pause_takes_it_back_with_its_audio() -> None:
    session = make_session()
    session.queue_audio(sound(1_600), 0.0)
    session.notify("a")
    session.queue_audio(sound(800), 0.0)
    session.notify("b")
    session.queue_audio(sound(160), 0.0)
    assert sizes(write(session, 0.0))[10] == note("a")  # all is sent
    session.pause(0.205)  # the router is to forget `b`; `a` was played
    assert write(session, 0.205) == CLEAR
    session.notify("c")
    session.resume(0.0, 1.0)
    assert played(session, 1.0) == [*[320] * 5, note("b"), 320, note("c")]


def test_what_is_due_and_not_written_does_not_overtake_its_audio() -> None:
    session = make_session()
    session.queue_audio(sound(480), 0.0)
    session.notify("a")
    assert stuck(session, 0.0, 1) == [sound(160)]
    session.pause(0.0)
    assert write(session, 0.0) == CLEAR
    session.resume(0.0, 0.0)
    assert played(session) == [320, 320, 320, note("a")]


def test_in_the_middle_of_a_frame_that_is_repeated_it_is_repeated() -> None:
    session = make_session()
    session.queue_audio(sound(200), 0.0, end=True)
    session.notify("a")
    write(session, 0.0)
    session.pause(0.03)  # its last sample was heard, but not the padding
    session.resume(0.0, 0.03)
    assert played(session, 0.03) == [*CLEAR, 320, note("a")]


def test_a_rewind_does_not_repeat_what_was_answered() -> None:
    session = make_session()
    session.queue_audio(sound(1_600), 0.0)
    session.notify("a")
    session.queue_audio(sound(1_600), 0.0)
    played(session, 0.0, 0.3)
    session.pause(0.3)
    session.resume(0.3, 0.3)
    assert played(session, 0.3) == [*CLEAR, *[320] * 20]


@pytest.mark.parametrize("obeys", [True, False])
@pytest.mark.parametrize("pause_s", [0.05, 0.15, 0.23, 0.31, 0.37])
def test_the_router_answers_it_although_there_was_a_pause(pause_s: float, obeys: bool) -> None:
    call = Call(make_session(), obeys=obeys)
    call.queue(1_600)
    call.session.notify("a")
    mark = call.queue(800, end=True)
    call.session.confirm(mark)
    call.go_on(pause_s)
    call.session.pause(call.now_s)
    call.go_on(1.0)
    call.session.resume(0.0, call.now_s)
    call.go_on(2.0)
    answers = [event.payload for _, event in call.events if isinstance(event, Notified)]
    assert "a" in answers
    assert len(answers) <= (2 if obeys else 4)  # whoever plays twice answers twice
    assert acknowledged(call.session, mark)


# Confirm


def test_a_mark_is_acknowledged_when_the_router_has_played_it() -> None:
    call = Call(make_session())
    marks = [call.queue(4_000) for _ in range(3)]
    assert [acknowledged(call.session, mark) for mark in marks] == [None, None, None]
    call.session.confirm(marks[2])
    call.session.confirm(marks[0])
    assert [acknowledged(call.session, mark) for mark in marks] == [False, None, False]
    call.go_on(0.48)  # its last frame is played from 0.49 on
    assert [acknowledged(call.session, mark) for mark in marks] == [False, None, False]
    call.go_on(0.52)
    assert [acknowledged(call.session, mark) for mark in marks] == [True, None, False]
    call.go_on(1.48)
    assert acknowledged(call.session, marks[2]) is False
    call.go_on(1.52)
    assert acknowledged(call.session, marks[2]) is True


def test_it_is_asked_once() -> None:
    session = make_session()
    mark = session.queue_audio(sound(160), 0.0)
    session.confirm(mark)
    session.confirm(mark)
    assert sizes(write(session, 0.0)) == [320, asked(1)]
    session.text_received(answer(1))
    session.confirm(mark)
    assert write(session, 0.0) == []
    assert acknowledged(session, mark) is True


def test_what_was_heard_already_is_asked_at_once() -> None:
    session = make_session()
    mark = session.queue_audio(sound(160), 0.0)
    session.queue_audio(sound(16_000), 0.0)
    played(session, 0.0, 1.0)
    session.confirm(mark)
    assert write(session, 1.0) == [asked(1)]


@pytest.mark.parametrize("number", ["2", "0", "true", "1.0", '"1"', "null", "[1]"])
def test_another_answer_acknowledges_nothing(number: str) -> None:
    session = make_session()
    mark = session.queue_audio(sound(160), 0.0)
    session.confirm(mark)
    text = answer(number)
    assert isinstance(session.text_received(text), Notified)
    session.text_received('{"event":"websocket:notify","payload":1}')
    session.text_received('{"event":"websocket:notify","payload":{"playback":1}}')
    assert acknowledged(session, mark) is False
    session.text_received(answer(1))
    assert acknowledged(session, mark) is True
    session.text_received(answer(1))  # once more is no harm
    assert session.acknowledged == {mark}


def test_an_answer_of_before_a_clear_is_not_taken_for_a_later_marks() -> None:
    session = make_session()
    late: list[str] = []
    for _ in range(5):
        mark = session.queue_audio(sound(160), 0.0)
        session.confirm(mark)
        command = write(session, 0.0)[-1]
        assert isinstance(command, str)
        for text in late:
            session.text_received(text)
        assert acknowledged(session, mark) is False
        late.append(command.replace('"action":"notify"', '"event":"websocket:notify"'))
        session.clear(0.0)
        session.text_received(late[-1])
        assert acknowledged(session, mark) is None  # what is never played is never acknowledged
    assert session.acknowledged == set()


def test_what_was_dropped_is_not_asked_for() -> None:
    session = make_session()
    mark = session.queue_audio(sound(160), 0.0)
    session.clear(0.0)
    session.confirm(mark)
    assert write(session, 0.0) == CLEAR
    assert acknowledged(session, mark) is None


def test_a_mark_that_is_forgotten_is_not_acknowledged() -> None:
    session = make_session()
    marks = [session.queue_audio(sound(160), 0.0) for _ in range(2)]
    for mark in marks:
        session.confirm(mark)
    session.forget(marks[0])
    session.forget(session.queue_audio(sound(160), 0.0))  # which nobody asked for
    session.text_received(answer(1))
    session.text_received(answer(2))
    assert [acknowledged(session, mark) for mark in marks] == [None, True]


def test_what_was_answered_or_ended_leaves_nothing_behind() -> None:
    session = make_session()
    for number in range(500):  # an hour in which nothing, or next to nothing, is said
        session.notify(number)
        session.queue_audio(b"", number * 7.0, end=True)
        write(session, number * 7.0)
        assert session.out._cues is None or len(session.out._cues._told) <= 1
    assert len(session.out._ends) <= 1
    session.queue_audio(sound(160), 3_500.0)
    write(session, 3_500.0)
    write(session, 3_501.0)
    assert session.out._cues is None
    assert not session.out.has_more


def test_in_an_hour_of_talk_only_those_are_kept_that_were_not_heard() -> None:
    session = make_session()
    for number in range(3_600):
        session.queue_audio(sound(8_000), number * 1.0)
        session.notify(number)
        assert len(play_all(session, number * 1.0, number + 0.99)) >= 40
        assert session.out._cues is not None
        assert len(session.out._cues._told) <= 2
