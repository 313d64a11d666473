"""Recording both sides on one time line."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from vonage_audio_connector_server import AudioConnectorAudioError
from vonage_audio_connector_server.audio import Recorder
from vonage_audio_connector_server.audio.time_line import TimeLine

ONE, TWO = b"\1\0" * 320, b"\2\0" * 320


def read(path: Path) -> tuple[list[int], list[int]]:
    samples, rate_hz = soundfile.read(path, dtype="int16")
    assert rate_hz == 16_000
    return samples[:, 0].tolist(), samples[:, 1].tolist()


@pytest.mark.parametrize("ending", ["wav", "flac", "WAV"])
def test_both_sides_stand_where_they_were_heard(tmp_path: Path, ending: str) -> None:
    recorder = Recorder(tmp_path / f"call.{ending}", 16_000)
    for tick in range(1, 51):
        recorder.caller(ONE, tick * 0.02)
    for _ in range(10):  # 0.2 s, handed over at once
        recorder.program(TWO, 0.5)
    recorder.write(1.0)
    assert recorder.duration_s == pytest.approx(0.94)
    for tick in range(151, 201):  # muted for two seconds
        recorder.caller(ONE, tick * 0.02)
    recorder.close(4.0)
    recorder.close(5.0)

    left, right = read(recorder.path)
    assert left == [1] * 16_000 + [0] * 32_000 + [1] * 16_000
    assert right == [0] * 8_000 + [2] * 3_200 + [0] * 52_800


def test_what_was_interrupted_is_not_heard(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.wav", 16_000)
    for _ in range(50):
        recorder.program(TWO, 0.0)
    recorder.write(0.3)
    recorder.cut(0.4)
    recorder.program(ONE, 0.5)
    recorder.close(1.0)

    assert read(recorder.path)[1] == [2] * 6_400 + [0] * 1_600 + [1] * 320 + [0] * 7_680


def test_jitter_leaves_no_hole_and_a_stall_delays_only_until_the_next_silence(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.wav", 16_000)
    for tick in range(1, 101):
        late_s = 0.05 if tick % 3 == 0 else 0.0
        recorder.caller(ONE, tick * 0.02 + late_s)
        recorder.write(tick * 0.02 + late_s)
    recorder.close(2.1)
    left, _ = read(recorder.path)
    assert left[: left.index(1) + 32_000] == [0] * left.index(1) + [1] * 32_000

    line = TimeLine(16_000)
    loud, silent = b"\0\x10" * 320, bytes(640)
    for tick in range(1, 26):
        line.came(loud, tick * 0.02)
    line.take(16_000)
    for _ in range(25):  # half a second, all at once
        line.came(loud, 1.0)
    assert line.end == 16_000 + 25 * 320
    for tick in range(1, 101):
        line.came(silent, 1.0 + tick * 0.02)
    assert line.end == pytest.approx(3.0 * 16_000, abs=320)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_it_can_be_read_at_any_time(tmp_path: Path, ending: str) -> None:
    recorder = Recorder(tmp_path / f"call.{ending}", 16_000)
    dice = np.random.default_rng(1)
    sound = dice.integers(-9_000, 9_000, 16_000 * 5, "<i2")
    for tick in range(250):
        recorder.caller(sound[320 * tick : 320 * tick + 320].tobytes(), (tick + 1) * 0.02)
        recorder.write((tick + 1) * 0.02)
        if tick % 25 == 24:
            content = recorder.path.read_bytes()  # as it would lie there after a crash
            (tmp_path / f"copy.{ending}").write_bytes(content)
            left, _ = read(tmp_path / f"copy.{ending}")
            assert len(left) / 16_000 >= (tick + 1) * 0.02 - 0.2
            assert left == sound[: len(left)].tolist()
    recorder.close(5.0)
    assert read(recorder.path)[0] == sound.tolist()


def test_another_rate_is_brought_to_that_of_the_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.wav", 16_000)
    recorder.caller(b"\0\x10" * 160, 0.02, 8_000)
    recorder.close(0.02)
    with wave.open(str(recorder.path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 16_000, 320)


@given(st.lists(st.tuples(st.sampled_from(["came", "played", "cut", "take"]), st.integers(0, 200)), max_size=40))
def test_a_time_line_never_goes_back_and_is_as_long_as_time(steps: list[tuple[str, int]]) -> None:
    line, now_s, taken = TimeLine(8_000), 0.0, b""
    for what, ticks in steps:
        now_s += ticks * 0.01
        match what:
            case "came":
                line.came(b"\0\x10" * 160, now_s)
            case "played":
                line.played(b"\0\x10" * 160, now_s)
            case "cut":
                line.cut(now_s)
            case _:
                taken += line.take(round(now_s * 8_000))
        assert len(taken) == 2 * line.written
        assert line.written <= round(now_s * 8_000)
        assert line.end >= line.written


@pytest.mark.parametrize("name", ["call.mp3", "call", "call.wav.gz"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioConnectorAudioError, match=r"a \.wav or a \.flac file"):
        Recorder(tmp_path / name, 16_000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_where_it_can_not_be_written_is_told(tmp_path: Path, ending: str) -> None:
    with pytest.raises(OSError, match="none"):
        Recorder(tmp_path / "none" / f"call.{ending}", 16_000)
