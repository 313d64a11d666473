"""A conversation of an hour in virtual time, with 500 interruptions at random places: what was heard, to the sample."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest
from driving import wait_until_s, write

from vonage_audio_connector_server.core.ledger import Mark
from vonage_audio_connector_server.core.pacer import DEFAULT_LEAD_S
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.simulator.router import Router

RATE_HZ = 8_000
FORMAT = AudioFormat(RATE_HZ)
INTERRUPTIONS = 500
HOUR_S = 3_600.0
FRAME_S = 0.02


@dataclass
class Network:
    """Carries messages in order, each with a delay of its own."""

    rng: random.Random
    jitter_s: float
    peer: Router
    arrived_s: float = 0.0
    on_the_way: list[tuple[float, int, bytes | str]] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def send(self, payload: bytes | str, now_s: float) -> None:
        self.arrived_s = max(self.arrived_s, now_s + self.rng.random() * self.jitter_s)
        heapq.heappush(self.on_the_way, (self.arrived_s, next(self.numbers), payload))

    def run(self, to_s: float) -> None:
        while self.on_the_way and self.on_the_way[0][0] <= to_s:
            at_s, _, payload = heapq.heappop(self.on_the_way)
            if isinstance(payload, bytes):
                self.peer.receive_bytes(payload, at_s)
            else:
                self.peer.receive_text(payload, at_s)
        self.peer.advance(to_s)


class Conversation:
    """A program that speaks answers of any length, and is interrupted; `played_s` is what the router played."""

    def __init__(self, seed: int, jitter_s: float) -> None:
        self.rng = random.Random(seed)
        self.now_s = 1_000.0
        self.session = Session(self.now_s, assumed_format=FORMAT)
        self.session.text_received(' {"content-type":"audio/l16;rate=8000","event":"websocket:connected"}')
        self.peer = Router(FORMAT, self.now_s - self.rng.random())  # its ticks fall anywhere between ours
        self.network = Network(self.rng, jitter_s, self.peer)
        self.given = 0
        self.marks: list[Mark] = []
        self.played_samples = self.counted_bytes = 0

    def go_on(self, to_s: float) -> None:
        """Do what is due, as a loop that is up to 2 ms late."""
        while True:
            for payload in write(self.session, self.now_s):
                self.network.send(payload, self.now_s)
            due_s = wait_until_s(self.session, self.now_s)
            if due_s is None or due_s > to_s:
                self.now_s = max(self.now_s, to_s)
                return
            self.now_s = due_s + self.rng.random() * 0.002

    def say(self, seconds: float) -> None:
        """Queue an answer in pieces of any length."""
        left = int(seconds * RATE_HZ)
        while left > 0:
            samples = min(left, self.rng.randrange(1, 8_000))
            left -= samples
            end = left == 0 and self.rng.random() < 0.7
            self.marks.append(self.session.queue_audio(b"\1\1" * samples, self.now_s, end=end))
            self.given += samples

    def played_s(self) -> float:
        """Seconds of the program's audio that the router has played by now; silence for padding is no part of it."""
        self.network.run(self.now_s)
        self.played_samples += self.peer.heard.count(1, self.counted_bytes) // 2
        self.counted_bytes = len(self.peer.heard)
        return self.played_samples / RATE_HZ


@pytest.mark.parametrize(("jitter_s", "tolerance_s"), [(0.0, FRAME_S), (0.1, DEFAULT_LEAD_S + FRAME_S)])
@pytest.mark.parametrize("seed", [1, 2])
def test_heard_and_dropped_are_what_was_sent_and_heard_is_what_was_played(
    seed: int, jitter_s: float, tolerance_s: float
) -> None:
    call = Conversation(seed, jitter_s)
    rng, session = call.rng, call.session
    started_s = call.now_s
    heard_s = dropped_s = 0.0
    settled_s = 0.0  # what the router had played when the interruption before was done
    interrupted_in_speech = 0
    for number in range(INTERRUPTIONS):
        ends_s = started_s + HOUR_S * (number + 1) / INTERRUPTIONS
        answer_s = rng.uniform(0.05, 12.0)
        call.go_on(call.now_s + rng.uniform(0.0, 0.5))
        call.say(answer_s)
        if rng.random() < 0.3:  # it goes on while the first part is being heard, or just after
            call.go_on(call.now_s + rng.uniform(0.0, answer_s))
            call.say(rng.uniform(0.01, 3.0))
        call.go_on(min(ends_s, call.now_s + rng.uniform(0.0, answer_s + 1.0)))
        before_s = session.heard_s(call.now_s)
        result = session.clear(call.now_s)
        interrupted_in_speech += result.dropped_s > 0
        assert before_s == pytest.approx(heard_s + result.heard_s, abs=1e-9)
        heard_s += result.heard_s
        dropped_s += result.dropped_s
        played_s = call.played_s() - settled_s
        assert played_s - tolerance_s - 1e-6 <= result.heard_s <= played_s + tolerance_s + 1e-6
        call.go_on(call.now_s)  # the clear commands
        call.network.run(call.network.arrived_s)  # the peer has them
        call.now_s = max(call.now_s, call.network.arrived_s)
        settled_s = call.played_s()
        call.go_on(ends_s)
    assert call.now_s - started_s >= HOUR_S - 1e-6
    assert interrupted_in_speech > 300
    assert not any(gap.cause == "socket backed up" for gap in session.out.gaps.noted)
    assert round(heard_s * RATE_HZ) + round(dropped_s * RATE_HZ) == call.given
    assert (session.out.ledger.heard(session.out.heard_wire(call.now_s)), session.out.ledger.dropped) == (
        round(heard_s * RATE_HZ),
        round(dropped_s * RATE_HZ),
    )
    ledger, heard_wire = session.out.ledger, session.out.heard_wire(call.now_s)
    assert all(ledger.is_over(mark, heard_wire) for mark in call.marks)
    assert sum(ledger.heard_of(mark, heard_wire) for mark in call.marks) == round(heard_s * RATE_HZ)
