"""A sound bed: hold music or the tone of a room, which plays where nothing is said, and softer under speech.

Frames are mixed in the thread of the call's event loop, 15 to 25 µs each; a file is read in another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from os import PathLike, fspath
from typing import TYPE_CHECKING

from ..core.framer import as_pcm
from ..errors import AudioConnectorAudioError, AudioConnectorConfigError
from ..formats import SAMPLE_BYTES, check_rate
from .resampler import numpy_for, resample, to_int16
from .sound_files import SoundFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Buffer

MAX_BED_S = 600.0
"""A longer bed is an error: it is kept as a whole, and ten minutes are 19 MB at 16 kHz."""

MIN_FADE_S, MAX_FADE_S = 0.02, 10.0
"""What is shorter is heard as a click."""

_MIN_DB, _MAX_DB = -96.0, 20.0

_OVERLAP_S = 0.05  # so much of a loop's other end is resampled with each of its ends: a filter needs 20 ms of it


class Mixer:
    """A sound bed for calls: hold music or the tone of a room. It plays where nothing is said, and softer under speech.

        client.mix(Mixer("music.ogg", level_db=-24.0))

    One may play in several calls; its sound is kept once for each sample rate.

    Args:
        sound: a sound file of any kind, as in `play`, or 16-bit mono PCM; up to 10 minutes.
        rate_hz: the sample rate of PCM.
        level_db: how much louder the sound is made, in dB; less than 0 is softer.
        duck_db: and how much more under speech.
        loop: begin again at the end; else it is over there.
        fade_s: how long it takes to become softer or louder, to begin and to end.

    Attributes:
        level_db: as given.
        duck_db: as given.
        loop: as given.
        fade_s: as given.
        stops: for the calls in which it plays: each ends it in one of them.

    Raises:
        AudioConnectorConfigError: a value is wrong; the message names it.
        AudioConnectorAudioError: it is no PCM, as in `send_audio_buffer`, or none at all, or too long.
        MissingExtraError: the extra `audio` is not installed.
    """

    def __init__(
        self,
        sound: str | PathLike[str] | Buffer,
        *,
        rate_hz: int | None = None,
        level_db: float = -18.0,
        duck_db: float = -12.0,
        loop: bool = True,
        fade_s: float = 0.2,
    ) -> None:
        _check("level_db", level_db, _MIN_DB, _MAX_DB)
        _check("duck_db", duck_db, _MIN_DB, 0.0)
        _check("fade_s", fade_s, MIN_FADE_S, MAX_FADE_S)
        self.level_db, self.duck_db, self.loop, self.fade_s = level_db, duck_db, loop, fade_s
        self._path: str | None = None
        self._pcm, self._pcm_hz = b"", 0
        if isinstance(sound, (str, PathLike)):
            if rate_hz is not None:
                raise AudioConnectorConfigError("rate_hz is for PCM: a sound file tells its own")
            self._path = fspath(sound)
        else:
            if rate_hz is None:
                raise AudioConnectorConfigError("rate_hz is missing: nothing else tells the sample rate of PCM")
            check_rate("rate_hz", rate_hz)
            self._pcm, self._pcm_hz = as_pcm(sound), rate_hz
            self._check_length(self._pcm, rate_hz)
        numpy_for("mixing a sound bed")
        self._samples: dict[int, NDArray[np.int16]] = {}  # by their rate
        self.stops: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<Mixer {self._name} {self.level_db:g} dB>"

    def stop(self) -> None:
        """End it with a fade, in all calls in which it plays; from any thread. Again, it does nothing."""
        for stop in list(self.stops):
            stop()

    # For calls

    def check(self) -> None:
        """Make sure that there is something to be played.

        Raises:
            AudioConnectorAudioError: it is no sound file.
            MissingExtraError: the extra `audio` is not installed.
            OSError: it can't be opened.
        """
        if self._path is not None:
            SoundFile(self._path, max_duration_s=MAX_BED_S).close()

    def bed(self, rate_hz: int) -> SoundBed:
        """A bed for one call with this sample rate. It may read a file, so not in an event loop.

        Raises:
            AudioConnectorAudioError: it is no sound file, or holds no audio, or too much.
            MissingExtraError: the extra `audio` is not installed.
            OSError: it can't be read.
        """
        samples = self._samples.get(rate_hz)
        if samples is None:
            samples = self._samples[rate_hz] = numpy_for("mixing a sound bed").frombuffer(self._at_rate(rate_hz), "<i2")
        return SoundBed(
            samples,
            gain=_gain(self.level_db),
            ducked_gain=_gain(self.level_db + self.duck_db),
            loop=self.loop,
            fade_samples=round(self.fade_s * rate_hz),
        )

    # Inside

    @property
    def _name(self) -> str:
        return "PCM" if self._path is None else self._path

    def _at_rate(self, rate_hz: int) -> bytes:
        pcm, pcm_hz = self._pcm, self._pcm_hz
        if self._path is not None:
            with SoundFile(self._path, max_duration_s=MAX_BED_S) as file:
                pcm, pcm_hz = b"".join(file.blocks(file.rate_hz)), file.rate_hz
            self._check_length(pcm, pcm_hz)
        if pcm_hz == rate_hz:
            return pcm
        return looped(pcm, pcm_hz, rate_hz) if self.loop else resample(pcm, pcm_hz, rate_hz)

    def _check_length(self, pcm: bytes, rate_hz: int) -> None:
        duration_s = len(pcm) / SAMPLE_BYTES / rate_hz
        if not pcm:
            raise AudioConnectorAudioError(f"{self._name} holds no audio")
        if duration_s > MAX_BED_S:
            raise AudioConnectorAudioError(
                f"{self._name} lasts {duration_s / 60:.1f} minutes, but a sound bed may last {MAX_BED_S / 60:.0f}"
            )


class SoundBed:
    """The bed of one call; see `core.bed.Bed`.

    Args:
        samples: its sound, at the rate of the call.
        gain: how loud it plays alone; 1 is as loud as the samples are.
        ducked_gain: and under speech.
        loop: begin again at the end.
        fade_samples: how long it takes to become softer or louder.

    Attributes:
        is_over: nothing of it is left.
    """

    def __init__(
        self, samples: NDArray[np.int16], *, gain: float, ducked_gain: float, loop: bool, fade_samples: int
    ) -> None:
        self._np = numpy_for("mixing a sound bed")
        self._samples, self._loop, self._fade_samples = samples, loop, fade_samples
        self._full_gain, self._ducked_gain = gain, ducked_gain
        self._at = 0
        self._gain = self._target = self._step = 0.0  # now, whereto, and by how much for each sample
        self._before: SoundBed | None = None
        self._is_stopped = self.is_over = False

    def mix(self, frame: bytes) -> bytes:
        """The next frame, softer, under one of speech."""
        speech = self._np.frombuffer(frame, "<i2")
        return to_int16(speech + self._next(len(speech), is_ducked=True))

    def alone(self, frame_bytes: int) -> bytes:
        """The next frame, where nothing is said."""
        return to_int16(self._next(frame_bytes // SAMPLE_BYTES, is_ducked=False))

    def fall_silent(self) -> None:
        """What was sent last was taken back: the next frame begins out of silence."""
        self._gain = self._target = 0.0
        self._before = None
        self.is_over |= self._is_stopped

    def stop(self) -> None:
        """End with a fade."""
        self._is_stopped = True

    def follow(self, before: SoundBed) -> None:
        """Begin while another one fades."""
        before.stop()
        self._before = before

    def _next(self, count: int, *, is_ducked: bool) -> NDArray[np.float32]:
        """So many samples, at the gain of each."""
        numpy = self._np
        self._aim(0.0 if self._is_stopped else self._ducked_gain if is_ducked else self._full_gain)
        samples: NDArray[np.float32] = self._take(count).astype(numpy.float32)
        if self._gain == self._target:
            samples *= numpy.float32(self._gain)
        else:
            ramp = self._gain + self._step * numpy.arange(1, count + 1)
            ramp = ramp.clip(min(self._gain, self._target), max(self._gain, self._target))
            self._gain = float(ramp[-1])
            samples *= ramp.astype(numpy.float32)
        if self._before is not None:
            samples += self._before._next(count, is_ducked=is_ducked)
            if self._before.is_over:
                self._before = None
        is_faded = self._is_stopped and self._gain == 0.0
        is_played = not self._loop and self._at >= len(self._samples)
        self.is_over = (is_faded or is_played) and self._before is None
        return samples

    def _aim(self, target: float) -> None:
        if target != self._target:
            self._target = target
            self._step = (target - self._gain) / self._fade_samples

    def _take(self, count: int) -> NDArray[np.int16]:
        """The next samples of the sound: those at its beginning behind those at its end, or silence."""
        samples, at = self._samples, self._at
        self._at = at + count
        if self._at <= len(samples):
            return samples[at : self._at]
        if self._loop:
            self._at %= len(samples)
            taken: NDArray[np.int16] = samples.take(self._np.arange(at, at + count), mode="wrap")
            return taken
        padded: NDArray[np.int16] = self._np.zeros(count, "<i2")
        rest = samples[at:]
        padded[: len(rest)] = rest
        return padded


def looped(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """A loop at another sample rate, whose end goes over into its beginning as at its own."""
    # So many samples before and behind it, taken from its other end, that they are whole ones at both rates.
    shortest = from_hz // math.gcd(from_hz, to_hz)
    overlap = shortest * math.ceil(_OVERLAP_S * from_hz / shortest)
    size_bytes, overlap_bytes = len(pcm), overlap * SAMPLE_BYTES
    around = pcm * math.ceil(overlap_bytes / size_bytes)
    resampled = resample(around[len(around) - overlap_bytes :] + pcm + around[:overlap_bytes], from_hz, to_hz)
    start = overlap * to_hz // from_hz
    samples = max(1, round(size_bytes // SAMPLE_BYTES * to_hz / from_hz))
    return resampled[start * SAMPLE_BYTES : (start + samples) * SAMPLE_BYTES]


def _gain(level_db: float) -> float:
    return float(10 ** (level_db / 20))


def _check(name: str, value: object, least: float, most: float) -> None:
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]  # a number, by then
        raise AudioConnectorConfigError(f"{name} must be a number from {least:g} to {most:g}, not {value!r}")
