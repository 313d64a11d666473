"""Frames of one size from audio of any length: nothing lost, nothing doubled, padding only at a flush."""

from __future__ import annotations

import array
import ctypes
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.framing import Framer, as_pcm
from vonage_audio_connector_server.core.session import Send, Session
from vonage_audio_connector_server.errors import AudioConnectorAudioError

PCM = b"\x01\x00\xff\x7f\x00\x80\xfe\xff"  # 1, 32767, -32768, -2
SAMPLES = [1, 32_767, -32_768, -2]
SOUND = random.Random(1).randbytes(40_000)


def cut(sizes_bytes: list[int]) -> list[bytes]:
    """Consecutive pieces of `SOUND` of these sizes."""
    pieces, at = [], 0
    for size_bytes in sizes_bytes:
        pieces.append(SOUND[at : at + size_bytes])
        at += size_bytes
    return pieces


# Framer


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 70).map(lambda n: 2 * n), max_size=8), st.integers(1, 40).map(lambda n: 2 * n))
def test_frames_are_the_input_padded_only_by_a_flush(sizes_bytes: list[int], frame_bytes: int) -> None:
    framer = Framer()
    out, pushed = b"", 0
    for piece in cut(sizes_bytes):
        frames = framer.push(piece, frame_bytes)
        assert all(len(frame) == frame_bytes for frame in frames)
        out += b"".join(frames)
        pushed += len(piece)
        assert out == SOUND[: pushed - pushed % frame_bytes]
        assert len(framer.remainder) == pushed % frame_bytes
    last = framer.flush(frame_bytes)
    rest = SOUND[len(out) : pushed]
    assert last == ([rest + bytes(frame_bytes - len(rest))] if rest else [])
    assert len(framer.remainder) == 0
    assert framer.flush(frame_bytes) == []


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 70), st.integers(1, 40)), max_size=8), st.integers(1, 40))
def test_a_change_of_the_frame_size_loses_nothing(steps: list[tuple[int, int]], last_samples: int) -> None:
    framer = Framer()
    out = b""
    pieces = cut([2 * samples for samples, _ in steps])
    for piece, (_, frame_samples) in zip(pieces, steps, strict=True):
        frames = framer.push(piece, 2 * frame_samples)
        assert all(len(frame) == 2 * frame_samples for frame in frames)
        out += b"".join(frames)
    frames = framer.flush(2 * last_samples)
    assert all(len(frame) == 2 * last_samples for frame in frames)
    out += b"".join(frames)
    whole = b"".join(pieces)
    assert out[: len(whole)] == whole
    assert out[len(whole) :] == bytes(len(out) - len(whole))
    assert len(out) - len(whole) < 2 * last_samples


def test_ten_thousand_random_chunkings_lose_and_double_nothing() -> None:
    """Each is one utterance, cut at random, on one connection: what goes out is the input and its padding."""
    rng = random.Random(20_260)
    session = Session(0.0)
    now_s = 0.0
    for _ in range(10_000):
        start = at = 2 * int(rng.random() * 15_000)
        for chunks_left in range(int(rng.random() * 3), -1, -1):
            end = at + 2 * int(rng.random() ** 3 * 500)
            session.queue_audio(SOUND[at:end], now_s, frame_bytes=320, end=not chunks_left)
            at = end
        now_s += 1.0
        out = b""
        while isinstance(action := session.poll(now_s), Send):
            frame = action.payloads.popleft()
            assert isinstance(frame, bytes)
            assert len(frame) == 320
            out += frame
        assert out == SOUND[start:at] + bytes((start - at) % 320)
    assert session.queued_s == 0.0


def test_a_whole_frame_goes_through_as_the_same_object() -> None:
    assert Framer().push(SOUND, len(SOUND))[0] is SOUND


def test_clear_returns_the_remainder_and_forgets_it() -> None:
    framer = Framer()
    framer.push(PCM, 6)
    assert framer.clear() == PCM[6:]
    assert len(framer.remainder) == 0
    assert framer.push(PCM[:6], 6) == [PCM[:6]]


# as_pcm


def taken() -> dict[str, Any]:
    """Everything that holds the samples 1, 32767, -32768, -2."""
    int16 = np.array(SAMPLES, np.int16)
    return {
        "bytes": PCM,
        "bytearray": bytearray(PCM),
        "memoryview": memoryview(PCM),
        "part of a memoryview": memoryview(b"ab" + PCM + b"cd")[2:-2],
        "memoryview of int16": memoryview(PCM).cast("h"),
        "array of int16": array.array("h", SAMPLES),
        "array of bytes": array.array("B", PCM),
        "ctypes": (ctypes.c_int16 * 4)(*SAMPLES),
        "numpy int16": int16,
        "numpy <i2": int16.astype("<i2"),
        "numpy bytes": np.frombuffer(PCM, np.uint8),
        "numpy (n, 1)": int16.reshape(-1, 1),
        "numpy (1, n)": int16.reshape(1, -1),
        "numpy read-only": np.frombuffer(PCM, np.int16),
    }


@pytest.mark.parametrize("kind", taken())
def test_audio_is_taken_from(kind: str) -> None:
    pcm = as_pcm(taken()[kind])
    assert type(pcm) is bytes
    assert pcm == PCM


def test_bytes_are_not_copied() -> None:
    assert as_pcm(PCM) is PCM


@pytest.mark.parametrize("kind", ["bytearray", "array of int16", "numpy int16", "numpy (n, 1)", "ctypes"])
def test_a_later_change_of_the_buffer_does_not_change_what_was_taken(kind: str) -> None:
    audio = taken()[kind]
    pcm = as_pcm(audio)
    memoryview(audio).cast("B")[:] = bytes(len(PCM))
    assert bytes(memoryview(audio).cast("B")) == bytes(len(PCM))
    assert pcm == PCM


@pytest.mark.parametrize(
    ("audio", "hint"),
    [
        pytest.param(np.zeros(4, ">i2"), "'>h'.*little-endian", id="big-endian"),
        pytest.param(np.zeros(4, np.float32), "'f'.*32767", id="float32"),
        pytest.param(np.zeros(4, np.int32), "'i'", id="int32"),
        pytest.param(np.zeros(4, np.uint16), "'H'", id="uint16"),
        pytest.param(array.array("f", [0.0]), "'f'", id="array of floats"),
        pytest.param(np.zeros((4, 2), np.int16), r"\(4, 2\).*mono", id="two channels"),
        pytest.param(np.zeros((2, 4), np.int16), r"\(2, 4\).*mono", id="two rows"),
        pytest.param(np.zeros(8, np.int16)[::2], "ascontiguousarray", id="every second sample"),
        pytest.param(np.zeros((4, 2), np.int16)[:, :1], "ascontiguousarray", id="one channel of two"),
        pytest.param(memoryview(PCM)[::-1], "ascontiguousarray", id="backwards"),
        pytest.param("text", "not str", id="text"),
        pytest.param([0, 1], "not list", id="a list"),
        pytest.param(None, "not NoneType", id="None"),
        pytest.param(7, "not int", id="a number"),
        pytest.param(np.zeros(2, "datetime64[s]"), "not ndarray", id="dates"),
        pytest.param(np.zeros(4, np.int8), "'b'", id="int8"),
    ],
)
def test_audio_that_needs_a_conversion_is_refused_with_a_hint(audio: Any, hint: str) -> None:
    with pytest.raises(AudioConnectorAudioError, match=hint):
        as_pcm(audio)


@pytest.mark.parametrize("audio", [b"\0", PCM + b"\0", bytearray(641), np.zeros(3, np.uint8)])
def test_half_a_sample_is_refused(audio: Any) -> None:
    with pytest.raises(AudioConnectorAudioError, match=rf"{len(audio)} bytes.*half a sample"):
        as_pcm(audio)


def test_no_audio_is_audio() -> None:
    array_of_none: Any = np.zeros(0, np.int16)
    assert as_pcm(b"") == as_pcm(bytearray()) == as_pcm(array_of_none) == b""


@pytest.mark.parametrize("shape", [(0, 1), (1, 0)])
def test_no_audio_in_a_column_is_audio(shape: tuple[int, int]) -> None:
    column: Any = np.zeros(shape, np.int16)
    assert as_pcm(column) == b""
