from array import array
from collections.abc import Callable

import pytest

from vonage_audio_connector_server.audio.levels import FLOOR_DBFS, is_loud, level_dbfs, loud_ticks
from vonage_audio_connector_server.formats import AudioFormat


@pytest.mark.parametrize("pcm", [b"", bytes(640), b"\x01"])
def test_silence_and_nothing_are_at_the_floor(pcm: bytes) -> None:
    assert level_dbfs(pcm) == FLOOR_DBFS
    assert not is_loud(pcm)


def test_a_square_wave_at_full_scale_is_at_zero() -> None:
    assert level_dbfs(array("h", [-32_768] * 320).tobytes()) == pytest.approx(0.0)


def test_half_a_sample_is_left_out() -> None:
    assert level_dbfs(array("h", [1000] * 10).tobytes() + b"\x7f") == level_dbfs(array("h", [1000] * 10).tobytes())


def test_loud_ticks_are_the_numbers_of_the_loud_frames(tone: Callable[..., bytes]) -> None:
    pcm = bytes(640 * 2) + tone(0.04) + bytes(640) + tone(0.02)

    assert loud_ticks(pcm, AudioFormat()) == [2, 3, 5]
