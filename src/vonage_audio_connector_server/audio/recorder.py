"""Recording both sides of a call into one stereo file, on one time line. A call has it as `client.record()`."""

from __future__ import annotations

import os
import wave
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

from ..errors import AudioConnectorAudioError
from ..formats import SAMPLE_BYTES, check_rate
from .resampler import missing, resample
from .time_line import TimeLine

LAG_S = 0.06
"""So long a frame may be late before the file has gone on without it."""


class Recorder:
    """Writes a WAV or FLAC file of two channels as the call goes on: left the caller, right the program.

    What is written can be read at any time, whatever becomes of this process. Times are seconds since the beginning of
    the recording. It knows no clock: whoever feeds it says how late it is.

    Args:
        path: the file, `.wav` or `.flac`; what is there is replaced.
        rate_hz: its sample rate.

    Raises:
        AudioConnectorAudioError: the path has another ending, or the rate is none.
        MissingExtraError: the extra `audio` is not installed.
        OSError: it can't be written.
    """

    def __init__(self, path: str | PathLike[str], rate_hz: int) -> None:
        check_rate("rate_hz", rate_hz)
        self.path = Path(path)
        self.rate_hz = rate_hz
        self._sides = TimeLine(rate_hz), TimeLine(rate_hz)
        self._file: Stereo | None = open_stereo(path, rate_hz)

    @property
    def duration_s(self) -> float:
        """How much of it is in the file, in seconds."""
        return self._sides[0].written / self.rate_hz

    def caller(self, pcm: bytes, at_s: float, rate_hz: int | None = None) -> None:
        """A frame of the caller's came at `at_s`."""
        self._sides[0].came(self._at_rate(pcm, rate_hz), at_s)

    def program(self, pcm: bytes, at_s: float, rate_hz: int | None = None) -> None:
        """A frame of the program's was sent at `at_s`: it is heard then, or behind those before."""
        self._sides[1].played(self._at_rate(pcm, rate_hz), at_s)

    def cut(self, at_s: float) -> None:
        """The program has fallen silent: what it had sent, and was not heard by then, never is."""
        self._sides[1].cut(at_s)

    def write(self, now_s: float) -> None:
        """Write all that can't change any more, and what is silence by now.

        Raises:
            OSError: it can't be written.
        """
        self._write(round((now_s - LAG_S) * self.rate_hz))

    def close(self, now_s: float) -> None:
        """The recording ends at `now_s`: write all until then. Again, it does nothing.

        Raises:
            OSError: it can't be written.
        """
        file, self._file = self._file, None
        if file is not None:
            try:
                self._write(round(now_s * self.rate_hz), file)
            finally:
                file.close()

    def _write(self, until: int, file: Stereo | None = None) -> None:
        file = file or self._file
        if file is not None and until > self._sides[0].written:
            file.write(*(side.take(until) for side in self._sides))

    def _at_rate(self, pcm: bytes, rate_hz: int | None) -> bytes:
        return pcm if rate_hz in (None, self.rate_hz) else resample(pcm, rate_hz or 0, self.rate_hz)


class Stereo(Protocol):
    """A file of two channels that can be read while it is written."""

    def write(self, left: bytes, right: bytes) -> None:
        """Append 16-bit PCM, as much on both sides."""

    def close(self) -> None:
        """Finish the file."""


def open_stereo(path: str | PathLike[str], rate_hz: int) -> Stereo:
    """Begin a file; its ending tells of what kind."""
    check_ending(path)
    return _Wav(path, rate_hz) if Path(path).suffix.lower() == ".wav" else _Flac(path, rate_hz)


def check_ending(path: str | PathLike[str]) -> None:
    """Refuse what is no recording.

    Raises:
        AudioConnectorAudioError: the path ends neither in `.wav` nor in `.flac`.
        MissingExtraError: FLAC needs the extra `audio`.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".wav", ".flac"):
        raise AudioConnectorAudioError(f"a recording is a .wav or a .flac file, not {fspath(path)!r}")
    if ending == ".flac" and find_spec("soundfile") is None:  # to import it takes 0.1 s: that is for a thread
        raise missing("recording FLAC")


class _Wav:
    def __init__(self, path: str | PathLike[str], rate_hz: int) -> None:
        self._raw = Path(path).open("wb", buffering=0)  # noqa: SIM115 (as long as the call)
        self._file: wave.Wave_write = wave.open(self._raw, "wb")  # noqa: SIM115 (as above)
        self._file.setparams((2, SAMPLE_BYTES, rate_hz, 0, "NONE", ""))

    def write(self, left: bytes, right: bytes) -> None:
        self._file.writeframes(interleaved(left, right))  # which keeps its header true each time

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            self._raw.close()


_STREAMINFO_BYTES = 42  # of the head of a FLAC file, up to the end of its first block (RFC 9639, 8.2)
_BLOCK_SIZE_AT = 10
_TOTAL_AT = 21  # 36 bits, of which the first four share their byte


class _Flac:
    """FLAC by libsndfile, whose head is kept true: it says itself how long the file is only when it is closed."""

    def __init__(self, path: str | PathLike[str], rate_hz: int) -> None:
        import numpy as np

        soundfile = _soundfile()
        self._np = np
        try:
            # The lowest level has the shortest blocks, of 1,152 samples: only whole ones can be read.
            self._file: Any = soundfile.SoundFile(
                fspath(path), "w", rate_hz, 2, format="FLAC", subtype="PCM_16", compression_level=0.0
            )
        except soundfile.SoundFileError as exc:
            raise OSError(f"{fspath(path)} can't be written: {exc}") from exc
        self._head = os.open(path, os.O_RDWR)
        self._samples = 0

    def write(self, left: bytes, right: bytes) -> None:
        both = self._np.frombuffer(interleaved(left, right), "<i2").reshape(-1, 2)
        self._file.write(both)
        self._samples += len(both)
        head = bytearray(os.pread(self._head, _STREAMINFO_BYTES, 0))
        block = int.from_bytes(head[_BLOCK_SIZE_AT : _BLOCK_SIZE_AT + 2], "big")
        whole = (self._samples - 1) // block * block if block else 0  # the encoder looks one sample ahead
        if whole:
            total = (head[_TOTAL_AT] & 0xF0) << 32 | whole
            os.pwrite(self._head, total.to_bytes(5, "big"), _TOTAL_AT)

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            os.close(self._head)


def interleaved(left: bytes, right: bytes) -> bytes:
    """Two channels as one sound."""
    both = bytearray(2 * len(left))
    for byte in range(SAMPLE_BYTES):
        both[byte :: 2 * SAMPLE_BYTES] = left[byte::SAMPLE_BYTES]
        both[byte + SAMPLE_BYTES :: 2 * SAMPLE_BYTES] = right[byte::SAMPLE_BYTES]
    return bytes(both)


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as exc:  # an OSError where libsndfile is missing
        raise missing("recording FLAC") from exc
    return soundfile
