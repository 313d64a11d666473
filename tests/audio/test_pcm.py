"""PCM and what models take: floats, several channels, base64."""

from __future__ import annotations

import base64
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_audio_connector_server import AudioConnectorAudioError, MissingExtraError
from vonage_audio_connector_server.audio import Base64Audio, to_float32, to_mono, to_pcm

SAMPLES = np.arange(-32_768, 32_768).astype("<i2")


def test_every_sample_there_and_back() -> None:
    floats = to_float32(SAMPLES.tobytes())

    assert (str(floats.dtype), floats.min(), floats.max()) == ("float32", -1, 32_767 / 32_768)
    assert to_pcm(floats) == SAMPLES.tobytes()
    assert to_pcm(floats.astype(float)) == SAMPLES.tobytes()
    assert to_pcm(SAMPLES) == SAMPLES.tobytes()
    assert to_pcm(SAMPLES.astype(">i2")) == SAMPLES.tobytes()
    assert to_pcm(SAMPLES.astype(np.int32) << 16) == SAMPLES.tobytes()


def test_floats_are_rounded_and_clipped() -> None:
    assert to_pcm([0.0, 0.6 / 32_768, 1.0, 1.5, -1.5]) == np.array([0, 1, 32_767, 32_767, -32_768], "<i2").tobytes()
    assert to_pcm([]) == b""


@pytest.mark.parametrize("table", [[[100, 300], [-100, -300]], [[100, -100], [300, -300]]])
def test_channels_are_averaged(table: list[list[int]]) -> None:
    rows = np.repeat(np.array(table, "<i2"), 50, axis=0 if table[0][0] * table[0][1] > 0 else 1)
    assert to_pcm(rows) == np.array([200] * 50 + [-200] * 50, "<i2").tobytes()


def test_interleaved_channels() -> None:
    assert to_mono(np.array([100, 300, -100, -300], "<i2").tobytes()) == np.array([200, -200], "<i2").tobytes()
    assert to_mono(np.array([1, 2, 3], "<i2").tobytes(), channels=1) == np.array([1, 2, 3], "<i2").tobytes()
    assert to_mono(np.array([-32_768, -32_768], "<i2").tobytes()) == np.array([-32_768], "<i2").tobytes()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (np.zeros(3, np.uint8), "of type uint8"),
        (["a"], "of type <U1"),
        (np.zeros((2, 2, 2), np.int16), r"the shape \(2, 2, 2\)"),
        ([float("nan")], "no numbers"),
        ([float("inf")], "no numbers"),
        (SAMPLES.astype(np.float32), "divide those of 16 bits by 32768"),
    ],
)
def test_what_is_no_sound_is_refused(wrong: object, told: str) -> None:
    with pytest.raises(AudioConnectorAudioError, match=told):
        to_pcm(wrong)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(("size_bytes", "channels"), [(6, 2), (2, 2), (4, 0), (4, -1)])
def test_half_a_sample_of_stereo_is_refused(size_bytes: int, channels: int) -> None:
    with pytest.raises(AudioConnectorAudioError, match="channels"):
        to_mono(bytes(size_bytes), channels)


@given(st.lists(st.binary(max_size=9)))
def test_base64_of_odd_lengths(chunks: list[bytes]) -> None:
    stream = Base64Audio()
    got = [stream.push(base64.b64encode(chunk).decode()) for chunk in chunks]

    sent = b"".join(chunks)
    assert all(len(pcm) % 2 == 0 for pcm in got)
    assert b"".join(got) == sent[: len(sent) - len(sent) % 2]


def test_what_is_no_base64_is_refused_and_nothing_was_taken() -> None:
    stream = Base64Audio()
    assert stream.push("AQID") == b"\x01\x02"
    for wrong in ("AQI", "A!==", "ä", "AQ ID"):
        with pytest.raises(AudioConnectorAudioError, match="no base64"):
            stream.push(wrong)

    assert stream.push(b"BAUG") == b"\x03\x04\x05\x06"
    stream.push("AQID")
    stream.reset()
    assert stream.push("BAUG") == b"\x04\x05"


def test_without_numpy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)

    for convert in (to_float32, to_pcm, to_mono):
        with pytest.raises(MissingExtraError, match=r"vonage-audio-connector-server\[audio\]"):
            convert(bytes(4))
