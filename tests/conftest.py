"""What all tests share. It imports nothing of the web, so that the tests of the core start in no time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from owners import Owner

    from vonage_audio_connector_server.home import Home

FIRST_MESSAGE = ' {"content-type":"audio/l16;rate=16000","event":"websocket:connected","caller":"Ann"}'
FRAME_BYTES = 640


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "trio"])
def owner(request: pytest.FixtureRequest) -> Iterator[Owner]:
    """A thread whose event loop owns a connection's `home`."""
    from owners import Owner

    with Owner(request.param) as owner:
        yield owner


@pytest.fixture
def home(owner: Owner) -> Home:
    return owner.home
