"""What `make demo` runs: the parrot as a server of its own, and a simulated session that speaks to it in real time.

python examples/demo.py                  # writes build/heard.wav and build/report.html
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from vonage_audio_connector_server.simulator import Conversation, Patience, Setup
from vonage_audio_connector_server.simulator.conversation import question
from vonage_audio_connector_server.simulator.report import Timeline, write_html, write_stereo_wav
from vonage_audio_connector_server.simulator.wav import read_wav

try:
    import jinja2  # noqa: F401 (for the page)
    import numpy  # noqa: F401 (to compare what was heard with what was said)
    import plotly  # noqa: F401 (for the page)

    from vonage_audio_connector_server.cli.view import live_line, print_report
except ImportError:
    sys.exit("demo.py needs the extra cli; in the checkout: pip install '.[cli,examples]'")

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
HEARD, PAGE = BUILD / "heard.wav", BUILD / "report.html"
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
            steps = question(QUESTION, "librivox-2.wav")
            setup = Setup(rate_hz=RATE_HZ)
            call = Conversation(f"ws://localhost:{port}/demo", steps, setup, patience=Patience(quiet_s=2.0))
            asyncio.run(call.run(show))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        server.terminate()

report = call.report(compare=True)
BUILD.mkdir(exist_ok=True)
write_stereo_wav(HEARD, Timeline.of(call.recording))
write_html(PAGE, [call.recording], title="The parrot", reports=[report])
print_report(report)
print("What was said (left) and heard (right): build/heard.wav")
print("The report as a page, to be opened in a browser: build/report.html")
if not report.ok or report.gaps or (report.same_as_question or 0.0) < 0.99:
    sys.exit("The answer is not the question without a gap: this should not happen, please report it.")
