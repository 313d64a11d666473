"""How a network is disturbed on purpose: what is wrong with it all the time, and what happens at which moment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import AudioConnectorConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is wrong with a network. Moments are counted from when it begins: see `disturbed` and `Relay.disturb`.

    Attributes:
        delay_s: everything arrives this much later, each way. None: as before, at first 0.
        jitter_s: and up to this much more, at random; nothing overtakes. None: as before, at first 0.
        stalls: (at_s, for_s): from then on nothing is forwarded for so long, then all of it at once.
        slow_reader_bytes_s: what the server sends is read no faster than this, so that its socket fills up; the audio
            of a call is 16,000 to 48,000 bytes a second. None: as before, at first as fast as it comes.
        drop_at_s: then the connection is reset, on both sides.
        half_open_at_s: from then on nothing is forwarded any more, and nothing is closed: the peer is gone without a
            word.
        seed: of the jitter.

    Raises:
        AudioConnectorConfigError: a value is wrong; the message names the field.
    """

    delay_s: float | None = None
    jitter_s: float | None = None
    stalls: Sequence[tuple[float, float]] = ()
    slow_reader_bytes_s: float | None = None
    drop_at_s: float | None = None
    half_open_at_s: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("delay_s", "jitter_s", "drop_at_s", "half_open_at_s"):
            value = getattr(self, name)
            if value is not None and not _is_number(value):
                raise AudioConnectorConfigError(f"{name} must be 0 or more seconds, not {value!r}")
        speed = self.slow_reader_bytes_s
        if speed is not None and not (_is_number(speed) and speed >= 1):
            raise AudioConnectorConfigError(f"slow_reader_bytes_s must be 1 or more bytes a second, not {speed!r}")
        if not (isinstance(self.stalls, Sequence) and all(map(_is_stall, self.stalls))):
            raise AudioConnectorConfigError(f"stalls must be pairs of seconds (at_s, for_s), not {self.stalls!r}")
        if type(self.seed) is not int:
            raise AudioConnectorConfigError(f"seed must be an integer, not {self.seed!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_stall(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(map(_is_number, value))
