"""The store of used tokens: each opens one connection, whatever threads, clocks and a failing store do."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from visitors import Clock, bringing

from vonage_audio_connector_server.admission.tokens import MemoryReplayStore, OneTimeTokens
from vonage_audio_connector_server.errors import AudioConnectorConfigError

KEY = b"the key that minter and door share"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.slow
def test_ten_thousand_tokens_open_one_connection_each_whatever_races() -> None:
    store = MemoryReplayStore()
    door = OneTimeTokens(KEY, ttl_s=3600, store=store)
    connections = [bringing(door.mint()) for _ in range(10_000)]
    won: list[Counter[int]] = []
    start = threading.Barrier(16)

    def race() -> None:
        start.wait(30)
        won.append(Counter(number for number, connection in enumerate(connections) if door(connection)))

    threads = [threading.Thread(target=race) for _ in range(16)]
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as often as can be
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch_s)
    assert len(won) == 16
    assert sum(won, Counter()) == dict.fromkeys(range(10_000), 1)
    assert len(store) == 10_000


def test_looking_and_adding_is_one_step_that_no_thread_comes_between() -> None:
    held: list[bool] = []

    class Watched(str):
        __slots__ = ()

        def __hash__(self) -> int:  # a set asks for it at each look and each change
            held.append(store._lock.locked())
            return len(self)

    store = MemoryReplayStore()
    assert [store.add(Watched("a"), 4e9), store.add(Watched("a"), 4e9)] == [True, False]
    assert held == [True] * 3
    assert not store._lock.locked()


@pytest.mark.anyio
async def test_an_async_store_is_awaited(anyio_backend: str) -> None:
    memory = MemoryReplayStore()

    class Shared:
        async def add(self, token_id: str, expires_s: float) -> bool:
            return memory.add(token_id, expires_s)

    door = OneTimeTokens(KEY, store=Shared())
    connection = bringing(door.mint())
    answers = []
    for _ in range(3):
        answer = door(connection)
        assert not isinstance(answer, bool)
        answers.append(await answer)
    assert answers == [True, False, False]
    assert door(bringing("wrong")) is False  # it is not even asked


@pytest.mark.anyio
async def test_a_store_that_fails_lets_nobody_in(anyio_backend: str) -> None:
    class Down:
        def add(self, token_id: str, expires_s: float) -> bool:
            raise ConnectionError("no store")

    class DownLater:
        async def add(self, token_id: str, expires_s: float) -> bool:
            raise ConnectionError("no store")

    with pytest.raises(ConnectionError, match="no store"):
        OneTimeTokens(KEY, store=Down())(bringing(OneTimeTokens(KEY).mint()))
    later = OneTimeTokens(KEY, store=DownLater())(bringing(OneTimeTokens(KEY).mint()))
    assert not isinstance(later, bool)
    with pytest.raises(ConnectionError, match="no store"):
        await later


def test_a_store_that_answers_nothing_lets_nobody_in() -> None:
    class Forgetful:
        def add(self, token_id: str, expires_s: float) -> bool:
            return None  # type: ignore[return-value]  # on purpose: a forgotten return

    door = OneTimeTokens(KEY, store=Forgetful())
    assert door(bringing(door.mint())) is False


def test_the_memory_stays_bounded_and_forgets_what_has_expired(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryReplayStore(100, clock=clock)
    door = OneTimeTokens(KEY, store=store, clock=clock)

    def let_in(count: int) -> int:
        return sum(bool(door(bringing(door.mint()))) for _ in range(count))

    for episode in (1, 2):
        assert let_in(1000) == 100
        assert len(store) == len(store._by_expiry) == 100
        (*_, warning) = caplog.records
        assert len(caplog.records) == episode  # one warning, not 900
        assert warning.levelno == logging.WARNING
        assert "100 used tokens are remembered" in warning.getMessage()
        clock.now_s += 60
        assert let_in(60) == 60  # there is room at once, though not all is forgotten at once
        clock.now_s += 60
        assert let_in(1) == 1
        assert let_in(99) == 99
        assert len(store) <= 100
        clock.now_s += 60
        for _ in range(100):
            door(bringing(door.mint()))
            clock.now_s += 60
        assert len(store) <= 2
        assert len(store._by_expiry) == len(store)


def test_a_token_that_expires_first_is_forgotten_first(clock: Clock) -> None:
    store = MemoryReplayStore(100, clock=clock)
    for number in range(100):  # long and short lives in turns
        assert store.add(str(number), clock.now_s + (3600 if number % 2 == 0 else 100 - number))
    clock.now_s += 100
    assert sum(store.add(str(number), clock.now_s + 1) for number in range(100, 200)) == 50
    assert len(store) == 100


def test_a_brim_that_is_passed_again_and_again_is_told_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryReplayStore(10, clock=clock)
    answers = []
    for number in range(1000):  # twenty come in while ten can stay
        clock.now_s += 1
        answers.append(store.add(str(number), clock.now_s + 20))
    assert 450 < sum(answers) < 550
    assert len(caplog.records) == 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(-40, 40), st.integers(-90, 90)), max_size=60),
    st.integers(1, 20),
)
def test_no_clock_makes_the_memory_let_a_token_in_twice(steps: list[tuple[int, int, int]], max_tokens: int) -> None:
    clock = Clock()
    store = MemoryReplayStore(max_tokens, clock=clock)
    expiries: dict[str, float] = {}  # a token's expiry is signed: it never changes
    let_in: Counter[str] = Counter()
    for number, life_s, tick_s in steps:
        clock.now_s += tick_s  # forwards and backwards
        expires_s = expiries.setdefault(str(number), clock.now_s + life_s)
        let_in[str(number)] += store.add(str(number), expires_s)
        assert len(store) <= max_tokens
    assert max(let_in.values(), default=0) <= 1


def test_a_clock_that_is_set_back_opens_no_second_use(clock: Clock) -> None:
    door = OneTimeTokens(KEY, clock=clock)
    token = door.mint()
    assert door(bringing(token)) is True
    clock.now_s += 60
    assert door(bringing(door.mint())) is True  # the first one is forgotten
    clock.now_s -= 30
    assert door(bringing(token)) is False
    assert door(bringing(door.mint())) is True  # it expires later than what was forgotten
    clock.now_s -= 31
    assert door(bringing(door.mint())) is False  # until the clock has caught up
    clock.now_s += 2
    assert door(bringing(door.mint())) is True


@pytest.mark.parametrize("max_tokens", [0, -1, 1.5, True, "10"])
def test_a_wrong_size_of_the_memory(max_tokens: Any) -> None:
    with pytest.raises(AudioConnectorConfigError, match=r"^max_tokens must "):
        MemoryReplayStore(max_tokens)
