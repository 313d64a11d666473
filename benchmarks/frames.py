"""What stands in the first bytes of a benchmark's audio frames.

Imported by servers, load and tests; standard library only.

A frame is 640 bytes, 20 ms at 16 kHz. Its head names the stream (or, in an answer, its generation), a sequence number,
and a time of the machine's monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import os
import struct

FRAME_BYTES = 640
FRAME_S = 0.02
FRAMES_A_SECOND = 50
HEAD = struct.Struct("<IId")  # stream or generation, sequence, time in s; 16 bytes
FIRST_MESSAGE = ' {"event":"websocket:connected","content-type":"audio/l16;rate=16000"}'

GENERATIONS = 8
"""Answers of one connection are numbered modulo this, so that a server can have them ready."""

INTERRUPTS = 0x8000_0000
"""Set in the stream number of a frame that stands for an interruption: the server flushes and answers anew."""

PLAY_S = float(os.environ.get("BENCHMARK_PLAY_S", "15"))
"""How long the answers of `play` are; the runner tells server and load alike."""

INTERRUPTED_ANSWER_S = 10.0
"""Longer than the 5 s that the reference SDK sends without queueing: those could not be flushed at all."""


def frame(stream: int, sequence: int, sent_s: float) -> bytes:
    """One frame of 640 bytes."""
    return HEAD.pack(stream, sequence, sent_s).ljust(FRAME_BYTES, b"\0")


def answer(seconds: float, generation: int = 0) -> bytes:
    """`seconds` of audio, each frame with the generation and its place."""
    return b"".join(frame(generation, place, 0.0) for place in range(round(seconds * FRAMES_A_SECOND)))


def interrupts(pcm: bytes) -> bool:
    """Whether a frame stands for an interruption."""
    return bool(pcm[3] & 0x80)


class Answers:
    """Long answers of all generations, made beforehand."""

    def __init__(self) -> None:
        self._rest = [answer(INTERRUPTED_ANSWER_S, generation)[FRAME_BYTES:] for generation in range(GENERATIONS)]

    def after(self, generation: int, flushed_s: float) -> bytes:
        """The answer of `generation`, with the time of the flush in its first frame."""
        return frame(generation % GENERATIONS, 0, flushed_s) + self._rest[generation % GENERATIONS]
