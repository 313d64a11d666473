"""Where a message goes in this library, in bytecodes a frame: the same in every run, whatever else the machine does.

    benchmarks/.venvs/ours/bin/python -m benchmarks.bytecodes echo
    benchmarks/.venvs/ours/bin/python -m benchmarks.bytecodes in for      (with `async for`)

It needs the environments that `make bench-quick` makes. A real server is traced for a moment under a load so small that
it keeps up while it is traced: else frames would queue, and be handed over in another way.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from vonage_audio_connector_server import AudioConnectorServerConfig, Client, Video

from .environments import ROOT, python
from .load.plan import Plan
from .peers import LOAD_ENVIRONMENT

STREAMS = 2
WARMUP_S, TRACED_S = 2.5, 2.0
SHOWN = 40

_FRAME = "call.py:Call.audio_received"  # called once for each


class Tracer:
    """Counts calls and bytecodes of each function."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bytecodes: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: object) -> Tracer:
        """As `sys.settrace` wants it."""
        name = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"
        if event == "call":
            self.calls[name] += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.bytecodes[name] += 1
        return self


async def trace(role: Any, *, iterates: bool) -> Tracer:
    """Trace a server that counts (`in`) or sends back (`echo`) what comes."""

    async def on_connect(client: Client) -> None:
        async def on_message(message: bytes | str) -> None:
            if role == "echo" and isinstance(message, bytes):
                await client.send_audio_buffer(message)

        if not iterates:
            client.set_handler(on_message=on_message)
            return
        async for message in client:
            if role == "echo" and isinstance(message, bytes):
                await client.send_audio_buffer(message)

    tracer = Tracer()
    config = AudioConnectorServerConfig(host="127.0.0.1", port=0, on_connect=on_connect, watchdog=False)
    server = await Video().start_audio_connector_server(config)
    plan = Plan(kind=role, port=server.port, streams=STREAMS, warmup_s=1.0, window_s=WARMUP_S + TRACED_S)
    load = subprocess.Popen(  # noqa: ASYNC220 - it is started once, before anything is measured
        [str(python(LOAD_ENVIRONMENT)), "-m", "benchmarks.load", plan.to_json()],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        await asyncio.sleep(WARMUP_S)
        sys.settrace(tracer)
        await asyncio.sleep(TRACED_S)
        sys.settrace(None)
    finally:
        load.kill()
        load.wait()
        await server.stop(drain_s=0)
    return tracer


def main() -> None:
    """Print the functions that take most."""
    role, listens = [*sys.argv[1:], "echo", ""][:2]
    tracer = asyncio.run(trace(role, iterates=listens == "for"))
    frames = tracer.calls[_FRAME]
    if not frames:
        raise SystemExit("no frame came: is the environment 'picows' there? make bench-quick")
    print(f"{frames} frames, {tracer.bytecodes.total() / frames:.0f} bytecodes each")
    for name, count in tracer.bytecodes.most_common(SHOWN):
        print(f"{count / frames:8.1f}  in {tracer.calls[name] / frames:5.2f} calls of {name}")


if __name__ == "__main__":
    main()
