"""What the tests of the door share: whoever knocks, a clock that they set, and a look at all that an object shows."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.datastructures import Headers

from vonage_audio_connector_server.connection_data import AudioConnectorConnectionData


class Clock:
    """Unix time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def seen(uri: str = "/", *headers: tuple[str, bytes]) -> AudioConnectorConnectionData:
    """What is known of a connection before its handshake is accepted."""
    raw = [(name.lower().encode(), value) for name, value in headers]
    return AudioConnectorConnectionData(id="c0ffee", uri=uri, headers=Headers(raw=raw))


def bringing(token: str) -> AudioConnectorConnectionData:
    """A connection with a token, among other parameters."""
    return seen(f"/room/7?tenant=blue&token={token}&last=1")


def all_shown(thing: object) -> Iterator[str]:
    """What `repr` and `str` show of an object and of all that it holds."""
    yield f"{thing!r} {thing}"
    for held in getattr(thing, "__dict__", {}).values():
        yield from all_shown(held)
