"""The functions of the program that a call hands its messages to."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import AudioConnectorClosedError, AudioConnectorConfigError
from ..signatures import takes
from ..steps import Handler

_ARGUMENTS = {
    "on_message": ("the message",),
    "on_disconnect": (),
    "on_error": ("the error",),
    "on_audio": ("the frame",),
    "on_event": ("the event",),
}


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the program gave to `set_handler`; the meaning of each stands there."""

    on_message: Handler | None = None
    on_disconnect: Handler | None = None
    on_error: Handler | None = None
    on_audio: Handler | None = None
    on_event: Handler | None = None

    @property
    def listener(self) -> Handler | None:
        """One that takes messages, to be named in a log; None where none does."""
        return self.on_message or self.on_audio or self.on_event


def check_handler(name: str, handler: object) -> None:
    """Refuse what can't be called with what that handler gets.

    Raises:
        AudioConnectorConfigError: naming it.
    """
    if handler is None:
        return
    if not callable(handler):
        raise AudioConnectorConfigError(f"{name} must be a function or None, not {handler!r}")
    arguments = _ARGUMENTS[name]
    if not takes(handler, *arguments):
        wanted = f"one argument, {arguments[0]}" if arguments else "no argument"
        raise AudioConnectorConfigError(f"{name} must be a function that takes {wanted}; {handler!r} does not")


def is_only_closed(error: Exception) -> bool:
    """Whether it says no more than that the connection has ended, as several tasks of a group may say at once."""
    if isinstance(error, ExceptionGroup):
        return error.split(AudioConnectorClosedError)[1] is None
    return isinstance(error, AudioConnectorClosedError)
