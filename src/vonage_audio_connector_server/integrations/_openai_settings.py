"""The settings of a Realtime session, as they are sent; and what of them this side has to know."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from ..errors import AudioConnectorConfigError
from ._openai_caller import RATE_HZ

PCM = {"type": "audio/pcm", "rate": RATE_HZ}
"""D: `AudioPCM` of the openai package; the only rate that it has."""


def settings_of(session: Mapping[str, Any]) -> dict[str, Any]:
    """The settings to send: those of the program, with the sound as a call has it.

    Raises:
        AudioConnectorConfigError: they are none, or want another sound or another kind of session.
    """
    if not isinstance(session, Mapping):
        raise AudioConnectorConfigError(f"session must be a dict of settings, not {session!r}")
    settings: dict[str, Any] = deepcopy(dict(session))
    if settings.setdefault("type", "realtime") != "realtime":
        raise AudioConnectorConfigError(f"session['type'] must be 'realtime', not {settings['type']!r}")
    audio = settings["audio"] = dict(settings.get("audio") or {})
    for side in ("input", "output"):
        part = audio[side] = dict(audio.get(side) or {})
        if part.setdefault("format", dict(PCM)) != PCM:
            raise AudioConnectorConfigError(f"session['audio'][{side!r}]['format'] must be {PCM}, or left out")
    return settings


def detection_of(session: object) -> tuple[bool, bool]:
    """What the session does by itself when the caller speaks: (it interrupts, it answers), both true by default (D).

    Args:
        session: as the API tells it in `session.updated`.
    """
    found: object = session
    for name in ("audio", "input", "turn_detection"):
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    if not isinstance(found, Mapping):
        return True, False  # without detection nobody tells when the caller speaks
    return found.get("interrupt_response") is not False, found.get("create_response") is not False
