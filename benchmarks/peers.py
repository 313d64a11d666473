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

_NOT_ASKED = "is not asked, to save time"
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

    def streams(self, wanted: int) -> int:
        """How many streams it gets where `wanted` are meant."""
        return min(wanted, self.most_streams or wanted)

    def connections(self, wanted: int) -> int:
        """How many idle connections it gets where `wanted` are meant."""
        return min(wanted, self.most_connections or wanted)


PEERS = (
    Peer(
        name="ours",
        title="this library, asyncio",
        environment="ours",
        module="ours",
        variant="asyncio,auto",
        traced=True,
    ),
    Peer(
        name="ours-uvloop",
        title="this library, uvloop",
        environment="ours",
        module="ours",
        variant="uvloop,auto",
    ),
    Peer(
        name="ours-websockets",
        title="this library on uvicorn alone, asyncio",
        environment="ours",
        module="ours",
        variant="asyncio,websockets-sansio",
        cannot={"barge-in": _NOT_ASKED, "growth": _NOT_ASKED, "churn": _NOT_ASKED},
    ),
    Peer(
        name="reference",
        title="reference SDK 0.1.1, asyncio",
        environment="reference",
        module="reference",
        traced=True,
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
