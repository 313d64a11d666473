import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vonage_audio_connector_server.errors import AudioConnectorAudioError, MissingExtraError
from vonage_audio_connector_server.simulator.compare import similarity
from vonage_audio_connector_server.simulator.wav import read_wav, write_wav


def write(
    path: Path, *, channels: int = 1, sample_bytes: int = 2, rate_hz: int = 16_000, pcm: bytes = bytes(4)
) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(sample_bytes)
        file.setframerate(rate_hz)
        file.writeframes(pcm)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_what_is_written_is_read(tmp_path: Path, rate_hz: int) -> None:
    write_wav(tmp_path / "a.wav", b"\1\2\3\4", rate_hz)

    assert read_wav(tmp_path / "a.wav") == (b"\1\2\3\4", rate_hz)


def test_a_file_without_audio_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", pcm=b"")

    with pytest.raises(AudioConnectorAudioError, match=r"a\.wav holds no audio"):
        read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3 is no WAV file, whatever its name says"])
def test_a_file_that_is_no_audio_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)

    with pytest.raises(AudioConnectorAudioError, match=r"a\.wav is no audio that can be read"):
        read_wav(tmp_path / "a.wav")


def test_a_file_that_was_cut_off_is_read_up_to_its_last_whole_sample(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", pcm=bytes(range(100)))
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:-3])

    assert read_wav(tmp_path / "a.wav") == (bytes(range(96)), 16_000)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("file_hz", [8_000, 11_025, 44_100, 48_000])
def test_a_recording_at_any_rate_is_brought_to_that_of_the_call(
    tmp_path: Path, tone: Callable[..., bytes], file_hz: int, rate_hz: int
) -> None:
    write(tmp_path / "a.wav", rate_hz=file_hz, pcm=tone(0.5, file_hz))

    pcm, got_hz = read_wav(tmp_path / "a.wav", rate_hz=rate_hz)

    assert got_hz == rate_hz
    assert len(pcm) / 2 / rate_hz == pytest.approx(0.5, abs=0.001)
    assert similarity(tone(0.5, rate_hz), pcm) > 0.999  # the same sound, and in tune
    assert read_wav(tmp_path / "a.wav", rate_hz=rate_hz) == (pcm, rate_hz)  # no noise is added


def test_silence_stays_silence_and_what_is_too_loud_is_clipped(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", rate_hz=44_100, pcm=bytes(8820))
    assert set(read_wav(tmp_path / "a.wav", rate_hz=16_000)[0]) == {0}

    loudest = np.where(np.arange(4410) % 100 < 50, 32_767, -32_768).astype("<i2")  # overshoots when it is filtered
    write(tmp_path / "a.wav", rate_hz=44_100, pcm=loudest.tobytes())
    samples = np.frombuffer(read_wav(tmp_path / "a.wav", rate_hz=16_000)[0], "<i2").astype(int)
    assert (samples.min(), samples.max()) == (-32_768, 32_767)
    assert np.abs(np.diff(samples)).max() < 60_000  # a sample that went beyond the end would come out at the other one


def test_a_recording_that_has_the_rate_needs_no_numpy_and_any_other_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    write(tmp_path / "a.wav", rate_hz=8_000)

    assert read_wav(tmp_path / "a.wav", rate_hz=8_000) == (bytes(4), 8_000)
    with pytest.raises(MissingExtraError, match=r"vonage-audio-connector-server\[audio\]"):
        read_wav(tmp_path / "a.wav", rate_hz=16_000)


@pytest.mark.parametrize(
    ("wrong", "rate_hz", "told"),
    [
        ({}, 44_100, "rate_hz must be 8000, 16000 or 24000, not 44100"),
        ({}, 0, "rate_hz must be 8000, 16000 or 24000, not 0"),
        ({"rate_hz": 999}, 16_000, "a sample rate of 999 Hz, but it must be 1000 to 768000 Hz"),
        ({"rate_hz": 44_100, "pcm": b""}, 16_000, "holds no audio"),
        ({"rate_hz": 2_000_000_000}, 16_000, "a sample rate of 2000000000 Hz"),
    ],
)
def test_what_can_not_be_brought_to_a_rate_is_refused(
    tmp_path: Path, wrong: dict[str, int], rate_hz: int, told: str
) -> None:
    write(tmp_path / "a.wav", **wrong)  # type: ignore[arg-type]  # of its own options

    with pytest.raises(AudioConnectorAudioError, match=told):
        read_wav(tmp_path / "a.wav", rate_hz=rate_hz)
