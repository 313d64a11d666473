"""`python -m benchmarks.load PLAN`: carries out one plan, and writes what it saw as lines of JSON.

First line: how connecting went, and when the first frame is sent. Last line: the result.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import sys
import time
from typing import Any

import uvloop
from picows import WSListener, ws_connect

from ..frames import FRAMES_A_SECOND, PLAY_S
from ..judge import hear, intervals_s, percentile
from ..servers.control import raise_file_limit
from .plan import Plan
from .streams import Interrupting, JSONStream, Stream, Ticker

CONNECT_TIMEOUT_S = 30.0
AT_ONCE = 64  # handshakes
START_IN_S = 0.3
ECHO_TAIL_S = 1.0  # the last echoes may take this long
PLAY_SLACK_S = 10.0


async def main(plan: Plan) -> None:
    """Connect, do what the plan says, tell what came of it."""
    kind = JSONStream if plan.json else Stream
    streams = [kind(number) for number in range(plan.streams)]
    interrupting = [Interrupting(plan.streams + number) for number in range(plan.interrupting)]
    everyone = [*streams, *interrupting]
    began_s = time.monotonic()
    failures = await connect(everyone, plan)
    start_s = time.monotonic() + START_IN_S
    gc.collect()
    gc.freeze()
    gc.disable()  # its pauses would be counted as the server's
    say(
        {
            "connected": len(everyone) - len(failures),
            "failed": len(failures),
            "failure": failures[0] if failures else "",
            "open_s": time.monotonic() - began_s,
            "start_s": start_s,
        }
    )
    if plan.kind == "idle":
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        result: dict[str, Any] = {}
    else:
        result = await drive(plan, streams, interrupting, start_s)
    result["lost"] = sum(stream.lost for stream in everyone)
    for stream in everyone:
        stream.close()
    await asyncio.sleep(0.2)
    say(result)


async def connect(streams: list[Stream], plan: Plan) -> list[str]:
    """Open all, at the rate of the plan; returns what went wrong."""
    failures: list[str] = []
    gate = asyncio.Semaphore(AT_ONCE)
    began_s = time.monotonic()

    async def one(place: int, stream: Stream) -> None:
        await asyncio.sleep(max(0.0, began_s + place / plan.opens_a_second - time.monotonic()))

        def listener() -> WSListener:
            return stream

        async with gate:
            try:
                await ws_connect(
                    listener,
                    f"{'wss' if plan.tls else 'ws'}://127.0.0.1:{plan.port}/",
                    ssl_context=unchecked() if plan.tls else None,
                    websocket_handshake_timeout=CONNECT_TIMEOUT_S,
                    use_aiofastnet=False,
                )
            except Exception as exc:  # noqa: BLE001 - whatever it was, it is counted and told
                failures.append(f"{type(exc).__name__}: {exc}")

    async with asyncio.TaskGroup() as opening:
        for place, stream in enumerate(streams):
            opening.create_task(one(place, stream))
    return failures


def unchecked() -> ssl.SSLContext:
    """TLS without a look at the certificate, which the runner has made for itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def drive(plan: Plan, streams: list[Stream], interrupting: list[Interrupting], start_s: float) -> dict[str, Any]:
    """Send what the plan says and judge what came."""
    if plan.kind == "play":
        from_s, to_s = start_s, start_s + 1.0
        ticker = Ticker([stream.send for stream in streams], 1.0, start_s, to_s, plan.slot_s)
    else:
        from_s, to_s = start_s + plan.warmup_s, start_s + plan.warmup_s + plan.window_s
        ticker = Ticker([stream.send for stream in streams], 1.0 / plan.frames_a_second, start_s, to_s, plan.slot_s)
    loop = asyncio.get_running_loop()
    for place, stream in enumerate(interrupting):
        loop.call_later(start_s - time.monotonic() + place / len(interrupting), stream.interrupt)
    await asyncio.sleep(from_s - time.monotonic())
    cpu_s, began_s = time.process_time(), time.monotonic()
    await ticker.done.wait()
    if plan.kind == "play":
        await all_played(streams, to_s + PLAY_S + PLAY_SLACK_S)
    share = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
    lateness = percentile((late for due_s, late in ticker.lateness if from_s <= due_s < to_s), 0.99)
    result: dict[str, Any] = {"cpu_share": share, "late_p99_ms": 1000 * (lateness or 0.0)}
    if plan.kind == "play":
        return result | played(streams)
    await asyncio.sleep(ECHO_TAIL_S if plan.kind != "in" else 0.1)
    if plan.kind in ("echo", "barge-in"):
        result |= echoed(streams, from_s, to_s)
    if plan.kind == "barge-in":
        result |= interrupted(interrupting)
    return result


async def all_played(streams: list[Stream], until_s: float) -> None:
    """Wait until each stream has its whole answer, or it is too late."""
    frames = round(PLAY_S * FRAMES_A_SECOND)
    while any(len(stream.arrivals_s) < frames and not stream.lost for stream in streams):
        if time.monotonic() > until_s:
            return
        await asyncio.sleep(0.1)


def played(streams: list[Stream]) -> dict[str, Any]:
    """What the sessions heard of the answers."""
    heard = [hear(stream.arrivals_s) for stream in streams]
    return {
        "frames": sum(one.frames for one in heard),
        "missing": sum(round(PLAY_S * FRAMES_A_SECOND) - one.frames for one in heard),
        "gaps": sum(one.gaps for one in heard),
        "gap_streams": sum(one.gaps > 0 for one in heard),
        "ahead_p50_ms": ms(percentile((one.ahead_s for one in heard), 0.5)),
        "ahead_max_ms": ms(max(one.ahead_s for one in heard)),
        "interval_p99_ms": ms(percentile((gap for s in streams for gap in intervals_s(s.arrivals_s)), 0.99)),
        "interval_max_ms": ms(max((gap for s in streams for gap in intervals_s(s.arrivals_s)), default=None)),
    }


def echoed(streams: list[Stream], from_s: float, to_s: float) -> dict[str, Any]:
    """How late the echoes came, and whether they came in time to be heard without a gap."""
    latencies_s = [
        at_s - sent_s
        for stream in streams
        for sent_s, at_s in zip(stream.sent_s, stream.arrivals_s, strict=True)
        if from_s <= sent_s < to_s
    ]
    heard = [hear([at_s for at_s in stream.arrivals_s if at_s >= from_s]) for stream in streams]
    return {
        "echoes": len(latencies_s),
        "missing": sum(stream.sequence - len(stream.arrivals_s) for stream in streams),
        "echo_p50_ms": ms(percentile(latencies_s, 0.5)),
        "echo_p99_ms": ms(percentile(latencies_s, 0.99)),
        "echo_max_ms": ms(max(latencies_s, default=None)),
        "gaps": sum(one.gaps for one in heard),
        "gap_streams": sum(one.gaps > 0 for one in heard),
    }


def interrupted(streams: list[Interrupting]) -> dict[str, Any]:
    """What came when, after a flush."""
    first_new_s = [value for stream in streams for value in stream.first_new_s]
    last_old_s = [value for stream in streams for value in stream.last_old_s]
    old_left_s = [value for stream in streams for value in stream.old_left_s]
    return {
        "interruptions": len(first_new_s),
        "unanswered": sum(stream.waits for stream in streams),
        "old_after_new": sum(stream.old_after_new for stream in streams),
        "first_new_s": first_new_s,
        "last_old_s": last_old_s,
        "old_left_s": old_left_s,
    }


def ms(seconds: float | None) -> float | None:
    """In milliseconds."""
    return None if seconds is None else 1000 * seconds


def say(message: dict[str, Any]) -> None:
    """One line for the runner."""
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    raise_file_limit()
    uvloop.run(main(Plan(**json.loads(sys.argv[1]))))
    os._exit(0)  # what is still closing is of no interest
