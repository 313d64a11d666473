"""Making the calls of `simulate`: one or many at once, with what the server saw of them where that runs here."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ..recording import Recording
from ..runtime import single_error
from ..simulator import Conversation, Faults, Patience, Progress, SimulationReport
from ..simulator.devices import open_devices
from ..simulator.report import joined
from .plan import Plan
from .program import Program, program

STAGGER_S = 0.02
"""Calls begin so long after each other, as people do; one frame, so that each has a phase of its own."""

OnProgress = Callable[[Sequence[Progress | None]], None]


@dataclass(frozen=True, slots=True)
class Made:
    """The calls that were made.

    Attributes:
        recordings: of each; joined to what the server saw of it.
        reports: of each.
        is_interrupted: by Ctrl-C.
    """

    recordings: list[Recording]
    reports: list[SimulationReport]
    is_interrupted: bool


def make_calls(
    target: str,
    plans: Sequence[Plan],
    *,
    path: str,
    patience: Patience,
    faults: Faults | None,
    ssl_context: ssl.SSLContext | None,
    compare: bool,
    with_devices: bool,
    on_progress: OnProgress | None,
) -> Made:
    """Make the calls to an address, or to a program that is served meanwhile; Ctrl-C ends them, and nothing is lost."""
    is_address = "://" in target
    with nullcontext() if is_address else program(target) as here:
        url = target if here is None else here.address + path
        conversations = [
            Conversation(url, plan.steps, plan.setup, patience=patience, ssl_context=ssl_context, faults=faults)
            for plan in plans
        ]
        is_interrupted = False
        try:
            asyncio.run(_run_all(conversations, with_devices, on_progress))
        except KeyboardInterrupt:
            is_interrupted = True
    recordings = [_joined(one.recording, plan, here) for one, plan in zip(conversations, plans, strict=True)]
    reports = [one.report(recording, compare=compare) for one, recording in zip(conversations, recordings, strict=True)]
    return Made(recordings, reports, is_interrupted)


async def _run_all(conversations: Sequence[Conversation], with_devices: bool, on_progress: OnProgress | None) -> None:
    now: list[Progress | None] = [None] * len(conversations)

    async def run(number: int) -> None:
        def tell(progress: Progress) -> None:
            now[number] = progress
            # The first call that goes on draws for all.
            if on_progress is not None and all(one is None for one in now[:number]):
                on_progress(now)

        await asyncio.sleep(number * STAGGER_S)
        try:
            await conversations[number].run(tell)
        finally:
            now[number] = None

    if with_devices:
        (one,) = conversations
        async with open_devices(one.rate_hz) as devices:
            one.devices = devices
            await run(0)
        return
    with single_error():
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(conversations)):
                tasks.create_task(run(number))


def _joined(recording: Recording, plan: Plan, here: Program | None) -> Recording:
    seen = None if here is None else here.seen(plan.setup.connection_id)
    return recording if seen is None else joined(recording, seen)
