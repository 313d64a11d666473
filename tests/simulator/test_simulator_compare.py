import sys
from array import array
from collections.abc import Callable

import numpy as np
import pytest

from vonage_audio_connector_server.errors import MissingExtraError
from vonage_audio_connector_server.simulator.compare import similarity

Tone = Callable[..., bytes]


def noise(seconds: float, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).integers(-8000, 8000, round(seconds * 16_000), dtype=np.int16).tobytes()


def test_a_copy_is_1(tone: Tone) -> None:
    assert similarity(tone(0.5), tone(0.5)) == pytest.approx(1.0)


def test_a_copy_is_found_wherever_it_is_and_however_loud(tone: Tone) -> None:
    heard = noise(1.234) + tone(0.5, level=0.05) + noise(3.0)

    assert similarity(tone(0.5, level=0.4), heard) > 0.999


def test_a_copy_far_into_a_long_recording_is_found(tone: Tone) -> None:
    heard = bytes(16_000 * 2 * 70) + tone(0.5) + bytes(16_000 * 2 * 11)

    assert similarity(tone(0.5), heard) == pytest.approx(1.0)


def test_a_copy_that_was_cut_off_at_an_end_is_as_much_as_there_is_of_it(tone: Tone) -> None:
    half = tone(0.5)[:8000]

    assert similarity(tone(0.5), half) == pytest.approx(0.5**0.5, abs=0.01)
    assert similarity(half, tone(0.5)) == pytest.approx(1.0)


def test_a_hole_in_the_copy_lowers_it(tone: Tone) -> None:
    speech = tone(1.0)
    heard = speech[:16_000] + bytes(6400) + speech[16_000:]

    assert 0.3 < similarity(speech, heard) < 0.9


def test_something_else_is_low(tone: Tone) -> None:
    assert abs(similarity(tone(0.5), noise(5.0))) < 0.2
    assert abs(similarity(noise(0.5, seed=2), noise(5.0))) < 0.2


def test_the_copy_upside_down_is_negative() -> None:
    sample = array("h", [1000]).tobytes()

    assert similarity(sample, array("h", [-1000]).tobytes()) == -1.0


@pytest.mark.parametrize(
    ("sought", "heard"), [(bytes(640), b"\1\2" * 320), (b"\1\2", bytes(640)), (b"", b""), (b"\1", b"\1\2")]
)
def test_silence_and_nothing_are_0(sought: bytes, heard: bytes) -> None:
    assert similarity(sought, heard) == 0.0


@pytest.mark.filterwarnings("error")
def test_faint_noise_beside_the_copy_is_no_division_by_zero(tone: Tone) -> None:
    heard = bytes(64_000) + array("h", [0, 1] * 16_000).tobytes() + tone(0.2, level=1.0) + bytes(64_000)

    assert similarity(tone(0.2), heard) == pytest.approx(1.0, abs=1e-4)


def test_the_loudest_samples_do_not_overflow() -> None:
    loudest = array("h", [-32_768] * 48_000).tobytes()

    assert similarity(loudest, loudest) == pytest.approx(1.0)


def test_without_numpy_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)

    with pytest.raises(MissingExtraError, match=r"vonage-audio-connector-server\[cli\]"):
        similarity(b"\1\2", b"\1\2")
