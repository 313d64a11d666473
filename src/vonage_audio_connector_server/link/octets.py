"""The octets of a frame of RFC 6455: its head, and a message as one frame."""

from __future__ import annotations

from typing import Final

from ..core.json_audio import JSONTransport
from ..formats import DOCUMENTED_FRAME_BYTES

BINARY: Final = 0x82  # the first byte of a whole message: FIN, and the opcode
TEXT: Final = 0x81
CLOSE: Final = 0x88
MASKED_16: Final = 0xFE
"""The second byte of a masked frame whose length stands in the next two: 126 to 65,535 bytes, as all audio has."""

MASKED_AUDIO: Final = {bytes((BINARY, MASKED_16, size >> 8, size & 255)): 8 + size for size in DOCUMENTED_FRAME_BYTES}
"""How long a masked frame of audio is, with its head, by the first four bytes of that."""

AUDIO_HEADS: Final = {size: bytes((BINARY, 126, size >> 8, size & 255)) for size in DOCUMENTED_FRAME_BYTES}


def encode(payload: bytes | str, json_audio: JSONTransport | None) -> bytes:
    """A message as one unmasked frame."""
    if type(payload) is bytes:
        if json_audio is None:
            return (AUDIO_HEADS.get(len(payload)) or _head(BINARY, len(payload))) + payload
        payload = json_audio.encode(payload)
    if isinstance(payload, str):
        data = payload.encode()
        return _head(TEXT, len(data)) + data
    return _head(BINARY, len(payload)) + payload


def _head(first: int, size_bytes: int) -> bytes:
    if size_bytes < 126:
        return bytes((first, size_bytes))
    if size_bytes < 65_536:
        return bytes((first, 126, size_bytes >> 8, size_bytes & 255))
    return bytes((first, 127)) + size_bytes.to_bytes(8, "big")


def frame_end(data: bytes, at: int, end: int) -> int:
    """Where the frame that begins at `at` ends, as its head says; behind `end` where the head isn't whole."""
    if end - at < 2:
        return end + 1
    second = data[at + 1]
    start = at + 2 + (4 if second & 0x80 else 0)
    size_bytes = second & 0x7F
    if size_bytes < 126:
        return start + size_bytes
    length_bytes = 2 if size_bytes == 126 else 8
    if end - at < 2 + length_bytes:
        return end + 1
    return start + length_bytes + int.from_bytes(data[at + 2 : at + 2 + length_bytes], "big")
