"""Where the protocol classes may differ, all in one place: uvicorn's own classes are held to what uvicorn promises.

Measured with uvicorn 0.54.0, websockets 17.4 and wsproto 1.3.2. Our own class has no entry.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from .ws_way import Way


class Outcome(NamedTuple):
    """What became of one violation."""

    told_peer: int | None  # the code of the close frame; None: the socket was closed without
    told_app: int


Expected = TypeVar("Expected")


def expected(way: Way, ours: Expected, **others: Expected) -> Expected:
    """What is right for the class of this way."""
    return others.get(way.protocol, ours)


def lost_code(way: Way) -> int:
    """The code that the app is told where the socket is lost without a close, or no ping is answered."""
    return expected(way, 1006, sansio=1005, wsproto=1005)  # uvicorn tells the end of the socket as "no code"


def logs_what_is_not_utf8(way: Way) -> bool:
    """Whether a text that is not UTF-8, which is the peer's fault, is an error in the server's log."""
    return expected(way, False, sansio=True)


def logs_a_denial(way: Way) -> bool:
    """Whether a handshake that was answered with a status is an error in the server's log."""
    return expected(way, False, sansio=True)


def newest_codes(way: Way) -> tuple[int, ...]:
    """Close codes that came to the registry of RFC 6455 later."""
    return expected(way, (1012, 1013, 1014), wsproto=(1012, 1013))


def close_in_a_message(way: Way) -> int:
    """How a connection ends that the peer closes with 4000 between two fragments of a message."""
    return expected(way, 4000, sansio=1002)  # websockets takes it for a violation


def checks_the_key(way: Way) -> bool:
    """Whether a handshake whose key is not one is refused before the app is asked."""
    return expected(way, True, wsproto=False)


def after_a_violation(way: Way, code: int) -> Outcome:
    """How a violation ends that is closed with this code."""
    # on wsproto uvicorn closes the socket without a word, but for its own limit
    by_wsproto = Outcome(told_peer=code if code == 1009 else None, told_app=code)
    return expected(way, Outcome(told_peer=code, told_app=code), wsproto=by_wsproto)


def keeps_what_is_in_front_of_a_violation(way: Way) -> bool:
    """Whether whole messages arrive that came in one segment with a broken frame behind them."""
    return expected(way, True, sansio=False)  # websockets fails before uvicorn has taken them


def keeps_what_comes_before_the_accept(way: Way) -> bool:
    """Whether messages arrive that the peer sent before its handshake was accepted."""
    return expected(way, True, wsproto=False)  # uvicorn loses them
