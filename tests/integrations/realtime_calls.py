"""What the tests of Realtime sessions share: answers that can be told apart, and what of them was heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from realtime_stand_in import RATE_HZ, Answer

from vonage_audio_connector_server.testing import TestCall, recording, tone

GAP_S = 0.03
LOUD = 1_500


def words(rate_hz: int) -> bytes:
    """A short sentence of a caller."""
    return recording("go-forward-ten-meters", rate_hz)[2 * int(0.4 * rate_hz) : -2 * int(0.3 * rate_hz)]


def answer(duration_s: float, pitch_hz: float = 440.0, **settings: object) -> Answer:
    """An answer whose every sample is known by its pitch."""
    return Answer(pcm=tone(duration_s, RATE_HZ, pitch_hz=pitch_hz), **settings)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Stretch:
    """A stretch of sound that was heard.

    Attributes:
        start_s: since the accept.
        duration_s: how long it is.
        pitch_hz: of the tone.
    """

    start_s: float
    duration_s: float
    pitch_hz: float


def stretches(call: TestCall) -> list[Stretch]:
    """All sound that the caller has heard, without the silence in between."""
    rate_hz = call.twin.audio_format.rate_hz
    samples = np.frombuffer(call.heard, "<i2")
    loud = np.flatnonzero(np.abs(samples) > LOUD)
    if not len(loud):
        return []
    found = []
    for part in np.split(loud, np.flatnonzero(np.diff(loud) > GAP_S * rate_hz) + 1):
        first, last = int(part[0]), int(part[-1]) + 1
        sound = samples[first:last].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 16))
        pitch_hz = float(np.argmax(spectrum)) * rate_hz / (1 << 16)
        found.append(Stretch(first / rate_hz, (last - first) / rate_hz, pitch_hz))
    return found
