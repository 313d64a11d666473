"""Tools for sound: rates, files, arrays, levels. They need the extra `audio`, and no call.

    from vonage_audio_connector_server.audio import Resampler

    resampler = Resampler(from_hz=24_000, to_hz=16_000)
    pcm = resampler.process(chunk)

A call that plays audio of another rate needs none of it: `client.send_audio_buffer(chunk, sample_rate_hz=24_000)`.
"""

from __future__ import annotations

from .levels import FLOOR_DBFS, level_dbfs, peak_dbfs
from .mixer import Mixer
from .pcm import Base64Audio, to_float32, to_mono, to_pcm
from .recorder import Recorder
from .resampler import Resampler, resample
from .sound_files import SoundFile, read_audio, write_wav

__all__ = [
    "FLOOR_DBFS",
    "Base64Audio",
    "Mixer",
    "Recorder",
    "Resampler",
    "SoundFile",
    "level_dbfs",
    "peak_dbfs",
    "read_audio",
    "resample",
    "to_float32",
    "to_mono",
    "to_pcm",
    "write_wav",
]
