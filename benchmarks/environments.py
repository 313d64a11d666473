"""One virtual environment for each peer, made from its file in `requirements/`, and renewed when that has changed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
FOLDER = HERE / ".venvs"
INSTALL_TIMEOUT_S = 900


class EnvironmentMissingError(Exception):
    """An environment could not be made; the message is the last line that pip wrote."""


def python(name: str) -> Path:
    """The interpreter of an environment."""
    return FOLDER / name / "bin" / "python"


def build(name: str) -> None:
    """Make or renew an environment.

    Raises:
        EnvironmentMissingError: it can't be had.
    """
    requirements = HERE / "requirements" / f"{name}.txt"
    wanted = [requirements, *([ROOT / "pyproject.toml"] if name.startswith("ours") else [])]
    state = hashlib.sha256(b"".join(path.read_bytes() for path in wanted) + sys.version.encode()).hexdigest()
    stamp = FOLDER / name / ".stamp"
    if stamp.exists() and python(name).exists() and stamp.read_text() == state:
        return
    try:
        venv.create(FOLDER / name, with_pip=True, clear=True)
        pip = [str(python(name)), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "-r", str(requirements)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as exc:
        lines = (exc.stderr or str(exc)).strip().splitlines()
        raise EnvironmentMissingError(lines[-1] if lines else str(exc)) from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise EnvironmentMissingError(str(exc)) from exc
    stamp.write_text(state)


def versions(name: str) -> list[str]:
    """What is installed there, as `name==version`; ours without the address of its folder."""
    listed = subprocess.run(
        [str(python(name)), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PIP_NO_INPUT": "1"},
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith(("pip=", "setuptools="))]
