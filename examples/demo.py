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

from vonage_audio_connector_server.simulator import simulate
from vonage_audio_connector_server.simulator.wav import read_wav, write_wav

try:
    import numpy  # noqa: F401 (to compare what was heard with what was said)

    from vonage_audio_connector_server.cli.view import live_line, print_report
except ImportError:
    sys.exit("demo.py needs numpy and rich; in the checkout: pip install '.[cli,examples]'")

HERE = Path(__file__).parent
HEARD = HERE.parent / "build" / "heard.wav"
QUESTION, RATE_HZ = read_wav(HERE / "audio" / "librivox-2.wav")


def wait_until_listening(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("The server did not start.")


with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
with subprocess.Popen([sys.executable, str(HERE / "parrot.py")], env=os.environ | {"PORT": str(port)}) as server:
    try:
        wait_until_listening(port, server)
        print(f"A parrot listens on ws://localhost:{port}; a simulated session says librivox-2.wav to it.")
        with live_line() as show:
            url = f"ws://localhost:{port}/demo"
            report = asyncio.run(simulate(url, QUESTION, RATE_HZ, compare=True, on_progress=show))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        server.terminate()

HEARD.parent.mkdir(exist_ok=True)
write_wav(HEARD, report.heard, RATE_HZ)
print_report(report)
print("What a participant heard: build/heard.wav")
if not report.ok or report.gaps or (report.same_as_question or 0.0) < 0.99:
    sys.exit("The answer is not the question without a gap: this should not happen, please report it.")
