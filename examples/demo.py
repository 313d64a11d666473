"""What `make demo` runs: the parrot as a server of its own, and a simulated session that speaks to it in real time.

python examples/demo.py                  # writes build/heard.wav
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from vonage_audio_connector_server.cli.view import live_line, print_report
from vonage_audio_connector_server.simulator import SimulationReport, simulate
from vonage_audio_connector_server.simulator.wav import read_wav, write_wav

HERE = Path(__file__).parent
QUESTION = HERE / "audio" / "librivox-2.wav"
HEARD = HERE.parent / "build" / "heard.wav"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_listening(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("The server did not start.")


def call(port: int) -> SimulationReport:
    pcm, rate_hz = read_wav(QUESTION)
    with live_line() as show:
        report = asyncio.run(simulate(f"ws://localhost:{port}/demo", pcm, rate_hz, compare=True, on_progress=show))
    HEARD.parent.mkdir(exist_ok=True)
    write_wav(HEARD, report.heard, rate_hz)
    return report


port = free_port()
with subprocess.Popen([sys.executable, str(HERE / "parrot.py")], env=os.environ | {"PORT": str(port)}) as server:
    try:
        wait_until_listening(port, server)
        print(f"A parrot listens on ws://localhost:{port}; a simulated session says {QUESTION.name} to it.")
        report = call(port)
    finally:
        server.terminate()

print_report(report)
print("What a participant heard: build/heard.wav")
if not report.ok or report.gaps or (report.same_as_question or 0.0) < 0.99:
    sys.exit("The answer is not the question without a gap: this should not happen, please report it.")
