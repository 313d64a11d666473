"""The streaming resampler: the same samples however the stream is cut, exactly as many as there have to be."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server import AudioConnectorAudioError, MissingExtraError
from vonage_audio_connector_server.audio import Resampler, resample

Tone = Callable[..., bytes]

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)


def cut(pcm: bytes, dice: random.Random, most_samples: int = 2_000) -> Iterator[bytes]:
    at = 0
    while at < len(pcm):
        to = at + 2 * dice.randint(0, most_samples)
        yield pcm[at:to]
        at = to


def streamed(pcm: bytes, resampler: Resampler, dice: random.Random) -> bytes:
    return b"".join(map(resampler.process, cut(pcm, dice))) + resampler.flush()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_chunkings_give_the_samples_of_one_call(tone: Tone) -> None:
    pcm = tone(0.4, 24_000)
    whole = resample(pcm, 24_000, 16_000)
    resampler = Resampler(24_000, 16_000)

    for seed in range(10_000):
        assert streamed(pcm, resampler, random.Random(seed)) == whole


@pytest.mark.parametrize("to_hz", RATES_HZ)
@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_any_chunking_at_any_rates(tone: Tone, from_hz: int, to_hz: int) -> None:
    pcm = tone(0.3, from_hz)
    whole = resample(pcm, from_hz, to_hz)

    assert abs(len(whole) // 2 - len(pcm) // 2 * to_hz / from_hz) <= 0.5
    assert streamed(pcm, Resampler(from_hz, to_hz), random.Random(1)) == whole


@given(samples=st.integers(0, 5_000), from_hz=st.sampled_from(RATES_HZ), to_hz=st.sampled_from(RATES_HZ))
@settings(deadline=None)
def test_the_samples_are_counted_exactly(samples: int, from_hz: int, to_hz: int) -> None:
    resampler = Resampler(from_hz, to_hz)
    got = resampler.process(bytes(2 * samples))

    assert (resampler.samples_in, resampler.samples_out) == (samples, len(got) // 2)
    assert resampler.held_s == pytest.approx(samples / from_hz - len(got) / 2 / to_hz)
    assert abs((len(got) + len(resampler.flush())) / 2 - samples * to_hz / from_hz) <= 0.5
    assert (resampler.samples_in, resampler.samples_out, resampler.held_s) == (0, 0, 0)


@pytest.mark.parametrize("middle_hz", [16_000, 48_000])
def test_a_tone_survives_there_and_back_with_80_db(middle_hz: int) -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(48_000) / 24_000) * 20_000
    there = resample(tone.round().astype("<i2").tobytes(), 24_000, middle_hz)
    back = np.frombuffer(resample(there, middle_hz, 24_000), "<i2").astype(float)

    inside = slice(2_000, -2_000)  # but where it begins and ends, which no filter leaves as it is
    noise = (back - tone)[inside]
    assert len(back) == len(tone)
    assert 10 * np.log10(np.mean(tone[inside] ** 2) / np.mean(noise**2)) >= 80


def test_what_lies_above_the_new_rate_is_gone() -> None:
    tone = (np.sin(2 * np.pi * 10_000 * np.arange(24_000) / 24_000) * 20_000).round().astype("<i2")
    got = np.frombuffer(resample(tone.tobytes(), 24_000, 16_000), "<i2")

    assert np.abs(got[1_000:-1_000]).max() <= 1


@pytest.mark.parametrize("end", [Resampler.reset, Resampler.flush])
def test_behind_a_reset_there_is_no_old_sample(tone: Tone, end: Callable[[Resampler], object]) -> None:
    resampler = Resampler(24_000, 16_000)
    resampler.process(tone(0.123, 24_000))
    end(resampler)

    assert set(resampler.process(bytes(48_000)) + resampler.flush()) == {0}
    assert resampler.process(tone(1.0, 24_000)) + resampler.flush() == resample(tone(1.0, 24_000), 24_000, 16_000)


def test_silence_stays_silence_and_what_is_too_loud_is_clipped() -> None:
    assert set(resample(bytes(9_600), 24_000, 16_000)) == {0}

    square = np.where(np.arange(24_000) % 240 < 120, 32_767, -32_768).astype("<i2")
    got = np.frombuffer(resample(square.tobytes(), 24_000, 16_000), "<i2").astype(int)
    assert (got.min(), got.max()) == (-32_768, 32_767)
    assert not (np.abs(got[100:-100]) < 1_000).sum() > len(got) / 20  # nothing came out at the other end and went on


def test_the_same_rate_changes_nothing_and_takes_no_extra(tone: Tone, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("soxr", "numpy"):
        monkeypatch.setitem(sys.modules, module, None)

    resampler = Resampler(16_000, 16_000)
    assert resampler.process(tone(0.1)) == tone(0.1)
    assert (resampler.held_s, resampler.flush()) == (0, b"")
    with pytest.raises(MissingExtraError, match=r"sample rate needs .+server\[audio\]"):
        Resampler(24_000, 16_000)


@pytest.mark.parametrize("rate", [0, 999, -1, 768_001, 16_000.0, "16000", None, True])
def test_what_is_no_rate_is_refused(rate: int) -> None:
    with pytest.raises(AudioConnectorAudioError, match="from_hz must be a sample rate of 1,000 to 768,000 Hz"):
        Resampler(rate, 16_000)
    with pytest.raises(AudioConnectorAudioError, match="to_hz must be"):
        Resampler(16_000, rate)


def test_half_a_sample_is_refused_and_nothing_was_taken(tone: Tone) -> None:
    resampler = Resampler(24_000, 16_000)
    first = resampler.process(tone(0.1, 24_000))
    with pytest.raises(AudioConnectorAudioError, match="half a sample"):
        resampler.process(b"\x01\x02\x03")

    assert first + resampler.flush() == resample(tone(0.1, 24_000), 24_000, 16_000)
