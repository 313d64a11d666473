"""From the texts of options to the values that the library takes. What can't be used is a `CommandError`.

Nothing here calls or serves, and nothing heavy is imported, so that `--help` is quick.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..admission.shared_secret import SharedSecret
from ..core.json_audio import JSONTransport
from .target import CommandError

SECRET_VARIABLE = "AUDIO_CONNECTOR_SECRET"
"""The environment variable of `serve --secret`: an argument could be read in the list of processes."""


def shared_secret(parameter: str | None) -> SharedSecret | None:
    """The check of `serve --secret NAME`."""
    if parameter is None:
        return None
    secret = os.environ.get(SECRET_VARIABLE)
    if secret is None:
        raise CommandError(f"--secret needs the secret in the environment variable {SECRET_VARIABLE}")
    return SharedSecret(secret, query=parameter)


def json_transport(transport: str, audio_field: str | None, answer_field: str | None) -> JSONTransport | None:
    """The JSON transport as the server has it; None: binary messages."""
    if transport == "json":
        return JSONTransport("audio" if audio_field is None else audio_field, answer_field)
    if audio_field is not None or answer_field is not None:
        raise CommandError("--audio-field and --answer-field are for --transport json")
    return None


def read_duration(text: str | None) -> float | None:
    """The seconds of `--for 10m`: a number, and s, m or h behind it; None: no limit."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds < math.inf:
        raise CommandError(f"--for takes a time such as 90s, 10m or 2h, not {text!r}")
    return seconds


def check_output(inputs: Sequence[Path], output_path: Path | None) -> None:
    """Refuse what could not be written after the call."""
    if output_path is None:
        return
    if output_path.resolve() in [path.resolve() for path in inputs]:
        raise CommandError(f"{output_path} would overwrite the file of --input")
    if output_path.is_dir() or not output_path.parent.is_dir():
        raise CommandError(f"{output_path} is no file in an existing folder")


def read_headers(pairs: list[str]) -> dict[str, str]:
    """The custom headers of `--header NAME=VALUE`."""
    headers = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise CommandError(f"--header takes NAME=VALUE, not {pair!r}")
        headers[name] = value
    return headers
