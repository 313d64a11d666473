"""The ways in which every WebSocket test serves its app."""

from __future__ import annotations

import pytest

from .ws_way import Way

_WAYS = [
    Way("ours", "asyncio", False),
    Way("ours", "asyncio", True),
    Way("ours", "uvloop", False),
    Way("sansio", "asyncio", False),
    Way("wsproto", "asyncio", False),
]
# They tell least: each of their parts is in one of the ways above.
_SLOW_WAYS = [
    Way("ours", "uvloop", True),
    Way("sansio", "asyncio", True),
    Way("sansio", "uvloop", False),
    Way("sansio", "uvloop", True),
    Way("wsproto", "asyncio", True),
    Way("wsproto", "uvloop", False),
    Way("wsproto", "uvloop", True),
]


@pytest.fixture(
    params=[*_WAYS, *(pytest.param(way, marks=pytest.mark.slow) for way in _SLOW_WAYS)],
    ids=str,
)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    found.skip_what_is_not_installed()
    return found
