import array
from pathlib import Path

import pytest

from vonage_audio_connector_server.audio.levels import loud_ticks
from vonage_audio_connector_server.audio.resampler import resample
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.simulator.report import Sound, report_of
from vonage_audio_connector_server.simulator.report.sound import CLIPPED_SHARE, NOISE_SHARE, sound_of
from vonage_audio_connector_server.simulator.wav import read_wav

from .recorded import AUDIO, Call, speech

RECORDINGS = [*sorted((Path(__file__).parents[2] / "src").rglob("*.wav")), AUDIO]


def heard(pcm: bytes, rate_hz: int = 16_000, resumed: frozenset[int] = frozenset()) -> Sound:
    """What is found in this, behind 0.1 s of silence."""
    audio_format = AudioFormat(rate_hz)
    played = bytes(audio_format.frame_bytes * 5) + pcm
    played += bytes(-len(played) % audio_format.frame_bytes)
    return sound_of(played, audio_format, loud_ticks(played, audio_format), 0.0, resumed)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_real_speech_is_fine_at_any_level(path: Path, rate_hz: int) -> None:
    pcm, _ = read_wav(path, rate_hz=rate_hz)
    loudest = max(map(abs, array.array("h", pcm)))

    for peak in (300, 3_000, 32_000):
        samples = array.array("h", [sample * peak // loudest for sample in array.array("h", pcm)])
        assert heard(samples.tobytes(), rate_hz).problems == ()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_misread_bytes_are_noise(rate_hz: int) -> None:
    samples = array.array("h", read_wav(AUDIO, rate_hz=rate_hz)[0])
    big_endian = array.array("h", samples)
    big_endian.byteswap()
    floats = array.array("f", [sample / 32_768 for sample in samples])

    for garbage in (big_endian.tobytes(), floats.tobytes(), samples.tobytes()[1:-1]):
        sound = heard(garbage, rate_hz)
        assert sound.noise_share > NOISE_SHARE
        assert len(sound.problems) == 1
        assert "not 16-bit little-endian PCM" in sound.problems[0]


def test_a_wav_file_as_it_stands_has_a_header() -> None:
    sound = heard(AUDIO.read_bytes())

    assert sound.header_at_s == pytest.approx(0.1)
    assert sound.problems == ("the header of a WAV file was played as audio at 0.10 s: send only the samples",)


def test_too_loud_is_clipping() -> None:
    samples = array.array("h", [max(-32_768, min(32_767, 12 * one)) for one in array.array("h", speech())])

    sound = heard(samples.tobytes())

    assert sound.clipped_share > CLIPPED_SHARE
    assert "at full scale" in sound.problems[0]


def test_a_beginning_in_the_middle_of_a_sound_clicks() -> None:
    samples = array.array("h", speech())
    loudest = max(range(len(samples)), key=lambda at: abs(samples[at]))
    pcm = samples[loudest:].tobytes()

    assert heard(pcm).click_at_s == pytest.approx(0.1)
    assert heard(pcm, resumed=frozenset([5])).click_at_s is None  # behind a gap, which is told already


def test_a_wrong_rate_is_heard_as_a_wrong_speed() -> None:
    for from_hz, speed in ((16_000, 2.0), (4_000, 0.5), (12_000, 1.5)):
        call = Call(14.0)
        asked_s = call.says(1.0, speech(), name="q.wav")
        call.answers(asked_s + 0.5, resample(speech(), from_hz, 8_000))

        report = report_of(call.done(), compare=True)

        assert report.sound.speed == speed
        assert f"said it back at {speed:.2g} × the speed" in report.sentence
        assert next(verdict for verdict in report.verdicts if verdict.rule == "sound").ok is False


def test_another_answer_has_no_speed() -> None:
    call = Call(9.0)
    asked_s = call.says(1.0, speech()[: 640 * 60], name="q.wav")
    call.answers(asked_s + 0.5, speech()[640 * 70 :])

    report = report_of(call.done(), compare=True)

    assert report.sound.speed is None
    assert report.sound.problems == ()
