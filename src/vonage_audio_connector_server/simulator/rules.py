"""What a media router makes of what a server sends: where the sources disagree, or nobody knows, there are three.

Evidence marks as in docs/protocol.md. None of them was tried against a live session.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..core.wire import CLEAR_ACTION, CLEAR_EVENT
from ..errors import AudioConnectorConfigError

RouterName = Literal["strict", "wsbridge", "lenient"]

BUFFER_FRAMES = 1024
"""C: wsbridge. About 20 s. For the Audio Connector it is unknown."""

_CLEAR_FORMS = tuple(json.loads(text) for text in (CLEAR_EVENT, CLEAR_ACTION, '{"event":"clearAudio"}'))


@dataclass(frozen=True, slots=True)
class Rules:
    """How a router behaves.

    Attributes:
        name: how it is called.
        clear_forms: the texts that empty its buffer, as JSON objects; any other text is dropped.
        acknowledges: whether it answers a clear command with `websocket:cleared`.
        answers_notify: whether it answers a notify command once the audio before it has been played.
        closes_on_wrong_size: whether a message that isn't exactly one frame ends the connection. Else a longer one is
            cut to one frame, and a shorter one takes a whole turn.
        takes_fragments: whether a message that comes in several WebSocket frames is one. Else it is dropped (C).
        names_events: whether the first message and key presses have an `event`.
        buffer_frames: how many frames wait to be played at the most; one more is dropped.
    """

    name: RouterName
    clear_forms: tuple[Mapping[str, Any], ...]
    acknowledges: bool
    answers_notify: bool
    closes_on_wrong_size: bool
    takes_fragments: bool = False
    names_events: bool = True
    buffer_frames: int = BUFFER_FRAMES

    def is_clear(self, message: object) -> bool:
        """Whether a text, as the object in it, empties the buffer."""
        return message in self.clear_forms


STRICT = Rules(
    name="strict",
    clear_forms=_CLEAR_FORMS[:1],  # C: what the released SDK sends
    acknowledges=False,
    answers_notify=False,
    closes_on_wrong_size=True,  # I: told of a product of Vonage's (vocodedev/vocode-core issue 727)
)
"""As strict as anything that was told: whoever passes here passes everywhere."""

WSBRIDGE = Rules(
    name="wsbridge",
    clear_forms=(),
    acknowledges=False,
    answers_notify=False,
    closes_on_wrong_size=False,
    names_events=False,
)
"""C: the open ancestor of the router's client (2022): knows no commands at all, and its first message has no event."""

LENIENT = Rules(
    name="lenient",
    clear_forms=_CLEAR_FORMS,
    acknowledges=True,  # V
    answers_notify=True,  # V
    closes_on_wrong_size=False,
    takes_fragments=True,
)
"""All that is documented anywhere: every form of the clear command, acknowledgements, notify."""

_RULES = {rules.name: rules for rules in (STRICT, WSBRIDGE, LENIENT)}


def rules_of(name: str) -> Rules:
    """The rules of this name.

    Raises:
        AudioConnectorConfigError: there are none.
    """
    if name not in _RULES:
        raise AudioConnectorConfigError(f"router must be one of {', '.join(get_args(RouterName))}, not {name!r}")
    return _RULES[name]
