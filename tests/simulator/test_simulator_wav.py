import wave
from pathlib import Path

import pytest

from vonage_audio_connector_server.errors import AudioConnectorAudioError
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


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"channels": 2}, "2 channels of 16 bits at 16000 Hz"),
        ({"sample_bytes": 1}, "1 channel of 8 bits"),
        ({"rate_hz": 44_100}, "at 44100 Hz"),
        ({"pcm": b""}, "holds no audio"),
    ],
)
def test_audio_of_another_kind_is_refused_by_name(tmp_path: Path, wrong: dict[str, int], told: str) -> None:
    write(tmp_path / "a.wav", **wrong)  # type: ignore[arg-type]  # of its own options

    with pytest.raises(AudioConnectorAudioError, match=told) as caught:
        read_wav(tmp_path / "a.wav")
    assert "a.wav" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3 is no WAV file, whatever its name says"])
def test_a_file_that_is_no_wav_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)

    with pytest.raises(AudioConnectorAudioError, match="is no WAV file"):
        read_wav(tmp_path / "a.wav")


def test_floating_point_audio_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[20] = 3  # the format tag: IEEE float
    (tmp_path / "a.wav").write_bytes(content)

    with pytest.raises(AudioConnectorAudioError, match="is no WAV file of PCM audio"):
        read_wav(tmp_path / "a.wav")


def test_a_file_that_was_cut_off_is_read_up_to_its_last_whole_sample(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", pcm=bytes(range(100)))
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:-3])

    assert read_wav(tmp_path / "a.wav") == (bytes(range(96)), 16_000)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "a.wav")
