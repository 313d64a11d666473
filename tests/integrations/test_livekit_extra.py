"""The extra `livekit`: what imports it, and what is said where it is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAYS = "needs the extra 'livekit': pip install 'vonage-audio-connector-server[livekit]'"


def python(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return ran.stdout + ran.stderr


def test_the_package_imports_none_of_it() -> None:
    code = "import sys, vonage_audio_connector_server as v, vonage_audio_connector_server.integrations; v.Client"
    assert python(f"{code}; print('livekit' in sys.modules)") == "False\n"


@pytest.mark.parametrize("missing", ["livekit", "livekit.agents"])
def test_without_it_one_sentence_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import vonage_audio_connector_server.integrations.livekit"
    last = python(code).splitlines()[-1]
    assert last.endswith(f"MissingExtraError: The adapter to LiveKit Agents {SAYS}")
