"""What all tests share. It imports nothing of the web, so that the tests of the core start in no time."""

from __future__ import annotations

import pytest

FIRST_MESSAGE = ' {"content-type":"audio/l16;rate=16000","event":"websocket:connected","caller":"Ann"}'
FRAME_BYTES = 640


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
