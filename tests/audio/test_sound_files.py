import io
import struct
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from vonage_audio_connector_server.audio import sound_files
from vonage_audio_connector_server.audio.sound_files import read_audio
from vonage_audio_connector_server.errors import AudioConnectorAudioError, MissingExtraError
from vonage_audio_connector_server.simulator.compare import similarity

SPEECH = Path(__file__).parent.parent.parent / "examples" / "audio" / "librivox-2.wav"


@pytest.fixture
def samples(tone: Callable[..., bytes]) -> NDArray[np.int16]:
    return np.frombuffer(tone(0.5), "<i2")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("kind", "ending"), [("WAV", "wav"), ("WAVEX", "wav"), ("W64", "w64"), ("AIFF", "aiff")])
def test_every_sample_is_as_it_was(
    tmp_path: Path, samples: NDArray[np.int16], kind: str, ending: str, subtype: str
) -> None:
    path = tmp_path / f"a.{ending}"
    scaled = samples if subtype.startswith("PCM") else samples / 32_768
    soundfile.write(path, scaled, 16_000, format=kind, subtype=subtype)

    assert read_audio(path) == (samples.tobytes(), 16_000)


def test_flac_is_as_it_was(tmp_path: Path, samples: NDArray[np.int16]) -> None:
    soundfile.write(tmp_path / "a.flac", samples, 24_000)

    assert read_audio(tmp_path / "a.flac") == (samples.tobytes(), 24_000)


@pytest.mark.parametrize("ending", ["mp3", "ogg"])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_what_was_compressed_sounds_the_same(tmp_path: Path, ending: str, rate_hz: int) -> None:
    speech, _ = read_audio(SPEECH)
    soundfile.write(tmp_path / f"a.{ending}", np.frombuffer(speech, "<i2"), 16_000)

    pcm, got_hz = read_audio(tmp_path / f"a.{ending}", rate_hz=rate_hz)

    assert got_hz == rate_hz
    assert similarity(read_audio(SPEECH, rate_hz=rate_hz)[0], pcm) > 0.95


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_averaged(tmp_path: Path, samples: NDArray[np.int16], channels: int) -> None:
    soundfile.write(tmp_path / "same.wav", np.stack([samples] * channels, axis=1), 16_000)
    one = np.stack([samples] + [np.zeros_like(samples)] * (channels - 1), axis=1)
    soundfile.write(tmp_path / "one.wav", one, 16_000)

    assert read_audio(tmp_path / "same.wav")[0] == samples.tobytes()
    got = np.frombuffer(read_audio(tmp_path / "one.wav")[0], "<i2")
    assert np.abs(got - samples / channels).max() <= 0.5


@pytest.mark.parametrize(
    ("file_hz", "call_hz"), [(8_000, 8_000), (16_000, 16_000), (24_000, 24_000), (11_025, 16_000), (48_000, 16_000)]
)
def test_without_a_rate_a_file_keeps_its_own_where_a_call_can_have_it(
    tmp_path: Path, tone: Callable[..., bytes], file_hz: int, call_hz: int
) -> None:
    soundfile.write(tmp_path / "a.wav", np.frombuffer(tone(0.5, file_hz), "<i2"), file_hz)

    pcm, rate_hz = read_audio(tmp_path / "a.wav")

    assert rate_hz == call_hz
    assert len(pcm) / 2 / rate_hz == pytest.approx(0.5, abs=0.001)
    assert similarity(tone(0.5, call_hz), pcm) > 0.999


def test_a_stereo_file_of_44_khz_in_floats(tmp_path: Path, tone: Callable[..., bytes]) -> None:
    left = np.frombuffer(tone(3.0, 44_100), "<i2") / 32_768  # several blocks
    soundfile.write(tmp_path / "a.wav", np.stack([left, left], axis=1), 44_100, subtype="FLOAT")

    pcm, _ = read_audio(tmp_path / "a.wav", rate_hz=8_000)

    assert len(pcm) == 3 * 8_000 * 2
    assert similarity(tone(3.0, 8_000), pcm) > 0.999


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_silence_is_silence_and_what_is_too_loud_is_clipped(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((9_000, 2)), rate_hz, subtype="FLOAT")
    assert set(read_audio(tmp_path / "a.wav", rate_hz=16_000)[0]) == {0}

    square = np.where(np.arange(8_820) % 200 < 100, 1.5, -1.5)
    soundfile.write(tmp_path / "a.wav", square, rate_hz, subtype="FLOAT")
    got = np.frombuffer(read_audio(tmp_path / "a.wav", rate_hz=16_000)[0], "<i2").astype(int)
    assert (got.min(), got.max()) == (-32_768, 32_767)
    assert not (np.abs(got) < 1_000)[100:-100].sum() > len(got) / 20  # nothing came out at the other end and went on


def test_a_file_that_was_written_into_a_pipe_is_read_to_its_end(tmp_path: Path, samples: NDArray[np.int16]) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    content = bytearray(buffer.getvalue())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)  # ffmpeg doesn't know how much is going to come
    (tmp_path / "a.wav").write_bytes(content)

    assert read_audio(tmp_path / "a.wav") == (samples.tobytes(), 16_000)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_what_lasts_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(sound_files, "MAX_DURATION_S", 60.0)
    soundfile.write(tmp_path / f"a.{ending}", np.zeros(121 * 8_000, np.int16), 8_000)

    with pytest.raises(AudioConnectorAudioError, match=r"a\.\w+ lasts \d minutes, but a recording may last 1"):
        read_audio(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0, value, 0.0]), 16_000, subtype="FLOAT")

    with pytest.raises(AudioConnectorAudioError, match="samples that are no numbers"):
        read_audio(tmp_path / "a.wav")


def test_a_file_of_floats_without_a_sample_is_empty(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 44_100, subtype="FLOAT")

    with pytest.raises(AudioConnectorAudioError, match=r"a\.wav holds no audio"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.m4a", "a.txt", "a", "a.raw"])
def test_a_file_that_is_no_audio_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a text, which nobody can hear" * 50)

    with pytest.raises(AudioConnectorAudioError, match=f"{name} (is no audio that can be read|has no header)"):
        read_audio(tmp_path / name)


def test_a_flac_that_was_cut_off(tmp_path: Path, samples: NDArray[np.int16]) -> None:
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])

    try:
        pcm, _ = read_audio(tmp_path / "a.flac")
    except AudioConnectorAudioError:
        return
    assert samples.tobytes().startswith(pcm)


def test_a_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r".+"):
        read_audio(tmp_path)


@pytest.mark.parametrize("missing", ["soundfile", "numpy"])
def test_what_takes_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(100, np.int16), 16_000)
    monkeypatch.setitem(sys.modules, missing, None)

    assert read_audio(SPEECH)[1] == 16_000
    with pytest.raises(MissingExtraError, match=r"a\.flac.+vonage-audio-connector-server\[audio\]"):
        read_audio(tmp_path / "a.flac")
