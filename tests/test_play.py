"""Sound files that a program plays, and audio at other rates than the connection's, as the room hears them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import numpy as np
import pytest
import soundfile
from test_playback import SECOND, talking

from vonage_audio_connector_server import (
    AudioConnector,
    AudioConnectorAudioError,
    AudioConnectorConfigError,
    Client,
    MissingExtraError,
    PlaybackResult,
)
from vonage_audio_connector_server.audio import resample, write_wav
from vonage_audio_connector_server.testing import assert_same_speech, on_virtual_clock, recording, session

Tone = Callable[..., bytes]


def heard_sound(call: object) -> bytes:
    """What was heard, without the silence around it."""
    samples = np.frombuffer(call.heard, "<i2")  # type: ignore[attr-defined]
    loud = np.flatnonzero(samples)
    return samples[loud[0] : loud[-1] + 1].tobytes() if len(loud) else b""


def speech_file(folder: Path, ending: str, rate_hz: int = 44_100, channels: int = 2) -> Path:
    samples = np.frombuffer(resample(recording("librivox-2", 16_000), 16_000, rate_hz), "<i2")
    path = folder / f"greeting.{ending}"
    soundfile.write(path, np.stack([samples / 32_768] * channels, axis=1), rate_hz)  # floats: MP3 takes no integers
    return path


@pytest.mark.parametrize("ending", ["mp3", "wav", "flac", "ogg"])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
@on_virtual_clock
async def test_a_file_of_any_kind_is_heard(tmp_path: Path, ending: str, rate_hz: int) -> None:
    async with talking(call_hz=rate_hz) as (client, call):
        playback = await client.play(speech_file(tmp_path, ending))
        result = await playback.wait()
        assert (result.interrupted, result.evidence) == (False, "clock")
        assert result.heard_s == result.duration_s == playback.heard_s == pytest.approx(2.99, abs=0.06)
        call.assert_no_gap(over_ms=0)
        assert_same_speech(call.heard, recording("librivox-2", rate_hz), rate_hz=rate_hz)


@on_virtual_clock
async def test_what_is_sent_behind_it_is_heard_behind_it(tmp_path: Path) -> None:
    write_wav(tmp_path / "one.wav", b"\1\1" * 20_001, 16_000)
    async with talking() as (client, call):
        client.send_audio_buffer(b"\2\2" * 8_000)
        first = client.play(tmp_path / "one.wav")
        client.send_audio_buffer(b"\3\3" * 8_000)
        second = client.play(str(tmp_path / "one.wav"))
        await client.drain()
        heard = heard_sound(call)
        assert heard.count(1) == 80_004
        runs = heard.replace(b"\0", b"").decode().replace("\1" * 40_002, "1")
        assert runs == "\2" * 16_000 + "1" + "\3" * 16_000 + "1"
        assert [await one.wait() for one in (first, second)] == [
            PlaybackResult(1.2500625, 1.2500625, False, "clock")
        ] * 2
        call.assert_no_gap(over_ms=0)


@pytest.mark.parametrize("ending", ["mp3", "wav", "flac"])
@on_virtual_clock
async def test_what_is_in_memory_is_played_as_a_file_is(tmp_path: Path, ending: str) -> None:
    write_wav(tmp_path / "plain.wav", recording("librivox-2", 16_000), 16_000)
    async with talking() as (client, call):
        for path in (speech_file(tmp_path, ending), tmp_path / "plain.wav"):
            data = path.read_bytes()
            with pytest.raises(AudioConnectorAudioError, match=r"client\.play\(io\.BytesIO\(audio\)\)|half a sample"):
                client.send_audio_buffer(data if ending != "mp3" else (tmp_path / "plain.wav").read_bytes())
            file = io.BytesIO(data)
            result = await (await client.play(file)).wait()
            assert result.heard_s == pytest.approx(2.99, abs=0.06)
            assert not file.closed
            assert_same_speech(call.heard[-2 * 48_000 :], recording("librivox-2", 16_000)[-2 * 40_000 :])
        with pytest.raises(AudioConnectorAudioError, match="the sound is no audio"):
            client.play(io.BytesIO(b"no sound" * 100))


@on_virtual_clock
async def test_a_flush_ends_it_and_it_is_read_no_further(tmp_path: Path) -> None:
    write_wav(tmp_path / "long.wav", SECOND * 600, 16_000)
    async with talking() as (client, call):
        playback = client.play(tmp_path / "long.wav")
        await anyio.sleep(3)
        assert client.stats().queued_s <= 6.0
        client.flush_buffer()
        result = await playback.wait()
        assert result.interrupted
        assert result.heard_s == pytest.approx(3, abs=0.02)
        assert await playback is playback
        await anyio.sleep(5)
        assert call.heard.count(1) / 32_000 == pytest.approx(3, abs=0.1)


@on_virtual_clock
async def test_the_end_of_the_call_ends_it(tmp_path: Path) -> None:
    write_wav(tmp_path / "long.wav", SECOND * 600, 16_000)
    async with talking() as (client, call):
        playback = client.play(tmp_path / "long.wav")
        await anyio.sleep(1)
        call.hang_up()
        assert (await playback.wait()).interrupted
        await playback


@on_virtual_clock
async def test_before_the_format_is_known_it_waits(tmp_path: Path) -> None:
    write_wav(tmp_path / "one.wav", b"\1\1" * 8_000, 8_000)

    async def on_connect(client: Client) -> None:
        client.play(tmp_path / "one.wav")
        await client.drain()
        client.disconnect()

    async with session(AudioConnector(on_connect), rate_hz=8_000, silence="none") as call:
        await call.wait_ended()
        assert call.heard.count(1) == 16_000


@pytest.mark.parametrize("name", ["no_such_file.wav", "text.mp3", "empty.wav"])
@on_virtual_clock
async def test_what_can_not_be_played_is_told_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.mp3").write_text("not music\n" * 500)
    (tmp_path / "empty.wav").write_bytes(b"")
    async with talking() as (client, _):
        with pytest.raises((AudioConnectorAudioError, OSError), match=name):
            client.play(tmp_path / name)
        await client.send_audio_buffer(SECOND).wait()


@on_virtual_clock
async def test_a_file_that_breaks_off_is_heard_until_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = np.full(80_000, 0.1)
    samples[60_000:] = np.nan
    soundfile.write(tmp_path / "broken.wav", samples, 16_000, subtype="FLOAT")
    async with talking() as (client, call):
        playback = client.play(tmp_path / "broken.wav")
        with caplog.at_level(logging.WARNING), pytest.raises(AudioConnectorAudioError, match="no numbers"):
            await playback
        assert "a file was played as far as it could be read" in caplog.text
        assert (await playback.wait()).heard_s == pytest.approx(3.5)
        assert len(heard_sound(call)) / 32_000 == pytest.approx(3.5, abs=0.02)


@pytest.mark.anyio
async def test_from_another_thread(tmp_path: Path) -> None:
    write_wav(tmp_path / "one.wav", b"\1\1" * 8_000, 16_000)
    results = []

    async def on_connect(client: Client) -> None:
        def elsewhere() -> None:
            playback = client.play(tmp_path / "one.wav").result(5)
            results.append(playback.wait().result(5))
            with pytest.raises(FileNotFoundError):
                client.play(tmp_path / "none.wav")
            results.append(client.send_audio_buffer(b"\1\1" * 12_000, sample_rate_hz=24_000).wait().result(5))

        await anyio.to_thread.run_sync(elsewhere)
        client.disconnect()

    async with session(AudioConnector(on_connect)) as call:
        with anyio.fail_after(20):
            await call.wait_ended()
    assert results[0] == PlaybackResult(0.5, 0.5, interrupted=False, evidence="clock")
    assert results[1].heard_s == pytest.approx(0.5, abs=0.05)


# Audio at another rate


@pytest.mark.parametrize("chunk_samples", [1, 240, 480, 1_000, 24_000])
@on_virtual_clock
async def test_audio_at_another_rate_is_one_stream(tone: Tone, chunk_samples: int) -> None:
    pcm = tone(1.0 if chunk_samples > 1 else 0.1, 24_000)
    async with talking() as (client, call):
        for at in range(0, len(pcm), 2 * chunk_samples):
            await client.send_audio_buffer(pcm[at : at + 2 * chunk_samples], sample_rate_hz=24_000)
        await client.drain()
        await anyio.sleep(0.1)
        assert heard_sound(call).strip(b"\0") == resample(pcm, 24_000, 16_000).strip(b"\0")


@on_virtual_clock
async def test_a_live_stream_at_another_rate_is_heard_without_a_gap_but_for_its_last_milliseconds(tone: Tone) -> None:
    pcm = tone(2.0, 24_000)
    async with talking() as (client, call):
        for at in range(0, len(pcm), 960):
            client.send_audio_buffer(pcm[at : at + 960], sample_rate_hz=24_000)
            await anyio.sleep(0.02)
        await anyio.sleep(0.5)
        call.assert_no_gap(over_ms=0)
        heard, wanted = heard_sound(call).strip(b"\0"), resample(pcm, 24_000, 16_000).strip(b"\0")
        assert wanted.startswith(heard)
        assert len(wanted) - len(heard) <= 2 * 4 * 16


@on_virtual_clock
async def test_no_old_sound_leaks_behind_a_flush(tone: Tone) -> None:
    for flush in (Client.flush_buffer, lambda client: client.send_audio_buffer(b"", flush_buffer=True)):
        async with talking() as (client, call):
            client.send_audio_buffer(tone(0.31, 24_000), sample_rate_hz=24_000)
            await anyio.sleep(0.1)
            flush(client)
            flushed_s = call.now_s
            client.send_audio_buffer(bytes(48_000), sample_rate_hz=24_000)
            await client.drain()
            await anyio.sleep(0.3)
            assert not np.frombuffer(call.heard_between(flushed_s + 0.06, call.now_s), "<i2").any()


@on_virtual_clock
async def test_rates_may_change_from_call_to_call_and_all_is_heard_in_order(tone: Tone) -> None:
    async with talking() as (client, call):
        for pcm, rate_hz in (
            (tone(0.3, 24_000), 24_000),
            (tone(0.3), None),
            (tone(0.3, 8_000), 8_000),
            (tone(0.3), 16_000),
        ):
            await client.send_audio_buffer(pcm, sample_rate_hz=rate_hz)
        await client.drain()
        wanted = resample(tone(0.3, 24_000), 24_000, 16_000) + tone(0.3) + resample(tone(0.3, 8_000), 8_000, 16_000)
        assert heard_sound(call).strip(b"\0") == (wanted + tone(0.3)).strip(b"\0")


@on_virtual_clock
async def test_the_end_of_an_utterance_brings_its_last_sample(tone: Tone) -> None:
    async with talking() as (client, call):
        playback = client.send_audio_buffer(tone(0.25, 24_000), sample_rate_hz=24_000, pad_last_frame=True)
        assert (await playback.wait()).heard_s == 0.25
        async with client.utterance(sample_rate_hz=24_000) as utterance:
            await utterance.send(tone(0.25, 24_000))
        assert (await utterance.wait()).heard_s == 0.25
        one = resample(tone(0.25, 24_000), 24_000, 16_000)
        assert heard_sound(call).replace(b"\0\0", b"") == (one * 2).replace(b"\0\0", b"")


@pytest.mark.parametrize(
    ("wire_hz", "program_hz"), [(16_000, 24_000), (8_000, 16_000), (24_000, 16_000), (16_000, 16_000)]
)
@on_virtual_clock
async def test_a_program_that_works_at_its_own_rate(wire_hz: int, program_hz: int) -> None:
    sizes, rates = set(), set()

    async def on_connect(client: Client) -> None:
        def on_message(message: bytes | str) -> None:
            if isinstance(message, bytes):
                sizes.add(len(message))
                rates.add((client.sample_rate_hz, client.audio_format and client.audio_format.rate_hz))
                client.send_audio_buffer(message)

        client.set_handler(on_message=on_message)

    connector = AudioConnector(on_connect, sample_rate_hz=program_hz)
    async with session(connector, rate_hz=wire_hz, silence="none") as call:
        await call.say(recording("librivox-2", wire_hz))
        await anyio.sleep(1)
        call.assert_no_gap(over_ms=0)
        assert_same_speech(call.heard, recording("librivox-2", wire_hz), rate_hz=wire_hz)
    assert sizes == {program_hz // 25}
    assert rates == {(program_hz, wire_hz)}


@on_virtual_clock
async def test_what_is_muted_ends_before_the_mute_and_nothing_old_comes_behind_it(tone: Tone) -> None:
    got: list[tuple[bytes | str, float]] = []

    async def on_connect(client: Client) -> None:
        client.set_handler(on_message=lambda message: got.append((message, anyio.current_time())))

    async with session(AudioConnector(on_connect, sample_rate_hz=24_000), silence="none") as call:
        for muted in (True, False):
            await call.say(tone(0.5))
            if muted:
                call.mute()
            await anyio.sleep(2)
            call.unmute()
        await anyio.sleep(0.5)
    audio = [(pcm, at_s) for pcm, at_s in got if isinstance(pcm, bytes)]
    first = b"".join(pcm for pcm, at_s in audio if at_s < audio[0][1] + 1)
    second = b"".join(pcm for pcm, at_s in audio if at_s > audio[0][1] + 1)
    wanted = resample(tone(0.5), 16_000, 24_000)
    assert first.strip(b"\0") == wanted.strip(b"\0")
    assert len(first) - len(wanted) < 2 * 960
    assert (
        second.strip(b"\0")[:20_000] == wanted.strip(b"\0")[:20_000]
    )  # of a stream that goes on, the end is held back


@pytest.mark.parametrize("rate", [0, 7_999, 48_001, 22_051, 16_000.0, "16000", True])
def test_what_is_no_rate_of_a_program_is_refused(rate: int) -> None:
    with pytest.raises(AudioConnectorConfigError, match="sample_rate_hz must be 8000 to 48000, a multiple of 50"):
        AudioConnector(sample_rate_hz=rate)


def test_without_soxr_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soxr", None)
    with pytest.raises(MissingExtraError, match=r"server\[audio\]"):
        AudioConnector(sample_rate_hz=24_000)


@on_virtual_clock
async def test_audio_at_a_rate_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with talking() as (client, call):
        with pytest.raises(AudioConnectorAudioError, match="sample_rate_hz must be a sample rate of"):
            client.send_audio_buffer(SECOND, sample_rate_hz=44)
        monkeypatch.setitem(__import__("sys").modules, "soxr", None)
        for act in (
            lambda: client.send_audio_buffer(SECOND, sample_rate_hz=24_000),
            lambda: client.utterance(sample_rate_hz=24_000),
        ):
            with pytest.raises(MissingExtraError):
                act()
        await client.send_audio_buffer(SECOND).wait()
        assert call.heard.count(1) == 32_000
