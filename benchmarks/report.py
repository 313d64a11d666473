"""The run in Markdown: machine, verdicts, one table for each row, versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .judge import Spread
from .peers import LETTERS, PEERS, ROWS, Peer
from .results import Results
from .rows import GROWTH_STREAMS, MOST_WAITED
from .targets import TARGETS

Cell = Callable[[Results, str], str]
BASES = {peer.name: peer.base for peer in PEERS}


def number(value: float | None, digits: int = 1) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def middle(value: Spread | None, digits: int = 1) -> str:
    """A median, and its limits where there were several rounds."""
    if value is None:
        return "–"
    limits = f" ({value.low:,.{digits}f}–{value.high:,.{digits}f})" if value.rounds > 1 else ""
    return f"{value.median:,.{digits}f}{limits}"


def spread_of(row: str, name: str, digits: int = 1, factor: float = 1.0) -> Cell:
    """The median of a figure over the rounds."""

    def cell(results: Results, peer: str) -> str:
        found = results.spread(row, peer, name)
        if found is None:
            return "–"
        return middle(Spread(found.median * factor, found.low * factor, found.high * factor, found.rounds), digits)

    return cell


def worst_of(row: str, name: str, digits: int = 0) -> Cell:
    """The greatest of all rounds."""
    return lambda results, peer: number(results.worst(row, peer, name), digits)


def ratio_of(row: str, name: str) -> Cell:
    """The ratio to the peer that it is compared with: the reference SDK in the same variant, or a bare application."""

    def cell(results: Results, peer: str) -> str:
        base = BASES[peer]
        ratio = 1.0 if peer == base and results.values(row, peer, name) else results.ratio(row, peer, base, name)
        return number(ratio, 2)

    return cell


def capacity_of(results: Results, peer: str) -> str:
    """How many streams, and whether it could have been more."""
    entry = next(results.good("capacity", peer), None)
    if entry is None:
        return "–"
    return f"{'at least ' if entry.figures['load_was_the_limit'] else ''}{entry.figures['streams']}"


def growth_of(streams: int) -> Cell:
    """The cost of a message of so many streams."""
    return lambda results, peer: middle(results.spread("growth", peer, "us_a_message", streams))


COLUMNS: dict[str, list[tuple[str, Cell]]] = {
    "in": [
        ("streams", spread_of("in", "streams", 0)),
        ("µs a message", spread_of("in", "us_a_message")),
        ("of its base", ratio_of("in", "us_a_message")),
        ("of one core, %", spread_of("in", "server_cpu", 0, 100)),
        ("handled in time, %", spread_of("in", "handled", 0, 100)),
    ],
    "echo": [
        ("streams", spread_of("echo", "streams", 0)),
        ("µs a message and its echo", spread_of("echo", "us_a_message")),
        ("of its base", ratio_of("echo", "us_a_message")),
        ("p50, ms", spread_of("echo", "echo_p50_ms", 2)),
        ("p99, ms", spread_of("echo", "echo_p99_ms", 2)),
        ("of one core, %", spread_of("echo", "server_cpu", 0, 100)),
    ],
    "play": [
        ("streams", spread_of("play", "streams", 0)),
        ("µs a frame", spread_of("play", "us_a_frame")),
        ("of its base", ratio_of("play", "us_a_frame")),
        ("gaps heard, worst round", worst_of("play", "gaps")),
        ("frames missing, worst round", worst_of("play", "missing")),
        ("furthest ahead, ms", worst_of("play", "ahead_max_ms")),
        ("interval p99, ms", spread_of("play", "interval_p99_ms", 0)),
        ("longest interval, ms", worst_of("play", "interval_max_ms")),
    ],
    "capacity": [
        ("duplex streams on one core", capacity_of),
        ("of its base", ratio_of("capacity", "streams")),
    ],
    "barge-in": [
        ("streams beside", spread_of("barge-in", "streams", 0)),
        ("interruptions a round", spread_of("barge-in", "interruptions", 0)),
        ("first new frame p50, ms", spread_of("barge-in", "first_new_p50_ms", 1)),
        ("p99, ms", spread_of("barge-in", "first_new_p99_ms", 1)),
        ("last old frame after the call, worst, ms", worst_of("barge-in", "last_old_max_ms", 1)),
        ("old audio left in the session, worst, ms", worst_of("barge-in", "old_left_max_ms")),
        ("old behind new", worst_of("barge-in", "old_after_new")),
    ],
    "memory": [
        ("connections", spread_of("memory", "connections", 0)),
        ("resident, kB each", spread_of("memory", "rss_kb")),
        ("of its base", ratio_of("memory", "rss_kb")),
        ("allocated by Python, kB each", spread_of("memory", "traced_kb")),
    ],
    "growth": [(f"{streams:,} streams, µs", growth_of(streams)) for streams in GROWTH_STREAMS],
    "churn": [
        ("connections", spread_of("churn", "connections", 0)),
        ("failed", spread_of("churn", "failed", 0)),
        ("lost", spread_of("churn", "lost", 0)),
        ("all open after, s", spread_of("churn", "open_s")),
        ("CPU, ms each", spread_of("churn", "cpu_ms_a_connection", 2)),
        ("resident before, MB", spread_of("churn", "rss_before_mb", 0)),
        ("held", spread_of("churn", "rss_held_mb", 0)),
        ("closed", spread_of("churn", "rss_closed_mb", 0)),
    ],
}

EXPLANATIONS = {
    "in": """\
Streams of 640 bytes each 20 ms. CPU time of the server's process over messages handled, behind a warm-up.""",
    "echo": """\
The same, and each frame goes back. Latency as the session sees it, from send to receive.""",
    "play": """\
Each stream asks for one long answer, handed over in one call. CPU time over frames sent. The session has a prebuffer of
200 ms; a gap is a frame that was due and not there. The reference sends 5 s at once and then pauses for 4.5 s: it has
no pacing, so few system calls, and an answer that can't be taken back.""",
    "capacity": """\
The most streams that are echoed with no gap heard, echo p99 under 60 ms, no connection lost.""",
    "barge-in": """\
Up to ten sessions more interrupt a long answer again and again. Times from the call of the flush to what arrives. “Left
in the session” is what it had received and not yet played at the call: it is heard unless the session obeys the clear
command.""",
    "memory": """\
Growth of the process by connections that have said their first message. What Python allocated comes from a second run,
with tracemalloc.""",
    "growth": """\
As row a. Up to 100 streams send 50 frames a second each, more streams fewer, so that all together send 5,000 a second
and no server is saturated.""",
    "churn": """\
Opened at 500 a second, held for 2 s, closed.""",
}


def write(results: Results, peers: Sequence[Peer], rows: Sequence[str], about: dict[str, Any]) -> str:
    """The whole report."""
    parts = [f"# Benchmark of {about['date']}", "", *_machine(about), "", "## Targets", ""]
    parts += [f"- {target.verdict(results)}" for target in TARGETS if target.met(results) is not None]
    silent = [target.text for target in TARGETS if target.met(results) is None]
    parts += [f"- not measured: {'; '.join(silent)}"] if silent else []
    letters = {row: letter for letter, row in LETTERS.items()}
    for row in rows:
        parts += ["", f"## {letters[row]}. {ROWS[row].capitalize()}", "", EXPLANATIONS[row], ""]
        parts += _table(results, peers, row)
        parts += _remarks(results, peers, row, about["absent"])
    parts += ["", "## Versions", ""]
    parts += [f"- {name}: {', '.join(found)}" for name, found in about["versions"].items()]
    return "\n".join(parts) + "\n"


def _machine(about: dict[str, Any]) -> list[str]:
    machine = ", ".join(f"{name}: {value}" for name, value in about["machine"].items())
    return [
        f"Command: `{about['command']}`. It took {about['minutes']:.0f} minutes.",
        "",
        f"Machine: {machine}.",
        "",
        "Medians of the rounds, in brackets the lowest and the highest; the peers take turns within a round.",
        "Ratios are medians of the ratios within each round.",
    ]


def _table(results: Results, peers: Sequence[Peer], row: str) -> list[str]:
    columns = COLUMNS[row]
    lines = [f"| peer | {' | '.join(title for title, _ in columns)} |", f"|---|{'--:|' * len(columns)}"]
    shown = (peer for peer in peers if any(results.good(row, peer.name)))
    lines += [f"| {peer.title} | {' | '.join(cell(results, peer.name) for _, cell in columns)} |" for peer in shown]
    return lines


def _remarks(results: Results, peers: Sequence[Peer], row: str, absent: dict[str, str]) -> list[str]:
    lines = []
    for peer in peers:
        if peer.environment in absent:
            lines.append(f"- {peer.title}: absent, its environment could not be built: {absent[peer.environment]}")
        elif (reason := peer.reason_against(row)) is not None:
            lines.append(f"- {peer.title}: {reason}.")
        lines += [f"- {peer.title}: {problem}" for problem in results.problems(row, peer.name)]
        waited = results.values(row, peer.name, "waited")
        disturbed = sum(share > MOST_WAITED for share in waited.values())
        if disturbed:
            lines.append(
                f"- {peer.title}: disturbed in {disturbed} of {len(waited)} rounds: other processes had its core for "
                f"up to {max(waited.values()):.0%} of the time. Messages that pile up cost less each."
            )
    return ["", *lines] if lines else []
