"""Random calls: a session joined to a router, held to its rules after each of any steps in any order.

`Model` counts by itself: it knows every sample by its number, and follows what leaves the session.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right

from driving import CLEAR, STREAM, TINY_S, fill, first, sound, wait_until_s
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.ledger import Mark
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.simulator.router import Router

FRAME = 160
Step = tuple[str, int]  # what, and how much: 0 to 999


class Model:
    """One call, and what must be true of it at any time."""

    def __init__(self, *, known: bool, lead_s: float, obeys: bool, phase_s: float) -> None:
        self.session = Session(0.0, assumed_format=AudioFormat(8_000), lead_s=lead_s)
        if known:
            self.session.text_received(first(8_000))
        self.peer = Router(AudioFormat(8_000), phase_s)
        self.obeys = obeys
        self.now_s = 0.0
        self.stuck: bytes | str | None = None  # a payload that the socket has and does not take,
        self.stuck_until_s = 0.0  # until then
        self.was_stuck = self.late = self.rate_changed = False
        self.given = 0
        self.base = 0  # where the wire line of this epoch begins,
        self.wire: list[int] = []  # and what left on it: numbers of samples, 0 for padding
        self.heard_place = self.paused_at = 0  # how much of it was heard, now and when the last pause began
        self.heard: set[int] = set()
        self.heard_before = 0  # when the epoch began
        self.played: set[int] = set()  # in this epoch, by the router,
        self.played_bytes = 0  # looked at up to here
        self.marks: list[Mark] = []
        self.notes: dict[str, int] = {}  # text of a notify: the audio that it follows
        self.texts: list[str] = []  # texts that wait, in order
        self.rate_hz = 8_000

    # Steps

    def step(self, name: str, size: int) -> None:
        dropped = self.session.out.ledger.dropped
        getattr(self, name)(size)
        self.check()
        if self.session.out.ledger.dropped > dropped:
            self.check_marks()

    def go(self, size: int) -> None:
        self.run(self.now_s + size / 1_000, 0.0)

    def go_late(self, size: int) -> None:
        self.late = True
        self.run(self.now_s + size / 1_000, 0.07)

    def queue(self, size: int) -> None:
        """An utterance ends where the size is a multiple of 3."""
        self.put(size * 2, end=size % 3 == 0)

    def queue_tiny(self, size: int) -> None:
        self.put(size // 10, end=size % 10 == 0)

    def queue_10_ms(self, size: int) -> None:
        self.put(size, frame_ms=10, end=size % 3 == 0)

    def send_live(self, size: int) -> None:
        """A frame, or part of one; the short way where it can go it."""
        self.put(FRAME if size % 4 else size // 10, live=True)

    def queue_flush(self, size: int) -> None:
        self.put(size, flush=True)

    def clear(self, size: int) -> None:
        self.check()
        waiting = len(self.waiting())
        result = self.session.clear(self.now_s)
        assert round(result.dropped_s * self.session.out.pacer.rate_hz) == waiting
        assert 0.0 <= result.sent_dropped_s <= result.dropped_s
        self.start_epoch()

    def pause(self, size: int) -> None:
        if not self.session.out.paused:
            self.check()
            self.paused_at = self.heard_place
            self.session.pause(self.now_s)
            self.go_back(0)

    def resume(self, size: int) -> None:
        if self.session.out.paused:
            self.check()
            self.session.resume(size / 1_000, self.now_s)
            self.go_back(round(size / 1_000 * self.session.out.pacer.rate_hz))

    def notify(self, size: int) -> None:
        name = f"note {self.session.texts_out}"
        self.session.notify(name)
        self.notes[json.dumps({"action": "notify", "payload": name}, separators=(",", ":"))] = self.given

    def confirm(self, size: int) -> None:
        if self.marks:
            self.session.confirm(self.marks[size % len(self.marks)])

    def text(self, size: int) -> None:
        text = f'"text {self.session.texts_out}"'
        self.session.queue_text(text)
        self.texts.append(text)

    def stick(self, size: int) -> None:
        """The socket takes some payloads, and then one that it holds for a while."""
        if self.stuck is not None:
            return
        fill(self.session, self.now_s)
        if outbox := self.session.out.outbox:
            for _ in range(size % len(outbox)):
                self.send(outbox.pop(0))
            self.stuck = outbox.pop(0)
            self.leave(self.stuck)
            self.stuck_until_s = self.now_s + size / 1_000
            self.was_stuck = True

    def change_rate(self, size: int) -> None:
        rate_hz = (8_000, 16_000, 24_000)[size % 3]
        known = self.session.audio_format
        self.check()
        self.session.text_received(first(rate_hz))
        self.rate_changed |= rate_hz != 8_000 or known not in (None, AudioFormat(8_000))
        self.rate_hz = rate_hz

    # How they are done

    def run(self, to_s: float, late_s: float) -> None:
        while True:
            if self.stuck is not None:
                if self.stuck_until_s > to_s:
                    break
                self.now_s = max(self.now_s, self.stuck_until_s)
                self.deliver(self.stuck)
                self.stuck = None
            while self.session.out.outbox:
                self.send(self.session.out.outbox.pop(0))
            self.session.out.written(self.now_s)
            fill(self.session, self.now_s)
            if not self.session.out.outbox:
                due_s = wait_until_s(self.session, self.now_s)
                if due_s is None or due_s > to_s:
                    break
                self.now_s = due_s + late_s
        self.now_s = max(self.now_s, to_s)
        self.answer(self.peer.advance(self.now_s))

    def put(
        self, samples: int, *, frame_ms: int = 20, end: bool = False, flush: bool = False, live: bool = False
    ) -> None:
        if 2 * (self.given + samples) > len(STREAM):
            return
        pcm = sound(samples, self.given)
        if flush:
            self.clear(0)
        mark = self.session.out.push_live(pcm, self.now_s) if live and samples else None
        if mark is None:
            mark = self.session.queue_audio(pcm, self.now_s, frame_ms=frame_ms, end=end, flush=flush)
        self.marks.append(mark)
        self.given += samples

    def start_epoch(self) -> None:
        heard_to = max(self.heard, default=0)
        self.notes = {note: place for note, place in self.notes.items() if place <= heard_to}
        self.wire.clear()
        self.base = self.session.out.pacer.total_samples
        self.heard_place = 0
        self.heard_before = len(self.heard)
        if self.stuck is None and self.obeys:
            self.run(self.now_s, 0.0)  # the router is told at once
            self.played.clear()
            self.played_bytes = len(self.peer.heard)

    def send(self, payload: bytes | str) -> None:
        self.leave(payload)
        self.deliver(payload)

    def leave(self, payload: bytes | str) -> None:
        """It leaves the session: audio whole and in order, a notify right behind its audio, texts in order."""
        if isinstance(payload, bytes):
            assert len(payload) == self.rate_hz // 25
            numbers = array("H", payload)
            sounding = [number for number in numbers if number]
            assert sounding == sorted(sounding)
            assert not sounding or sounding[0] > max(self.wire, default=0)
            if not self.rate_changed:  # else what was padded is cut anew
                assert list(numbers) == sounding + [0] * (len(numbers) - len(sounding))
                assert sounding
            self.wire += numbers
        elif payload in self.notes:
            place = self.notes[payload]
            waits = set(self.queued()) - self.heard
            assert not any(number <= place for number in waits)
            if self.wire and max(self.wire) > place:
                assert max(self.wire) - place < 3 * FRAME  # it stood in the middle of the last frame
        elif payload in self.texts:
            assert payload == self.texts.pop(0)

    def deliver(self, payload: bytes | str) -> None:
        if isinstance(payload, bytes):
            self.answer(self.peer.receive_bytes(payload, self.now_s))
        elif self.obeys or payload not in CLEAR:
            self.answer(self.peer.receive_text(payload, self.now_s))

    def answer(self, texts: list[str]) -> None:
        for text in texts:
            self.session.text_received(text)

    def go_back(self, samples: int) -> None:
        """What is to be sent again has not left; less than a frame of what was heard is heard again unasked."""
        left = self.session.out.pacer.total_samples - self.base
        longest = 24_000 // 50 if self.rate_changed else self.rate_hz // 50  # a frame that went out at another rate
        assert self.paused_at - left < samples + longest
        assert left <= self.paused_at
        del self.wire[left:]

    # What must be true

    def queued(self) -> list[int]:
        """The samples that wait in the session."""
        session, out = self.session, self.session.out
        frames = [payload for payload in out.outbox if isinstance(payload, bytes)]
        early = [pcm for pcm, _ in session._early._audio]
        pcm = b"".join([*frames, self.framed(), *early])
        return [number for number in array("H", pcm) if number]

    def framed(self) -> bytes:
        """What waits to be cut into frames."""
        framer = self.session.out._framer
        return b"".join(framer._chunks or ())[framer._at :]

    def waiting(self) -> set[int]:
        heard_wire = self.session.out.heard_wire(self.now_s) - self.base
        return {*self.queued(), *self.wire[max(0, heard_wire) :]} - self.heard - {0}

    def check(self) -> None:
        out, ledger = self.session.out, self.session.out.ledger
        outbox = sum(len(payload) for payload in out.outbox if isinstance(payload, bytes)) // 2
        assert out.pacer.total_samples == self.base + len(self.wire) + outbox
        assert out.queued_bytes == len(self.framed())
        heard_wire = out.heard_wire(self.now_s)
        self.heard_place = heard_wire - self.base
        assert 0 <= self.heard_place <= len(self.wire)
        assert ledger.heard(heard_wire) >= len(self.heard)  # never back
        self.heard.update(self.wire[: self.heard_place])
        self.heard.discard(0)
        assert ledger.heard(heard_wire) == len(self.heard)
        assert ledger.accepted == self.given
        assert len(self.heard) + ledger.dropped + len(self.waiting()) == self.given
        if self.obeys and not self.rate_changed:
            assert self.peer.wrong_size == 0
            # A write that is held up in the middle of a batch is not told from one that is held up before it.
            most_s = (out.pacer.lead_s + out.pacer.batch_s) * (2 if self.was_stuck else 1)
            assert self.peer.furthest_ahead_s <= most_s + TINY_S
            if not self.was_stuck:
                self.check_played()

    def check_played(self) -> None:
        """What we say was heard is what the router played, but for the frame that it plays now."""
        self.answer(self.peer.advance(self.now_s))
        self.played.update(array("H", bytes(self.peer.heard[self.played_bytes :])))
        self.played.discard(0)
        self.played_bytes = len(self.peer.heard)
        assert abs(len(self.played) - (len(self.heard) - self.heard_before)) <= FRAME

    def check_marks(self) -> None:
        out = self.session.out
        heard_wire, heard = out.heard_wire(self.now_s), sorted(self.heard)
        for mark in self.marks:
            own = bisect_right(heard, mark.end) - bisect_right(heard, mark.start)  # the numbers begin with 1
            assert out.ledger.heard_of(mark, heard_wire) == own

    def end(self) -> None:
        """Let it play to its end: all that was given was heard, or was dropped."""
        if self.session.out.paused:
            self.step("resume", 0)
        self.check_marks()
        self.run(self.now_s + 60.0, 0.0)
        self.check()
        self.check_marks()
        assert wait_until_s(self.session, self.now_s) is None
        assert self.session.queued_s == 0.0
        assert not self.waiting()
        assert not self.texts
        assert len(self.heard) + self.session.out.ledger.dropped == self.given
        assert all(
            self.session.out.ledger.is_over(mark, self.session.out.heard_wire(self.now_s)) for mark in self.marks
        )


COMMON = "go go go go go_late queue queue queue_tiny send_live send_live clear pause resume resume notify confirm text"
sizes = st.sampled_from([0, 1, 7, 20, 33, 79, 80, 100, 160, 213, 300, 480, 700, 999])


def steps(more: str) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from((COMMON + more).split()), sizes), min_size=12, max_size=60)


settings_of_a_call = st.fixed_dictionaries(
    {
        "lead_s": st.sampled_from([0.04, 0.1, 0.2]),
        "obeys": st.booleans(),
        "phase_s": st.sampled_from([0.001, 0.01, 0.02]),
    }
)


@settings(max_examples=120, deadline=None)
@given(settings_of_a_call, steps(" queue_flush"))
def test_at_one_rate_what_is_heard_is_what_the_router_plays(call: dict[str, object], steps: list[Step]) -> None:
    model = Model(known=True, **call)  # type: ignore[arg-type]
    for name, size in steps:
        model.step(name, size)
    model.end()


@settings(max_examples=180, deadline=None)
@given(st.booleans(), settings_of_a_call, steps(" queue_10_ms stick stick change_rate queue_flush"))
@example(  # a pause takes back what a blocked socket has held for longer than it lasts
    True,
    {"lead_s": 0.04, "obeys": False, "phase_s": 0.001},
    [("go", 0)] * 7 + [("queue", 1), ("queue", 0), ("stick", 33), ("go", 20), ("pause", 0)],
)
@example(  # whole frames and then the remainder move to the outbox, and the socket is stuck with the first of them
    True,
    {"lead_s": 0.04, "obeys": False, "phase_s": 0.001},
    [("go", 0)] * 8 + [("queue_10_ms", 999), ("change_rate", 20), ("stick", 213), ("go", 33)],
)
def test_with_a_slow_socket_and_other_rates_nothing_is_lost(
    known: bool, call: dict[str, object], steps: list[Step]
) -> None:
    model = Model(known=known, **call)  # type: ignore[arg-type]
    for name, size in steps:
        model.step(name, size)
    model.end()
