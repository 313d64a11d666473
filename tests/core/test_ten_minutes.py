"""A call of ten minutes in virtual time: our side joined to the router's, on an event loop that is late at random."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
from driving import fill, wait_until_s

from vonage_audio_connector_server.core.pacer import DEFAULT_LEAD_S, MAX_BATCH_S
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.simulator.router import Router

FORMAT = AudioFormat(8_000)
START_S = 4_711.003
SOUND = b"".join(number.to_bytes(4, "little") * 80 for number in range(1, 600 * 50 + 1))  # no frame like another


@dataclass
class Call:
    """What came of it: our side, the router's, and the times and numbers of the frames of each write."""

    session: Session
    peer: Router
    writes: list[tuple[float, range]]


def call(seed: int, sound: bytes, stall_s: float) -> Call:
    """One long answer. 1 % of the wake-ups are 30 ms late, the others up to 2 ms; one is `stall_s` late."""
    rng = random.Random(seed)
    session = Session(START_S)
    session.text_received(' {"content-type":"audio/l16;rate=8000","event":"websocket:connected"}')
    peer = Router(FORMAT, START_S - rng.random())  # its ticks fall anywhere between ours
    at = 0
    while at < len(sound):  # pieces of any size, as a speech synthesis sends them
        end = at + 2 * rng.randrange(1, 40_000)
        session.queue_audio(sound[at:end], START_S, end=end >= len(sound))
        at = end
    stall_at_s = START_S + rng.uniform(0.3, 0.9) * len(sound) / 16_000
    writes, frames, now_s = [], 0, START_S
    while True:
        fill(session, now_s)
        if outbox := session.out.outbox:
            writes.append((now_s, range(frames, frames + len(outbox))))
            frames += len(outbox)
            while outbox:
                frame = outbox.pop(0)
                assert isinstance(frame, bytes)
                peer.receive_bytes(frame, now_s)
            session.out.written(now_s)
            continue
        due_s = wait_until_s(session, now_s)
        if due_s is None:
            break
        late_s = 0.03 if rng.random() < 0.01 else rng.random() * 0.002
        if due_s > stall_at_s:
            late_s, stall_at_s = stall_s, math.inf
        now_s = due_s + late_s
    assert stall_at_s == math.inf  # there was one
    peer.advance(now_s + 1.0)
    return Call(session, peer, writes)


@pytest.mark.parametrize(("seed", "seconds"), [(1, 600), (2, 60), (3, 60), (4, 60), (5, 60)])
def test_a_call_on_a_late_loop_has_no_gap_and_no_drift(seed: int, seconds: int) -> None:
    sound = SOUND[: seconds * 16_000]
    ended = call(seed, sound, stall_s=0.15)
    assert [run.ticks for run in ended.peer.runs] == [seconds * 50]  # not one hole
    assert ended.peer.heard.strip(b"\0") == sound.strip(b"\0")
    assert (ended.peer.wrong_size, ended.peer.overflowed, ended.session.out.gaps.noted) == (0, 0, [])
    for sent_s, numbers in ended.writes:
        assert sent_s <= START_S + numbers[0] * 0.02  # none after its turn to be played
        assert START_S + (numbers[-1] + 1) * 0.02 - sent_s <= DEFAULT_LEAD_S + MAX_BATCH_S + 1e-6
    assert ended.peer.furthest_ahead_s <= DEFAULT_LEAD_S + MAX_BATCH_S + 1e-6
    last_s, _ = ended.writes[-1]
    assert ended.session.heard_s(last_s) == pytest.approx(last_s - START_S, abs=1 / 8_000)
    assert ended.session.heard_s(START_S + seconds) == seconds
    assert last_s + ended.session.out.ahead_s(last_s) == pytest.approx(START_S + seconds, abs=1e-6)  # 0.00 s of drift


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_stall_longer_than_lead_and_batch_is_one_gap(seed: int) -> None:
    """The control: where there must be a hole, the same harness finds it."""
    ended = call(seed, SOUND[: 20 * 16_000], stall_s=0.5)
    assert len(ended.peer.runs) == 2
    assert sum(run.ticks for run in ended.peer.runs) == 20 * 50  # later, but all of it
    [gap] = ended.session.out.gaps.noted
    assert gap.cause == "loop blocked"
    assert gap.dry_s == pytest.approx(0.5 - DEFAULT_LEAD_S)
