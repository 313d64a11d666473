"""WAV files in and out: 16-bit mono PCM at a rate of the Audio Connector, or brought to one of those."""

from __future__ import annotations

import wave
from os import PathLike, fspath

from ..errors import AudioConnectorAudioError
from ..formats import SAMPLE_BYTES
from .resample import resample

RATES_HZ = (8_000, 16_000, 24_000)
"""The sample rates that the Audio Connector documents."""

_LOWEST_HZ = 1_000  # of a recording: below it is no speech, and a broken header would grow into gigabytes


def read_wav(path: str | PathLike[str], *, rate_hz: int | None = None) -> tuple[bytes, int]:
    """Read a WAV file; returns its PCM and the sample rate of that in Hz.

    Args:
        path: the file: mono, 16 bits, at 8000, 16000 or 24000 Hz.
        rate_hz: the sample rate to bring it to: 8000, 16000 or 24000. Then the file may have any rate from 1000 Hz on.

    Raises:
        AudioConnectorAudioError: it is no WAV file, its audio can't be played into a call, or `rate_hz` is wrong.
        MissingExtraError: the file has another rate than `rate_hz`, and soxr is not installed.
        OSError: it can't be read.
    """
    if rate_hz is not None and rate_hz not in RATES_HZ:
        raise AudioConnectorAudioError(f"rate_hz must be 8000, 16000 or 24000, not {rate_hz!r}")
    name = fspath(path)
    try:
        with wave.open(name, "rb") as file:
            channels, sample_bytes, file_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            pcm = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as exc:
        raise AudioConnectorAudioError(f"{name} is no WAV file of PCM audio: {exc or 'it ends too early'}") from exc
    is_rate = file_hz in RATES_HZ if rate_hz is None else file_hz >= _LOWEST_HZ
    if channels != 1 or sample_bytes != SAMPLE_BYTES or not is_rate:
        rates = "8000, 16000 or 24000 Hz" if rate_hz is None else f"{_LOWEST_HZ} Hz or more"
        raise AudioConnectorAudioError(
            f"{name} has {channels} channel{'s' * (channels != 1)} of {8 * sample_bytes} bits at {file_hz} Hz, but it "
            f"must be mono, 16 bits, at {rates} (ffmpeg -i IN -ac 1 -ar 16000 -c:a pcm_s16le OUT.wav)"
        )
    pcm = pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES]  # a file that was cut off may end in half a sample
    if rate_hz is not None and rate_hz != file_hz:
        pcm = resample(pcm, file_hz, rate_hz)
    if not pcm:
        raise AudioConnectorAudioError(f"{name} holds no audio")
    return pcm, rate_hz or file_hz


def write_wav(path: str | PathLike[str], pcm: bytes, rate_hz: int) -> None:
    """Write 16-bit mono PCM as a WAV file, replacing what is there.

    Raises:
        OSError: it can't be written.
    """
    with wave.open(fspath(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
