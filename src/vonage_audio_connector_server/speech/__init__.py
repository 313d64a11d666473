"""Who speaks, and when: detectors of voice, and the turns made of it. A call has them as `client.turns()`.

`energy` needs nothing; the other detectors need the extra `speech`.
"""

from __future__ import annotations

from .turn_detector import SpeechEnded, SpeechProgress, SpeechStarted, Turn, TurnDetector, TurnRules
from .voice_activity import (
    EnergyActivity,
    SileroActivity,
    VoiceActivity,
    VoiceActivityName,
    WebRTCActivity,
    make_detector,
)

__all__ = [
    "EnergyActivity",
    "SileroActivity",
    "SpeechEnded",
    "SpeechProgress",
    "SpeechStarted",
    "Turn",
    "TurnDetector",
    "TurnRules",
    "VoiceActivity",
    "VoiceActivityName",
    "WebRTCActivity",
    "make_detector",
]
