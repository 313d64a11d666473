"""WAV files in and out: 16-bit mono PCM at a rate of the Audio Connector, and nothing else."""

from __future__ import annotations

import wave
from os import PathLike, fspath

from ..errors import AudioConnectorAudioError
from ..models import SAMPLE_BYTES

RATES_HZ = (8_000, 16_000, 24_000)
"""The sample rates that the Audio Connector documents."""


def read_wav(path: str | PathLike[str]) -> tuple[bytes, int]:
    """Read a WAV file; returns its PCM and its sample rate in Hz.

    Raises:
        AudioConnectorAudioError: it is no WAV file, or its audio can't be played into a call as it is.
        OSError: it can't be read.
    """
    name = fspath(path)
    try:
        with wave.open(name, "rb") as file:
            channels, sample_bytes, rate_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            pcm = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as exc:
        raise AudioConnectorAudioError(f"{name} is no WAV file of PCM audio: {exc or 'it ends too early'}") from exc
    if channels != 1 or sample_bytes != SAMPLE_BYTES or rate_hz not in RATES_HZ:
        raise AudioConnectorAudioError(
            f"{name} has {channels} channel{'s' * (channels != 1)} of {8 * sample_bytes} bits at {rate_hz} Hz, but it "
            "must be mono, 16 bits, at 8000, 16000 or 24000 Hz (ffmpeg -i IN -ac 1 -ar 16000 -c:a pcm_s16le OUT.wav)"
        )
    if len(pcm) < SAMPLE_BYTES:
        raise AudioConnectorAudioError(f"{name} holds no audio")
    return pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES], rate_hz  # a file that was cut off may end in half a sample


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
