"""A sound bed under a call: what the room hears of it, and that for the program it is nothing that was said."""

from __future__ import annotations

import logging
import sys
from array import array
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest
import soundfile
from test_playback import SECOND, talking

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorAudioError,
    AudioConnectorClosedError,
    AudioConnectorConfigError,
    AudioConnectorError,
    Client,
    JSONTransport,
    MissingExtraError,
)
from vonage_audio_connector_server.audio import Mixer, level_dbfs, write_wav
from vonage_audio_connector_server.testing import TestCall, on_virtual_clock, recording, session, tone

RATE_HZ = 16_000
STEADY = array("h", [8_000] * RATE_HZ).tobytes()
"""A bed of which each sample tells how loud it plays."""

LOUD = 1_007  # STEADY at -18 dB
DUCKED = 253  # and -12 dB more


def heard(call: TestCall, from_s: float = 0.0, to_s: float | None = None) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The samples that the caller has heard, as from the first sound on."""
    samples = np.frombuffer(bytes(call.heard), "<i2")
    sounding = np.flatnonzero(samples)
    samples = samples[sounding[0] :] if len(sounding) else samples[:0]
    return samples[round(from_s * RATE_HZ) : None if to_s is None else round(to_s * RATE_HZ)]


def steady(**settings: Any) -> Mixer:
    return Mixer(STEADY, rate_hz=RATE_HZ, **settings)


# What is heard


@on_virtual_clock
async def test_alone_it_is_heard_without_a_hole() -> None:
    async with talking() as (client, call):
        await client.mix(steady())
        await anyio.sleep(10)
        assert set(heard(call, 0.2, 9.9).tolist()) == {LOUD}
        call.assert_no_gap(over_ms=0)
        assert client.heard_s == client.stats().queued_s == 0.0
        assert not any(client.stats().gaps.values())


@on_virtual_clock
async def test_under_speech_it_is_softer_and_added_to_it() -> None:
    async with talking() as (client, call):
        await client.mix(steady())
        await anyio.sleep(1)
        playback = client.send_audio_buffer(SECOND * 2, pad_last_frame=True)
        await playback.wait()
        await anyio.sleep(1)
        assert playback.heard_s == client.heard_s == 2.0
        samples = heard(call)
        assert set(samples[round(1.4 * RATE_HZ) : round(2.9 * RATE_HZ)].tolist()) == {257 + DUCKED}
        assert set(samples[round(3.4 * RATE_HZ) : round(3.9 * RATE_HZ)].tolist()) == {LOUD}
        speech = np.flatnonzero(np.abs(np.diff(samples.astype(int))) > 200)  # where it begins and ends
        assert len(speech) == 2
        assert speech[1] - speech[0] == 2 * RATE_HZ
        assert 1.0 - 0.001 <= (speech[0] + 1) / RATE_HZ <= 1.0 + 0.06 + 0.02


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@on_virtual_clock
async def test_a_file_is_ducked_by_the_level_that_was_asked_for(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "music.flac", np.frombuffer(tone(1.0, 44_100), "<i2"), 44_100)
    async with talking(call_hz=rate_hz) as (client, call):
        await client.mix(Mixer(tmp_path / "music.flac", level_db=-6.0, duck_db=-14.0, fade_s=0.1))
        await anyio.sleep(2)
        client.send_audio_buffer(bytes(2 * rate_hz * 2), pad_last_frame=True)
        await client.drain()
        await anyio.sleep(0.5)
        pcm = bytes(call.heard)
        alone_db, ducked_db = (level_dbfs(pcm[round(at * rate_hz) * 2 :][:rate_hz]) for at in (1.0, 3.0))
        assert alone_db == pytest.approx(level_dbfs(tone(1.0, rate_hz)) - 6.0, abs=0.1)
        assert ducked_db - alone_db == pytest.approx(-14.0, abs=0.1)


@on_virtual_clock
async def test_it_becomes_softer_and_louder_without_a_click() -> None:
    async with talking() as (client, call):
        mixer = steady(level_db=0.0, duck_db=-40.0, fade_s=0.1)
        await client.mix(mixer)
        await anyio.sleep(1)
        await client.send_audio_buffer(bytes(32_000), pad_last_frame=True).wait()
        await anyio.sleep(1)
        mixer.stop()
        await anyio.sleep(1)
        steps = np.abs(np.diff(heard(call).astype(int)))
        assert 0 < steps.max() <= 8_000 / 1_600 + 1


@on_virtual_clock
async def test_what_is_beyond_full_scale_is_clipped() -> None:
    async with talking() as (client, call):
        await client.mix(steady(level_db=0.0, duck_db=0.0))
        await client.send_audio_buffer(array("h", [30_000] * RATE_HZ).tobytes()).wait()
        assert heard(call).max() == 32_767
        assert heard(call).min() >= 0


@pytest.mark.parametrize("file_hz", [16_000, 44_100])
@on_virtual_clock
async def test_it_loops_without_a_seam(tmp_path: Path, file_hz: int) -> None:
    period = tone(0.5, file_hz, pitch_hz=440.0)  # 220 whole waves
    write_wav(tmp_path / "loop.wav", period, file_hz)
    async with talking() as (client, call):
        await client.mix(Mixer(tmp_path / "loop.wav", level_db=0.0))
        await anyio.sleep(5)
        samples = heard(call, 0.3, 4.9).astype(float)
        wave = np.fft.rfft(samples * np.hanning(len(samples)))
        power = np.abs(wave) ** 2
        peak = int(power.argmax())
        assert peak / (len(samples) / RATE_HZ) == pytest.approx(440, abs=0.5)
        assert power[peak - 10 : peak + 11].sum() / power.sum() > 1 - 1e-7  # a click would be at all frequencies


@on_virtual_clock
async def test_without_a_loop_it_stops_at_its_end() -> None:
    async with talking() as (client, call):
        await client.mix(steady(loop=False))
        await anyio.sleep(3)
        samples = heard(call)
        assert (samples != 0).sum() == pytest.approx(RATE_HZ, abs=20)  # the first ones of the fade are 0
        assert not samples[RATE_HZ:].any()
        frames = client.stats().frames_out
        await anyio.sleep(1)
        assert client.stats().frames_out == frames
        await client.send_audio_buffer(SECOND).wait()
        assert call.heard.count(1) >= 32_000


@on_virtual_clock
async def test_over_the_json_transport() -> None:
    async def on_connect(client: Client) -> None:
        await client.mix(steady())
        await anyio.sleep(1)
        await client.send_audio_buffer(SECOND, pad_last_frame=True).wait()

    transport = JSONTransport("audio")
    app = AudioConnector(on_connect, audio_transport=transport)
    async with session(app, rate_hz=RATE_HZ, silence="none", transport=transport) as call:
        await anyio.sleep(4)
        samples = heard(call)
        assert (samples == 257 + DUCKED).sum() == pytest.approx(0.8 * RATE_HZ, abs=40)  # the last of a fade is rounded
        assert set(samples[round(2.5 * RATE_HZ) :].tolist()) == {LOUD}
        call.assert_no_gap(over_ms=0)


# Its end


@pytest.mark.parametrize("way", ["flush_buffer", "send", "interrupt"])
@on_virtual_clock
async def test_a_flush_ends_it_at_once_and_it_stays_gone(way: str) -> None:
    async with talking() as (client, call):
        await client.mix(steady())
        await anyio.sleep(1)
        utterance = client.utterance()
        utterance.send(SECOND)
        await anyio.sleep(0.5)
        if way == "flush_buffer":
            result = await client.flush_buffer()
            assert result.heard_s + result.dropped_s == 1.0
        elif way == "send":
            await client.send_audio_buffer(b"\2\2" * 1_600, flush_buffer=True)
        else:
            await utterance.interrupt()
        await anyio.sleep(0.04)
        before = len(call.heard)
        await anyio.sleep(2)
        rest = bytes(call.heard[before:]).replace(b"\2\2", b"")
        assert not any(rest)
        await client.mix(None)


@on_virtual_clock
async def test_a_flush_before_it_was_read_ends_it_too() -> None:
    async with talking() as (client, call):
        beginning = client.mix(steady())
        client.flush_buffer()
        await beginning
        await anyio.sleep(2)
        assert not any(call.heard)


@pytest.mark.parametrize("way", ["stop", "none"])
@pytest.mark.parametrize("is_in_thread", [False, True])
@on_virtual_clock(backends=("asyncio",))
async def test_it_ends_with_a_fade(way: str, is_in_thread: bool) -> None:
    async with talking() as (client, call):
        mixer = steady(fade_s=0.3)
        await client.mix(mixer)
        await anyio.sleep(1)

        def end() -> None:
            if way == "stop":
                mixer.stop()
                mixer.stop()
            else:
                client.mix(None)

        if is_in_thread:
            await anyio.to_thread.run_sync(end)
        else:
            end()
        await anyio.sleep(2)
        samples = heard(call)
        fade = samples[RATE_HZ:][samples[RATE_HZ:] > 0]
        assert 0.25 <= len(fade) / RATE_HZ <= 0.38
        assert fade.max() == LOUD
        assert (np.diff(fade.astype(int)) <= 0).all()
        assert not mixer.stops


@on_virtual_clock
async def test_another_one_fades_in_while_it_fades() -> None:
    async with talking() as (client, call):
        first, second = steady(), steady(level_db=-24.0)
        await client.mix(first)
        await anyio.sleep(1)
        await client.mix(second)
        first.stop()
        await anyio.sleep(1)
        samples = heard(call).astype(int)
        assert np.abs(np.diff(samples)).max() <= 2
        assert set(samples[round(1.5 * RATE_HZ) : round(1.9 * RATE_HZ)].tolist()) == {505}
        second.stop()
        await anyio.sleep(1)
        assert not heard(call, 2.5).any()


@on_virtual_clock
async def test_the_end_of_the_call_ends_it_and_it_plays_in_the_next_one() -> None:
    mixer = steady()
    for _ in range(2):
        async with talking() as (client, call):
            await client.mix(mixer)
            await anyio.sleep(1)
            assert set(heard(call, 0.3).tolist()) == {LOUD}
            call.hang_up()
            await client.wait_closed()
            with pytest.raises(AudioConnectorClosedError):
                client.mix(mixer)
        mixer.stop()
        assert not mixer.stops


# What the program knows of it


@on_virtual_clock
async def test_drain_waits_for_speech_alone() -> None:
    async with talking() as (client, _):
        await client.mix(steady())
        await anyio.sleep(1)
        started_s = anyio.current_time()
        await client.drain()
        assert anyio.current_time() == started_s
        client.send_audio_buffer(SECOND)
        await client.drain()
        assert anyio.current_time() - started_s == pytest.approx(1.06, abs=0.03)


@on_virtual_clock
async def test_utterances_follow_each_other_as_without_it() -> None:
    async with talking() as (client, call):
        await client.mix(steady())
        await anyio.sleep(1)
        for _ in range(3):
            utterance = client.utterance()
            utterance.send(SECOND)
            utterance.end()
        await client.drain()
        await anyio.sleep(0.5)
        speech = np.flatnonzero(np.abs(np.diff(heard(call).astype(int))) > 200)
        assert [(at - speech[0]) / RATE_HZ for at in speech.tolist()] == pytest.approx([0.0, 3.0], abs=1e-6)
        assert client.heard_s == 3.0


@on_virtual_clock
async def test_audio_at_another_rate_comes_to_its_end() -> None:
    async with talking() as (client, _):
        await client.mix(steady())
        await anyio.sleep(1)
        client.send_audio_buffer(recording("librivox-2", 24_000), sample_rate_hz=24_000)
        with anyio.fail_after(5):
            await client.drain()
        assert client.heard_s == pytest.approx(2.99, abs=0.02)


@on_virtual_clock
async def test_pause_silences_it_and_resume_goes_on() -> None:
    async with talking() as (client, call):
        await client.mix(steady())
        await anyio.sleep(1)
        client.send_audio_buffer(SECOND, pad_last_frame=True)
        await anyio.sleep(0.5)
        client.pause()
        await anyio.sleep(0.04)
        before = len(call.heard)
        await anyio.sleep(1)
        assert not any(call.heard[before:])
        client.resume()
        await client.drain()
        await anyio.sleep(1)
        assert client.heard_s == 1.0
        assert heard(call)[-RATE_HZ // 4] == LOUD


@on_virtual_clock
async def test_speech_of_the_caller_interrupts_speech_and_not_the_bed() -> None:
    async with talking(silence="frames") as (client, call):
        interruption = client.interrupt_on_speech("energy")
        await client.mix(steady())
        await anyio.sleep(1)
        await call.say(recording("librivox-2", RATE_HZ))
        assert interruption.count == 0
        assert set(heard(call, 2.0, 3.0).tolist()) == {LOUD}
        await anyio.sleep(1)
        client.send_audio_buffer(SECOND * 10)
        await call.say(recording("librivox-2", RATE_HZ))
        assert interruption.count == 1
        await anyio.sleep(1)
        assert not any(bytes(call.heard)[-16_000:])


# When, and what is wrong


@on_virtual_clock
async def test_before_the_format_is_known_it_waits() -> None:
    mixer = steady()

    async def on_connect(client: Client) -> None:
        client.mix(mixer)

    async with session(AudioConnector(on_connect), rate_hz=8_000, silence="none") as call:
        await anyio.sleep(2)
        samples = np.frombuffer(bytes(call.heard), "<i2")
        assert (samples == LOUD).sum() > 8_000


@on_virtual_clock
async def test_at_another_rate_it_goes_on() -> None:
    async def on_connect(client: Client) -> None:
        await client.mix(steady())

    async with session(AudioConnector(on_connect), rate_hz=8_000, first_s=2.0, silence="none") as call:
        await anyio.sleep(4)  # for a second the rate was taken for 16 kHz
        samples = np.frombuffer(bytes(call.heard), "<i2")
        assert set(samples[-8_000:].tolist()) == {LOUD}


@pytest.mark.parametrize("name", ["no_such_file.ogg", "text.mp3", "empty.wav"])
@on_virtual_clock
async def test_what_can_not_be_played_is_told_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.mp3").write_text("not music\n" * 500)
    (tmp_path / "empty.wav").write_bytes(b"")
    async with talking() as (client, _):
        with pytest.raises((AudioConnectorAudioError, OSError), match=name):
            client.mix(Mixer(tmp_path / name))
        await client.send_audio_buffer(SECOND).wait()


@pytest.mark.parametrize(("seconds", "problem"), [(0, "holds no audio"), (601, r"lasts 10 minutes")])
@on_virtual_clock
async def test_a_file_with_none_or_too_much_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: int, problem: str
) -> None:
    soundfile.write(tmp_path / "music.au", np.zeros(seconds * 8_000, np.int16), 8_000)
    async with talking() as (client, _):
        with caplog.at_level(logging.WARNING), pytest.raises(AudioConnectorAudioError, match=problem):
            await client.mix(Mixer(tmp_path / "music.au"))
        assert "a sound bed can't be played" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"level_db": 30.0}, "level_db must be a number from -96 to 20, not 30.0"),
        ({"duck_db": 1}, "duck_db must be a number from -96 to 0, not 1"),
        ({"duck_db": float("nan")}, "duck_db must be a number"),
        ({"fade_s": 0.0}, "fade_s must be a number from 0.02 to 10, not 0.0"),
        ({"fade_s": "1"}, "fade_s must be a number"),
        ({"rate_hz": None}, "rate_hz is missing"),
        ({"rate_hz": 10}, "rate_hz must be"),
        ({"sound": "music.ogg"}, "rate_hz is for PCM"),
        ({"sound": b""}, "PCM holds no audio"),
        ({"sound": b"\0"}, "half a sample"),
        ({"sound": bytes(2 * 1_000 * 601), "rate_hz": 1_000}, "PCM lasts 10.0 minutes"),
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, Any], problem: str) -> None:
    settings: dict[str, Any] = {"sound": STEADY, "rate_hz": RATE_HZ} | wrong
    with pytest.raises(AudioConnectorError, match=problem) as caught:
        Mixer(**settings)
    assert isinstance(caught.value, (AudioConnectorConfigError, AudioConnectorAudioError))


@on_virtual_clock
async def test_only_a_mixer_is_mixed() -> None:
    async with talking() as (client, _):
        with pytest.raises(AudioConnectorConfigError, match=r"mix takes a Mixer or None, not 'music.ogg'"):
            client.mix("music.ogg")  # type: ignore[arg-type]


def test_its_sound_is_kept_once_for_all_calls() -> None:
    mixer = steady()
    first, second = mixer.bed(RATE_HZ), mixer.bed(RATE_HZ)
    assert first._samples is second._samples
    assert repr(mixer) == "<Mixer PCM -18 dB>"


def test_without_numpy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtraError, match="audio"):
        Mixer("music.ogg")
