"""What the load is asked to do. Imported by the runner, too; standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal["in", "echo", "play", "barge-in", "idle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run of the load.

    Attributes:
        kind: `in` sends and expects nothing; `echo` expects each frame back; `play` sends one frame a stream and
            expects an answer of 15 s; `barge-in` is `echo` and some streams that interrupt; `idle` only connects, and
            closes when it is told to.
        port: where the server listens, on 127.0.0.1.
        streams: how many.
        frames_a_second: of each stream.
        warmup_s: sent, but not judged.
        window_s: judged.
        interrupting: how many streams more there are that interrupt.
        opens_a_second: how fast connections are opened.
        tls: whether it connects over TLS; the certificate is not looked at.
        json: whether audio goes as base64 in JSON texts.
        slot_s: how often the load wakes to send; streams that share a slot send together.
    """

    kind: Kind
    port: int
    streams: int
    frames_a_second: float = 50.0
    warmup_s: float = 2.0
    window_s: float = 4.0
    interrupting: int = 0
    opens_a_second: float = 1000.0
    slot_s: float = 0.0001
    tls: bool = False
    json: bool = False

    def to_json(self) -> str:
        """As an argument of the load's command line."""
        return json.dumps(asdict(self))
