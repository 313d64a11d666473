"""What a caller does in a call, step by step, as a script says it. All times are seconds.

Each step is done before the next one begins. `words` is what the recording says of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from .faults import Faults
from .twin import KEY_MS


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording of a script.

    Attributes:
        name: as the script names it.
        pcm: 16-bit mono PCM at the rate of the call.
    """

    name: str
    pcm: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(ABC):
    """A step. `line` is where it stands in the script, from 1 on; 0: nowhere."""

    line: int = field(default=0, compare=False)

    @property
    @abstractmethod
    def words(self) -> str:
        """What is done, in the words of a script."""


@dataclass(frozen=True, slots=True)
class WaitForGreeting(Step):
    """Wait until the program has said something by itself, and stopped. `within_s`: how long that may take to begin."""

    within_s: float | None = None

    @property
    def words(self) -> str:
        """See `Step`."""
        return "wait for greeting"


@dataclass(frozen=True, slots=True)
class Say(Step):
    """Say a recording, to its end."""

    sound: Sound

    @property
    def words(self) -> str:
        """See `Step`."""
        return f"say {self.sound.name}"


@dataclass(frozen=True, slots=True)
class Hear(Step):
    """Wait until an answer has begun and is over.

    `within_s`: how long it may take to begin. `quiet_s`: after how long a silence it is over. None: the usual.
    """

    within_s: float | None = None
    quiet_s: float | None = None

    @property
    def words(self) -> str:
        """See `Step`."""
        return "hear"


@dataclass(frozen=True, slots=True)
class Interrupt(Step):
    """Wait for the answer that follows and begin to speak `after_s` into it.

    `sound`: what is said; None: a short call that comes with the package.
    """

    after_s: float
    sound: Sound | None = None

    @property
    def words(self) -> str:
        """See `Step`."""
        return f"interrupt after {self.after_s:g} s"


@dataclass(frozen=True, slots=True)
class Wait(Step):
    """Let time pass."""

    for_s: float

    @property
    def words(self) -> str:
        """See `Step`."""
        return f"wait {self.for_s:g} s"


@dataclass(frozen=True, slots=True)
class Mute(Step):
    """Mute the caller.

    `for_s`: wait so long, and unmute; None: until `Unmute`. `frames`: frames of silence are sent meanwhile.
    """

    for_s: float | None = None
    frames: bool = False

    @property
    def words(self) -> str:
        """See `Step`."""
        return "mute" if self.for_s is None else f"mute {self.for_s:g} s"


@dataclass(frozen=True, slots=True)
class Unmute(Step):
    """Let the caller be heard again."""

    @property
    def words(self) -> str:
        """See `Step`."""
        return "unmute"


@dataclass(frozen=True, slots=True)
class Press(Step):
    """Press keys, one after the other."""

    keys: str
    duration_ms: int = KEY_MS

    @property
    def words(self) -> str:
        """See `Step`."""
        return f"press {self.keys}"


@dataclass(frozen=True, slots=True)
class Send(Step):
    """Send a text of one's own."""

    text: str

    @property
    def words(self) -> str:
        """See `Step`."""
        return "send a text"


@dataclass(frozen=True, slots=True)
class Network(Step):
    """Disturb the network from now on; the moments of `faults` are counted from here. No time passes."""

    faults: Faults

    @property
    def words(self) -> str:
        """See `Step`."""
        return "network"


@dataclass(frozen=True, slots=True)
class HangUp(Step):
    """End the call; a script without it ends it behind its last step."""

    @property
    def words(self) -> str:
        """See `Step`."""
        return "hang up"
