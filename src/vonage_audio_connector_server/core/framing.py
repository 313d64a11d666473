"""Cut audio of any length into frames of one size; what is left over waits for the next call.

Sizes are bytes of 16-bit mono PCM. Knows nothing of time, and nothing of messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import AudioConnectorAudioError
from ..models import SAMPLE_BYTES

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BYTE_FORMATS = frozenset("Bc")
_INT16_FORMATS = frozenset(("h", "<h", "=h", "@h"))


def as_pcm(audio: Buffer) -> bytes:
    """Take any bytes-like object, or a C-contiguous int16 array of one channel, as PCM bytes.

    `bytes` are taken as they are; anything that its owner could change later is copied.

    Raises:
        AudioConnectorAudioError: not bytes-like, not int16, not contiguous, more than one channel, or not whole
            samples.
    """
    pcm = audio if type(audio) is bytes else _copy(audio)
    if len(pcm) % SAMPLE_BYTES:
        raise AudioConnectorAudioError(
            f"audio is {len(pcm)} bytes: that ends in half a sample. 16-bit PCM has 2 bytes a sample; "
            "keep the odd byte and send it in front of the next chunk"
        )
    return pcm


class Framer:
    """Frames of `frame_bytes` from pushes of any length. Nothing is lost, doubled or reordered."""

    __slots__ = ("_remainder",)

    def __init__(self) -> None:
        self._remainder = b""

    @property
    def remainder_bytes(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._remainder)

    def push(self, pcm: bytes, frame_bytes: int) -> list[bytes]:
        """The whole frames that the remainder and `pcm` make together; the rest is the new remainder."""
        if self._remainder:
            pcm = self._remainder + pcm
            self._remainder = b""
        elif len(pcm) == frame_bytes:  # the live case: a frame in, the same object out
            return [pcm]
        whole_bytes = len(pcm) - len(pcm) % frame_bytes
        self._remainder = pcm[whole_bytes:]
        return [pcm[at : at + frame_bytes] for at in range(0, whole_bytes, frame_bytes)]

    def flush(self, frame_bytes: int) -> list[bytes]:
        """The remainder, padded with silence to one frame; no frame where there is no remainder."""
        if not self._remainder:
            return []
        # A frame size that became smaller can leave more than one frame here; push cuts it.
        frames = self.push(b"", frame_bytes)
        if self._remainder:
            frames.append(self._remainder.ljust(frame_bytes, b"\0"))
            self._remainder = b""
        return frames

    def clear(self) -> bytes:
        """Forget the remainder and return it."""
        remainder, self._remainder = self._remainder, b""
        return remainder


def _copy(audio: Buffer) -> bytes:
    try:
        view = memoryview(audio)
    except (TypeError, ValueError, BufferError) as exc:  # not bytes-like; items or a state that buffers don't have
        raise AudioConnectorAudioError(
            f"audio must be bytes-like or an int16 array, not {type(audio).__name__} ({exc})"
        ) from exc
    if view.format not in _BYTE_FORMATS and view.format not in _INT16_FORMATS:
        raise AudioConnectorAudioError(
            f"audio has items of type {view.format!r}, but 16-bit little-endian samples are needed: "
            "convert it first, for floats (x * 32767).astype('<i2')"
        )
    shape = view.shape or ()
    if sum(length > 1 for length in shape) > 1:  # (1, n) and (n, 1) are one channel
        raise AudioConnectorAudioError(f"audio has the shape {shape}, but the connection is mono")
    if not view.c_contiguous:
        raise AudioConnectorAudioError("audio is not contiguous in memory: use numpy.ascontiguousarray(audio)")
    return view.tobytes()
