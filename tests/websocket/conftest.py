"""The ways in which every WebSocket test serves its app."""

from __future__ import annotations

import pytest

from .ws_way import Way

_WAYS = [
    Way("ours", "asyncio", "clear"),
    Way("ours", "asyncio", "tls"),
    Way("ours", "asyncio", "own tls"),
    Way("ours", "uvloop", "clear"),
    Way("sansio", "asyncio", "clear"),
    Way("wsproto", "asyncio", "clear"),
]
# They tell least: each of their parts is in one of the ways above.
_SLOW_WAYS = [
    Way("ours", "uvloop", "own tls"),
    Way("ours", "uvloop", "tls"),
    Way("sansio", "asyncio", "tls"),
    Way("sansio", "uvloop", "clear"),
    Way("sansio", "uvloop", "tls"),
    Way("wsproto", "asyncio", "tls"),
    Way("wsproto", "uvloop", "clear"),
    Way("wsproto", "uvloop", "tls"),
]


@pytest.fixture(
    params=[*_WAYS, *(pytest.param(way, marks=pytest.mark.slow) for way in _SLOW_WAYS)],
    ids=str,
)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    found.skip_what_is_not_installed()
    return found
