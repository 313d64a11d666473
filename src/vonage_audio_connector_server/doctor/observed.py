"""What the main call of an examination has seen, and what of it is wrong. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..close_codes import ABNORMAL, NO_STATUS
from ..recording import Kind, Recording
from ..simulator import SimulationReport
from ..simulator.carrier import Lost
from ..simulator.report.make import percentile
from .diagnosis import Line, Number, milliseconds

HELD_S = 0.2
"""A pong that comes later than this, on the median and apart from the way, was held back somewhere."""

BURST_S = 0.3
"""So much audio at once, again and again, is a burst: a server of this library hands over 0.1 s at a time."""

SLOW_PING_S = 0.3
"""From here on a conversation feels slow, whatever the program does."""

BUSY_S = 0.06
"""Where the doctor itself sends so late, its machine is too busy to judge others."""

HOLES_MS = 200
"""So many milliseconds of holes inside speech are heard."""

_TOGETHER_S = 0.005  # what comes so soon behind the last has come with it

_CODES = {
    1003: "it takes no messages of this kind: is it an Audio Connector server?",
    1007: "it could not read a text: is it an Audio Connector server?",
    1008: "it doesn't want the caller: see its log",
    1009: "a frame is too long for it: raise the limit of the server for messages",
    1011: "the program has failed: the server's log has the traceback",
    1012: "the server was stopped",
    1013: "the server has no room",
}


@dataclass
class Observed:
    """What was seen.

    Attributes:
        pings: when each ping was sent, and how long its pong took; None: none came.
        pings_of_server: when the server sent one.
        connect_s: how long TCP took to connect: as long as a ping at the least.
        first_pong_s: how soon a ping behind the first message was answered; None: it was not.
        quiet: from when until when nothing was sent; None: there was no such time.
        ended_while: what was going on when the server ended the call; None: it did not.
        lost: how the call ended; None: it has not.
        close_code: of the server's close frame; None: none came.
        recording: of the call, up to the time when nothing was sent.
        report: of that; None: it was not made.
    """

    connect_s: float
    pings: dict[int, tuple[float, float | None]] = field(default_factory=dict)
    pings_of_server: list[float] = field(default_factory=list)
    first_pong_s: float | None = None
    quiet: tuple[float, float] | None = None
    ended_while: str | None = None
    lost: Lost | None = None
    close_code: int | None = None
    recording: Recording | None = None
    report: SimulationReport | None = None


def lines_of(seen: Observed, *, idle_s: float | None) -> Iterator[Line]:
    """The lines from `first message` to `close`."""
    yield _first_message(seen)
    yield _audio_out(seen)
    yield _audio_in(seen)
    yield _buffering(seen)
    yield _ping(seen)
    yield _texts(seen)
    yield _idle(seen, idle_s)
    yield _close(seen)


def _end(seen: Observed) -> tuple[str, str]:
    """How the server ended the call, and what to do."""
    lost = seen.lost
    assert lost is not None
    if lost.code in (None, ABNORMAL):
        return "the connection was cut without a close frame", "see the logs of the server and of the proxy"
    told = "without a code" if lost.code == NO_STATUS else f"with {lost.code}"
    code = lost.code or 0
    return f"the server closed {told}", _CODES.get(code, "the program hung up: is that what it is for?")


def _first_message(seen: Observed) -> Line:
    if seen.first_pong_s is not None:
        took = milliseconds(seen.first_pong_s)
        return Line("first message", "passed", f"taken: a ping behind it was answered after {took}")
    if seen.ended_while == "first message":
        return Line("first message", "failed", *_end(seen))
    advice = "the server reads nothing, or answers no pings: does its event loop turn?"
    return Line("first message", "failed", "a ping behind it was not answered", advice)


def _audio_out(seen: Observed) -> Line:
    report = seen.report
    assert report is not None
    if seen.ended_while == "first message":
        return Line("audio out", "skipped", "the call had ended")
    late_ms = report.send_lateness_max_ms
    numbers: dict[str, Number] = {"frames": report.frames_sent, "late_max_ms": late_ms}
    if seen.ended_while == "audio":
        text, advice = _end(seen)
        return Line("audio out", "failed", f"{text} after {report.frames_sent} frames", advice, numbers)
    text = f"{report.frames_sent} frames of {report.frame_ms} ms were sent, the latest {late_ms:.0f} ms late"
    if late_ms > BUSY_S * 1000:
        advice = "this machine is busy, or the server reads slowly: judge nothing else by this run"
        return Line("audio out", "warning", text, advice, numbers)
    return Line("audio out", "passed", text, numbers=numbers)


def intervals_s(arrivals: Sequence[float]) -> list[float]:
    """The times between messages, but for pauses of more than a second."""
    return sorted(later - earlier for earlier, later in pairwise(arrivals) if later - earlier <= 1)


def _audio_in(seen: Observed) -> Line:
    report = seen.report
    assert report is not None
    if not report.frames_received:
        text = "not heard: the program said nothing to what doctor said"
        return Line("audio in", "skipped", text, "nothing, if it only listens")
    between_s = intervals_s(_arrivals(seen))
    p50_s, p99_s = percentile(between_s, 50), percentile(between_s, 99)
    numbers: dict[str, Number] = {
        "frames": report.frames_received,
        "interval_p50_ms": None if p50_s is None else p50_s * 1000,
        "interval_p99_ms": None if p99_s is None else p99_s * 1000,
        "holes": len(report.gaps),
        "holes_ms": report.gap_ms,
        "ahead_max_s": report.furthest_ahead_s,
    }
    if report.problems:
        wrong = "; ".join(problem for problem in report.problems if problem != report.error)
        if wrong:
            advice = "send whole frames of the call's rate, one to a message: send_audio_buffer does"
            return Line("audio in", "failed", wrong, advice, numbers)
    text = f"{report.frames_received} frames came"
    if p50_s is not None and p99_s is not None:
        text += f", {milliseconds(p50_s)} apart (p50; p99 {milliseconds(p99_s)})"
    text += f", {len(report.gaps) or 'no'} hole{'s' * (len(report.gaps) != 1)} in what is heard"
    if report.gap_ms >= HOLES_MS:
        advice = "the close report in the server's log tells the cause of each hole that is the program's"
        return Line("audio in", "warning", f"{text}, {report.gap_ms} ms in all", advice, numbers)
    return Line("audio in", "passed", text, numbers=numbers)


def _arrivals(seen: Observed) -> list[float]:
    recording = seen.recording
    assert recording is not None
    return [entry.at_s for entry in recording.entries if entry.kind is Kind.AUDIO_FROM_SERVER]


def bursts_s(arrivals: Sequence[float], frame_s: float) -> list[float]:
    """How much audio came at once, each time that it came after as long a wait: that it was saved up."""
    found: list[float] = []
    began_s, count, waited_s = -math.inf, 0, 0.0
    last_s = -math.inf
    for at_s in [*arrivals, math.inf]:
        if at_s - last_s > _TOGETHER_S:
            audio_s = count * frame_s
            if audio_s >= BURST_S and 0.7 * audio_s <= waited_s <= 1.5 * audio_s:
                found.append(audio_s)
            waited_s, began_s, count = at_s - began_s, at_s, 0
        count += 1
        last_s = at_s
    return found


def _buffering(seen: Observed) -> Line:
    report = seen.report
    assert report is not None
    took_s = sorted(took for _, took in seen.pings.values() if took is not None)
    p50_s = percentile(took_s, 50)
    bursts = bursts_s(_arrivals(seen), report.frame_ms / 1000)
    numbers: dict[str, Number] = {
        "ping_p50_ms": None if p50_s is None else p50_s * 1000,
        "connect_ms": seen.connect_s * 1000,
        "bursts": len(bursts),
        "burst_max_ms": max(bursts, default=0.0) * 1000,
    }
    if p50_s is None:
        return Line("buffering", "skipped", "can't be told: no ping among the frames was answered", numbers=numbers)
    if p50_s - seen.connect_s > HELD_S:
        text = (
            f"something holds back what passes: a ping among the frames took {milliseconds(p50_s)}, where connecting "
            f"took {milliseconds(seen.connect_s)}"
        )
        if bursts:
            text += f", and audio came in bursts of {milliseconds(max(bursts))}"
        advice = "take away what saves up data on the way; or the program blocks its event loop: its log says so"
        return Line("buffering", "failed", text, advice, numbers)
    if len(bursts) >= 2:
        text = f"pings pass quickly, but audio came in {len(bursts)} bursts of up to {milliseconds(max(bursts))}"
        advice = "the program sends it so: an interruption can't take back what is sent"
        return Line("buffering", "warning", text, advice, numbers)
    return Line("buffering", "passed", f"nothing is held back: {milliseconds(p50_s)} for a ping among the frames")


def _ping(seen: Observed) -> Line:
    took_s = sorted(took for _, took in seen.pings.values() if took is not None)
    sent = len(seen.pings)
    p50_s = percentile(took_s, 50)
    numbers: dict[str, Number] = {"pings": sent, "pongs": len(took_s)}
    if p50_s is None:
        return Line("ping", "failed", f"none of {sent} pings was answered", "a server has to answer them", numbers)
    numbers |= {"p50_ms": p50_s * 1000, "max_ms": took_s[-1] * 1000}
    text = f"there and back in {milliseconds(p50_s)}, {milliseconds(took_s[-1])} at the most"
    if p50_s > SLOW_PING_S:
        advice = "so long every answer is late: move the server nearer to the session's media region"
        return Line("ping", "warning", text, advice, numbers)
    return Line("ping", "passed", text, numbers=numbers)


def _texts(seen: Observed) -> Line:
    report = seen.report
    assert report is not None
    notifies = sum('"notify"' in text.text for text in report.texts)
    numbers: dict[str, Number] = {"texts": report.texts_received, "clears": report.clears, "notifies": notifies}
    if not report.texts_received:
        told = "not heard: the program sent no text"
        if report.interruptions:
            told += ", and no clear command when it was interrupted"
        return Line("texts", "skipped", told, "nothing, if it doesn't listen for interruptions", numbers)
    told = f"{report.texts_received} came: {report.clears} clear commands, {notifies} notify commands"
    return Line("texts", "passed", f"{told}; what answers them was sent", numbers=numbers)


def _idle(seen: Observed, idle_s: float | None) -> Line:
    if idle_s is None:
        return Line("idle", "skipped", "not asked for", "--long waits for 75 s without a frame")
    if seen.quiet is None:
        return Line("idle", "skipped", "the call had ended")
    since_s, until_s = seen.quiet
    pings = sum(since_s <= at_s <= until_s for at_s in seen.pings_of_server)
    told = f"{pings} pings of the server came meanwhile" if pings else "no ping of the server came meanwhile"
    numbers: dict[str, Number] = {"quiet_s": until_s - since_s, "pings_of_server": pings}
    if seen.ended_while == "quiet":
        text, _ = _end(seen)
        advice = (
            "raise the idle limit of the proxy, tunnel or load balancer above the time between two pings of the server "
            "(20 s), or let the server ping more often"
        )
        text = f"{text} after {until_s - since_s:.1f} s without a frame; {told}"
        return Line("idle", "failed", text, advice, numbers)
    return Line("idle", "passed", f"{until_s - since_s:.0f} s without a frame are survived; {told}", numbers=numbers)


def _close(seen: Observed) -> Line:
    lost = seen.lost
    if seen.ended_while is not None:
        return Line("close", "skipped", "the call had ended")
    if lost is None or seen.close_code is None:
        advice = "the other end learns of a hang-up late, or never: see that the proxy passes on close frames"
        return Line("close", "failed", "the server's close frame didn't come", advice)
    numbers: dict[str, Number] = {"code": seen.close_code}
    if seen.close_code == (lost.code or 0):
        return Line("close", "passed", f"the server answers with the same code, {seen.close_code}", numbers=numbers)
    text = f"closed with {lost.code}, and {seen.close_code} came back"
    advice = "another code in the server's log than the one that was sent: something on the way makes its own"
    return Line("close", "warning", text, advice, numbers)
