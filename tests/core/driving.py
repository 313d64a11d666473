"""What the tests of `core` share: a session, sound in which no sample is like another, and a loop that writes."""

from __future__ import annotations

import itertools
from array import array

from vonage_audio_connector_server.core.events import Event
from vonage_audio_connector_server.core.ledger import Mark
from vonage_audio_connector_server.core.session import Session, WhenFull
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.results import FlushResult
from vonage_audio_connector_server.simulator.router import Router

CLEAR = ['{"event":"websocket:cleared"}', '{"action":"clear"}']
STREAM = array("H", range(1, 65_536)).tobytes()  # none of its samples is silence
TINY_S = 1e-6


def first(rate_hz: int) -> str:
    return f' {{"content-type":"audio/l16;rate={rate_hz}","event":"websocket:connected"}}'


def sound(samples: int, start: int = 0) -> bytes:
    return STREAM[2 * start : 2 * (start + samples)]


def long_sound(seconds: float, rate_hz: int) -> bytes:
    return sound(1_000) * int(seconds * rate_hz / 1_000)


def make_session(
    rate_hz: int | None = 8_000,
    *,
    lead_s: float = 0.2,
    assumed: int = 16_000,
    max_queued_s: float = 120.0,
    when_full: WhenFull = "wait",
) -> Session:
    """A session that was accepted at 0 s; None: nothing tells its rate yet."""
    session = Session(
        0.0, lead_s=lead_s, assumed_format=AudioFormat(assumed), max_queued_s=max_queued_s, when_full=when_full
    )
    if rate_hz is not None:
        session.text_received(first(rate_hz))
    return session


def stuck(session: Session, now_s: float, payloads: int | None = None) -> list[bytes | str]:
    """What the socket takes of what is due now, and has not written yet: so many payloads, or all."""
    fill(session, now_s)
    taken = session.out.outbox[:payloads]
    del session.out.outbox[:payloads]
    return taken


def fill(session: Session, now_s: float) -> float | None:
    """Move what is due now to the outbox, as a writer does: `due_s` is not asked where nothing has to be asked."""
    return session.due_s(now_s) if session.out.has_more else None


def write(session: Session, now_s: float) -> list[bytes | str]:
    """Write all that is due now."""
    out: list[bytes | str] = []
    while True:
        while session.out.outbox:
            out.append(session.out.outbox.pop(0))
        session.out.written(now_s)
        fill(session, now_s)
        if not session.out.outbox:
            return out


def write_audio(session: Session, now_s: float) -> list[bytes]:
    return [payload for payload in write(session, now_s) if isinstance(payload, bytes)]


def play_all(session: Session, from_s: float, to_s: float) -> list[tuple[float, bytes | str]]:
    """Write everything at the moment when it is due, as a loop does that is never late."""
    out, now_s = [], from_s
    while True:
        out += [(now_s, payload) for payload in write(session, now_s)]
        due_s = wait_until_s(session, now_s)
        if due_s is None or due_s > to_s:
            return out
        now_s = due_s


def play(session: Session, from_s: float, to_s: float) -> list[tuple[float, bytes]]:
    return [(at_s, payload) for at_s, payload in play_all(session, from_s, to_s) if isinstance(payload, bytes)]


def rounded(result: FlushResult) -> tuple[float, float, float]:
    """Heard, dropped, and dropped although sent, in seconds, to the sample and without the noise of floats."""
    return round(result.heard_s, 6), round(result.dropped_s, 6), round(result.sent_dropped_s, 6)


def wait_until_s(session: Session, now_s: float) -> float | None:
    """When a writer who has written all has to look again; None: not before something is queued."""
    assert not session.out.outbox
    due_s = fill(session, now_s)
    assert not session.out.outbox
    assert due_s is None or due_s > now_s  # or the writer would spin
    return due_s


def sizes(out: list[bytes | str]) -> list[int | str]:
    """Texts as they are, frames as their length: which stands where."""
    return [payload if isinstance(payload, str) else len(payload) for payload in out]


class Call:
    """A session joined to a simulated router, without a network between. Its audio is `STREAM`, from the beginning.

    `obeys`: whether the router knows the clear commands. `phase_s`: when its first tick is, after the first frame.
    """

    def __init__(self, session: Session, *, obeys: bool = True, phase_s: float = 0.01) -> None:
        self.session = session
        self.obeys = obeys
        self.now_s = 0.0
        self.peer = Router(AudioFormat(8_000), phase_s)
        self.queued = 0  # samples
        self.events: list[tuple[float, Event]] = []  # what the router said

    def queue(self, samples: int, *, end: bool = False) -> Mark:
        self.queued += samples
        return self.session.queue_audio(sound(samples, self.queued - samples), self.now_s, end=end)

    def go_on(self, to_s: float) -> None:
        """Write everything when it is due, and tell the session what the router answers."""
        while True:
            for payload in write(self.session, self.now_s):
                self.take(payload)
            due_s = wait_until_s(self.session, self.now_s)
            if self.now_s >= to_s:
                return
            self.now_s = min(to_s if due_s is None else due_s, to_s, self.now_s + 0.005)
            self.answer(self.peer.advance(self.now_s))

    def take(self, payload: bytes | str) -> None:
        if isinstance(payload, bytes):
            self.answer(self.peer.receive_bytes(payload, self.now_s))
        elif self.obeys or payload not in CLEAR:
            self.answer(self.peer.receive_text(payload, self.now_s))

    def answer(self, texts: list[str]) -> None:
        self.events += [(self.now_s, self.session.text_received(text)) for text in texts]

    def heard(self) -> list[int]:
        """The numbers of the samples that the router has played, from 1, without silence."""
        return [number for number in array("H", bytes(self.peer.heard)) if number]

    def repeated(self) -> list[int]:
        """How many samples were played again, for each time that it went back. Fails where one was skipped."""
        heard = self.heard()
        steps = [later - before for before, later in itertools.pairwise(heard)]
        assert all(step <= 1 for step in steps)
        assert heard[0] == 1
        return [1 - step for step in steps if step < 1]
