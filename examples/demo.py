"""What `make demo` runs: the assistant on a real server, and a simulated session that talks to it in real time.

python examples/demo.py                  # writes into build/: heard.wav, report.html, conversation.jsonl, recording/

The session asks two questions with human speech and interrupts the second answer. It is the command `simulate`, as you
would call it for a program of your own.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = Path(os.path.relpath(HERE.parent / "build"))
CONVERSATION = BUILD / "conversation.jsonl"
SAID = ("go forward ten meters", "he was not an ill disposed young man")

try:
    import faster_whisper  # noqa: F401 (the assistant needs it)
    import hibari  # noqa: F401 (as well)
    import webrtcvad  # noqa: F401 (as well)

    from vonage_audio_connector_server.cli.commands import app
except ImportError:
    sys.exit("demo.py needs the extra demo; in the checkout: pip install '.[demo]'")


def main() -> int:
    print("An assistant is served on this machine; a simulated session talks to it.", flush=True)
    BUILD.mkdir(exist_ok=True)
    CONVERSATION.unlink(missing_ok=True)
    os.environ["TRANSCRIPT"] = str(CONVERSATION)
    try:
        app(
            [
                *("simulate", f"{HERE / 'assistant.py'}:app", "--script", str(HERE / "demo.yaml")),
                *("--output", str(BUILD / "heard.wav"), "--report", str(BUILD / "report.html")),
                *("--record", str(BUILD / "recording")),
                *("--check", "gaps == 0 and answers >= 2 and answer_p95_s < 2.5 and silent_after_s < 0.4"),
            ]
        )
    except SystemExit as exc:
        code = int(exc.code or 0)
    if CONVERSATION.exists():
        tell([json.loads(line) for line in CONVERSATION.read_text(encoding="utf-8").splitlines()])
    print(f"What the room heard is in {BUILD / 'heard.wav'}, the recording in {BUILD / 'recording'}.")
    return code


def tell(lines: list[dict[str, Any]]) -> None:
    """The conversation as text."""
    questions = iter(SAID)
    print("\nThe conversation:")
    for line in lines:
        if line["who"] == "caller":
            print(f"  said:       {next(questions, '(interrupts)')}")
            after_s, took_s = line["understood_after_s"], line["recognised_in_s"]
            print(f"  understood: {line['text']}  (after {after_s:.2f} s, {took_s:.2f} s of them the recogniser's)")
        elif line["text"]:
            print(f"  answered:   {line['meant']}")
            if line["interrupted"]:
                print(f"  heard:      {line['text']} -")
    print()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the call had begun
        raise SystemExit(130) from None
