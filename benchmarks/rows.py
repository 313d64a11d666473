"""The rows of the benchmark: each function measures one peer once, and returns figures with their units in the name.

What could not be judged because the load itself was too slow raises `Saturated`: it is no figure of the peer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .judge import percentile
from .load.plan import Plan
from .peers import Peer
from .processes import ChildError, LoadProcess, ServerProcess

MOST_LATE_MS = 10.0
MOST_LOAD_CPU = 0.95
MOST_WAITED = 0.05
CAPACITY_ECHO_P99_MS = 60.0
CAPACITY_MISSING = 0.001
MOST_PROBES = 8
PROBE_SLOT_S = 0.0005  # a server near its limit serves several frames in a turn anyway; the load gains much
MOST_STREAMS = 2000
GROWTH_STREAMS = (10, 100, 300, 1000)
GROWTH_FRAMES_A_SECOND = 5000.0
INTERRUPTING = 10

Figures = dict[str, Any]


class Saturated(Exception):  # noqa: N818 - it is a finding, not a fault
    """The load generator could not keep up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much is measured."""

    streams: int = 200
    rounds: int = 5
    warmup_s: float = 2.0
    window_s: float = 4.0
    play_s: float = 15.0
    barge_in_s: float = 10.0
    probe_s: float = 4.0
    idle: int = 1000
    churn: int = 3000
    environment: dict[str, str] = field(default_factory=dict)


def measure_in(peer: Peer, settings: Settings) -> Figures:
    """(a) What one message costs that comes."""
    return _steady(peer, settings, "in", peer.streams(settings.streams))


def measure_echo(peer: Peer, settings: Settings) -> Figures:
    """(b) What one message costs that comes and goes back, and how late it is."""
    return _steady(peer, settings, "echo", peer.streams(settings.streams))


def measure_growth(peer: Peer, settings: Settings, streams: int) -> Figures:
    """(g) The cost of a message of so many streams, which send at most 5,000 messages a second together."""
    return _steady(peer, settings, "in", streams, min(50.0, GROWTH_FRAMES_A_SECOND / streams))


def measure_play(peer: Peer, settings: Settings) -> Figures:
    """(c) What one frame of a long answer costs, and what the session heard."""
    streams = peer.streams(settings.streams)
    with ServerProcess(peer, "play", settings.environment) as server:
        with LoadProcess(Plan(kind="play", port=server.port, streams=streams), settings.environment) as load:
            _all_connected(load)
            before = server.used()
            figures = load.read(settings.play_s + 30.0)
            after = server.used()
        _check_load(figures)
        cost = {"us_a_frame": _us(before, after, figures["frames"]), "server_cpu": _share(before, after)}
        cost["waited"] = _waited(before, after)
        return {"streams": streams, **cost, **figures, "detail": server.about["detail"]}


def measure_barge_in(peer: Peer, settings: Settings) -> Figures:
    """(e) How fast a flush acts, while the other streams are echoed."""
    streams = peer.streams(settings.streams)
    with ServerProcess(peer, "barge-in") as server:
        plan = Plan(
            kind="barge-in",
            port=server.port,
            streams=streams,
            interrupting=min(INTERRUPTING, streams),
            warmup_s=settings.warmup_s,
            window_s=settings.barge_in_s,
        )
        with LoadProcess(plan) as load:
            _all_connected(load)
            figures = load.read(plan.warmup_s + plan.window_s + 20.0)
        _check_load(figures)
    for name in ("first_new", "last_old", "old_left"):
        values_ms = [1000 * value for value in figures.pop(f"{name}_s")]
        figures[f"{name}_p50_ms"] = percentile(values_ms, 0.5)
        figures[f"{name}_p99_ms"] = percentile(values_ms, 0.99)
        figures[f"{name}_max_ms"] = max(values_ms, default=None)
    return {"streams": streams, **figures, "detail": server.about["detail"]}


def measure_capacity(peer: Peer, settings: Settings, guess: int) -> Figures:
    """(d) The most streams that are echoed without a gap heard, with a p99 under 60 ms; a search in short windows."""
    carried, too_many = 0, MOST_STREAMS + 1
    probes: list[Figures] = []
    streams, saturated = min(guess, MOST_STREAMS), False
    while len(probes) < MOST_PROBES and too_many - carried > max(2, carried // 25):
        try:
            probe = _probe(peer, settings, streams)
        except Saturated as exc:
            probes.append({"streams": streams, "saturated": str(exc)})
            too_many, saturated = streams, True
        else:
            probes.append(probe)
            if probe["carried"]:
                carried = streams
            else:
                too_many, saturated = streams, False
        if too_many > MOST_STREAMS:
            streams = min(MOST_STREAMS, max(streams + 2, round(streams * 1.35)))
        elif not carried:
            streams = max(1, round(streams * 0.6))
        else:
            streams = (carried + too_many) // 2
    return {"streams": carried, "load_was_the_limit": saturated or carried == MOST_STREAMS, "probes": probes}


def measure_memory(peer: Peer, settings: Settings) -> Figures:
    """(f) What a connection costs that says nothing: resident memory, and in a run of its own what Python allocated."""
    figures = _idle_bytes(peer, settings, {})
    if peer.traced:
        traced = _idle_bytes(peer, settings, {"BENCHMARK_TRACEMALLOC": "1"})
        figures["traced_kb"] = traced["traced_kb"]
    else:
        del figures["traced_kb"]
    return figures


def measure_churn(peer: Peer, settings: Settings) -> Figures:
    """(h) Many connections opened, held and closed."""
    plan = Plan(kind="idle", port=0, streams=peer.connections(settings.churn))
    with ServerProcess(peer, "in") as server:
        before = server.used(collect=True)
        with LoadProcess(_to(plan, server.port)) as load:
            time.sleep(2.0)
            held = server.used()
            load.write("close")
            result = load.read(30.0)
        time.sleep(2.0)
        closed = server.used(collect=True)
    opened = load.opened
    return {
        "connections": plan.streams,
        "failed": opened["failed"],
        "failure": opened["failure"],
        "lost": result["lost"],
        "open_s": opened["open_s"],
        "cpu_ms_a_connection": 1000 * (closed["cpu_s"] - before["cpu_s"]) / plan.streams,
        "rss_before_mb": before["rss_bytes"] / 1e6,
        "rss_held_mb": held["rss_bytes"] / 1e6,
        "rss_closed_mb": closed["rss_bytes"] / 1e6,
    }


def _steady(peer: Peer, settings: Settings, role: Any, streams: int, frames_a_second: float = 50.0) -> Figures:
    """Cost and latency in a window behind a warm-up."""
    with ServerProcess(peer, role) as server:
        plan = Plan(
            kind=role,
            port=server.port,
            streams=streams,
            frames_a_second=frames_a_second,
            warmup_s=settings.warmup_s,
            window_s=settings.window_s,
            tls=peer.tls,
            json=peer.json,
        )
        with LoadProcess(plan) as load:
            _all_connected(load)
            _sleep_until(load.opened["start_s"] + settings.warmup_s)
            before = server.used()
            _sleep_until(load.opened["start_s"] + settings.warmup_s + settings.window_s)
            after = server.used()
            figures = load.read(30.0)
        _check_load(figures)
    handled = after["received"] - before["received"]
    wanted = streams * frames_a_second * (after["at_s"] - before["at_s"])
    return {
        "streams": streams,
        "us_a_message": _us(before, after, handled),
        "server_cpu": _share(before, after),
        "waited": _waited(before, after),
        "handled": handled / wanted,
        **figures,
        "detail": server.about["detail"],
    }


def _probe(peer: Peer, settings: Settings, streams: int) -> Figures:
    with ServerProcess(peer, "echo") as server:
        plan = Plan(
            kind="echo",
            port=server.port,
            streams=streams,
            warmup_s=1.5,
            window_s=settings.probe_s,
            slot_s=PROBE_SLOT_S,
        )
        try:
            with LoadProcess(plan) as load:
                _all_connected(load)
                figures = load.read(plan.warmup_s + plan.window_s + 30.0)
        except ChildError as exc:  # connecting so many is part of carrying them
            return {"streams": streams, "carried": False, "why": str(exc)}
    _check_load(figures)
    p99_ms = figures["echo_p99_ms"]
    figures["carried"] = (
        figures["gaps"] == 0
        and figures["lost"] == 0
        and figures["missing"] <= CAPACITY_MISSING * figures["echoes"]
        and p99_ms is not None
        and p99_ms < CAPACITY_ECHO_P99_MS
    )
    return {"streams": streams, **figures}


def _idle_bytes(peer: Peer, settings: Settings, environment: dict[str, str]) -> Figures:
    connections = peer.connections(settings.idle)
    with ServerProcess(peer, "in", environment) as server:
        first = Plan(
            kind="idle", port=server.port, streams=20, tls=peer.tls
        )  # what is made once is no cost of a connection
        with LoadProcess(first):
            before = server.used(collect=True)
            plan = Plan(kind="idle", port=server.port, streams=connections, opens_a_second=500.0, tls=peer.tls)
            with LoadProcess(plan) as load:
                _all_connected(load)
                time.sleep(1.0)
                after = server.used(collect=True)
    return {
        "connections": connections,
        "rss_kb": (after["rss_bytes"] - before["rss_bytes"]) / 1000 / connections,
        "traced_kb": (after["traced_bytes"] - before["traced_bytes"]) / 1000 / connections,
    }


def _to(plan: Plan, port: int) -> Plan:
    return Plan(kind=plan.kind, port=port, streams=plan.streams, opens_a_second=500.0)


def _all_connected(load: LoadProcess) -> None:
    if load.opened["failed"]:
        raise ChildError(f"{load.opened['failed']} connections failed: {load.opened['failure']}")


def _check_load(figures: Figures) -> None:
    late_ms, share = figures["late_p99_ms"], figures["cpu_share"]
    if late_ms > MOST_LATE_MS or share > MOST_LOAD_CPU:
        raise Saturated(f"load generator saturated: p99 {late_ms:.1f} ms late, {100 * share:.0f} % of its core")


def _us(before: Figures, after: Figures, messages: int) -> float | None:
    return 1e6 * (after["cpu_s"] - before["cpu_s"]) / messages if messages else None


def _share(before: Figures, after: Figures) -> float:
    share: float = (after["cpu_s"] - before["cpu_s"]) / (after["at_s"] - before["at_s"])
    return share


def _waited(before: Figures, after: Figures) -> float | None:
    """The share of the time in which others had the server's core: then messages pile up, and cost less each."""
    if before["waited_s"] is None:
        return None
    waited: float = (after["waited_s"] - before["waited_s"]) / (after["at_s"] - before["at_s"])
    return waited


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))
