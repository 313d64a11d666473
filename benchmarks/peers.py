"""Who is compared, what each can do, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

ROWS = MappingProxyType(
    {
        "in": "audio in",
        "echo": "echo",
        "play": "answers",
        "capacity": "capacity of one core",
        "barge-in": "barge-in",
        "memory": "memory of an idle connection",
        "growth": "growth",
        "churn": "connections opened, held, closed",
    }
)
LETTERS = MappingProxyType(dict(zip("abcdefgh", ROWS, strict=True)))

_NOT_ASKED = "not asked, to save time"
_NO_QUEUE = "has neither a queue nor pacing: its users write that themselves"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Peer:
    """One server program.

    Attributes:
        name: as in `--peers`, and in the files.
        title: as in the tables.
        environment: which of `requirements/` it needs.
        module: in `benchmarks.servers`.
        variant: third argument of its program.
        cannot: rows that it can't do, and why.
        most_streams: with more than these it collapses; it gets no more, and the tables say so.
        most_connections: the same for connections that say nothing.
        traced: its memory is measured with tracemalloc, too.
        only: the rows that it is asked for; all, where it is empty.
        base: the peer that its cost is compared with.
        tls: the load connects over TLS.
        json: the load sends audio as base64 in JSON texts.
    """

    name: str
    title: str
    environment: str
    module: str
    variant: str = ""
    cannot: Mapping[str, str] = field(default_factory=dict)
    most_streams: int | None = None
    most_connections: int | None = None
    traced: bool = False
    only: tuple[str, ...] = ()
    base: str = "reference"
    tls: bool = False
    json: bool = False

    def reason_against(self, row: str) -> str | None:
        """Why it isn't measured in a row; None where it is."""
        return _NOT_ASKED if self.only and row not in self.only else self.cannot.get(row)

    def streams(self, wanted: int) -> int:
        """How many streams it gets where `wanted` are meant."""
        return min(wanted, self.most_streams or wanted)

    def connections(self, wanted: int) -> int:
        """How many idle connections it gets where `wanted` are meant."""
        return min(wanted, self.most_connections or wanted)


_IN_AND_ECHO = ("in", "echo")

PEERS = (
    Peer(
        name="ours",
        title="this library, asyncio",
        environment="ours",
        module="ours",
        traced=True,
    ),
    Peer(
        name="ours-waiting",
        title="the same, a handler that waits",
        environment="ours",
        module="ours",
        variant="listen=waiting",
        only=_IN_AND_ECHO,
        base="reference-waiting",
    ),
    Peer(
        name="ours-on-audio",
        title="the same, `on_audio`",
        environment="ours",
        module="ours",
        variant="listen=on_audio",
        only=_IN_AND_ECHO,
    ),
    Peer(
        name="ours-for",
        title="the same, `async for`",
        environment="ours",
        module="ours",
        variant="listen=for",
        only=_IN_AND_ECHO,
    ),
    Peer(
        name="ours-json",
        title="the same, audio as JSON",
        environment="ours",
        module="ours",
        variant="audio=json",
        only=_IN_AND_ECHO,
        json=True,
    ),
    Peer(
        name="ours-recorded",
        title="the same, with a flight recorder",
        environment="ours",
        module="ours",
        variant="recorder=on",
        only=_IN_AND_ECHO,
        base="ours",
    ),
    Peer(
        name="ours-waiting-recorded",
        title="a handler that waits, with a flight recorder",
        environment="ours",
        module="ours",
        variant="listen=waiting,recorder=on",
        only=_IN_AND_ECHO,
        base="ours-waiting",
    ),
    Peer(
        name="ours-24khz",
        title="the same, a program that works at 24 kHz",
        environment="ours",
        module="ours",
        variant="rate=24000",
        only=_IN_AND_ECHO,
        base="ours",
    ),
    Peer(
        name="ours-waiting-24khz",
        title="a handler that waits, a program that works at 24 kHz",
        environment="ours",
        module="ours",
        variant="listen=waiting,rate=24000",
        only=_IN_AND_ECHO,
        base="ours-waiting",
    ),
    Peer(
        name="ours-tls",
        title="the same, under TLS",
        environment="ours",
        module="ours",
        only=("in", "echo", "memory"),
        base="reference-tls",
        tls=True,
    ),
    Peer(
        name="ours-fastapi",
        title="mounted in FastAPI, our class",
        environment="ours",
        module="ours",
        variant="serve=fastapi",
        only=_IN_AND_ECHO,
    ),
    Peer(
        name="ours-uvloop",
        title="this library, uvloop",
        environment="ours",
        module="ours",
        variant="loop=uvloop",
    ),
    Peer(
        name="ours-uvicorn",
        title="mounted in FastAPI, plain uvicorn",
        environment="ours",
        module="ours",
        variant="serve=uvicorn",
        only=_IN_AND_ECHO,
        base="asgi",
    ),
    Peer(
        name="asgi",
        title="a bare ASGI application, plain uvicorn",
        environment="ours",
        module="asgi",
        only=_IN_AND_ECHO,
    ),
    Peer(
        name="reference",
        title="reference SDK 0.1.1, asyncio",
        environment="reference",
        module="reference",
        traced=True,
    ),
    Peer(
        name="reference-waiting",
        title="the same, a handler that waits",
        environment="reference",
        module="reference",
        variant="listen=waiting",
        only=_IN_AND_ECHO,
    ),
    Peer(
        name="reference-tls",
        title="the same, under TLS",
        environment="reference",
        module="reference",
        only=("in", "echo", "memory"),
        tls=True,
    ),
    Peer(
        name="ours-pipecat",
        title="pipecat 1.14 on this library's transport",
        environment="ours-pipecat",
        module="ours_pipecat",
        cannot={"growth": _NOT_ASKED},
        most_streams=50,
        most_connections=100,
        base="pipecat",
    ),
    Peer(
        name="pipecat",
        title="pipecat 1.14, asyncio",
        environment="pipecat",
        module="pipecat",
        cannot={"growth": "collapses long before 100 streams"},
        most_streams=20,
        most_connections=100,
    ),
    Peer(
        name="websockets",
        title="websockets alone, asyncio",
        environment="websockets",
        module="websockets",
        cannot={"play": _NO_QUEUE, "barge-in": _NO_QUEUE, "growth": _NOT_ASKED},
    ),
    Peer(
        name="picows",
        title="picows alone, asyncio",
        environment="picows",
        module="picows",
        cannot={"play": _NO_QUEUE, "barge-in": _NO_QUEUE},
    ),
)
LOAD_ENVIRONMENT = "picows"
