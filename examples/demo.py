"""What `make demo` runs: the parrot on a real server, and a simulated session that speaks to it in real time.

python examples/demo.py                  # writes build/heard.wav and build/report.html

It is the command `simulate`, as you would call it for a program of your own.
"""

import os
import sys
from pathlib import Path

try:
    import webrtcvad  # noqa: F401 (the parrot needs it)

    from vonage_audio_connector_server.cli.commands import app
except ImportError:
    sys.exit("demo.py needs the extras cli and examples; in the checkout: pip install '.[cli,examples]'")

HERE = Path(__file__).parent
BUILD = Path(os.path.relpath(HERE.parent / "build"))
BUILD.mkdir(exist_ok=True)
try:
    print("A parrot is served on this machine; a simulated session says librivox-2.wav to it.", flush=True)
    app(
        [
            *("simulate", f"{HERE / 'parrot.py'}:on_connect", "--input", str(HERE / "audio" / "librivox-2.wav")),
            *("--output", str(BUILD / "heard.wav"), "--report", str(BUILD / "report.html")),
            *("--compare", "--check", "gaps == 0 and same_as_question > 0.99"),
        ]
    )
except KeyboardInterrupt:  # before the call had begun
    raise SystemExit(130) from None
