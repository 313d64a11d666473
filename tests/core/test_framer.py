"""A queue of audio of any length, out of which frames are taken: nothing lost, doubled or reordered. What is PCM."""

from __future__ import annotations

import array
import ctypes
import random
import tracemalloc
from typing import Any

import numpy as np
import pytest
from driving import write
from hypothesis import given, settings
from hypothesis import strategies as st

from vonage_audio_connector_server.core.framer import Framer, as_pcm
from vonage_audio_connector_server.core.session import Session
from vonage_audio_connector_server.errors import AudioConnectorAudioError
from vonage_audio_connector_server.formats import AudioFormat

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


def take_all(framer: Framer, frame_bytes: int) -> bytes:
    """All whole frames that are there."""
    frames = []
    while framer.size_bytes >= frame_bytes:
        frames.append(framer.read(frame_bytes))
        assert type(frames[-1]) is bytes
        assert len(frames[-1]) == frame_bytes
    return b"".join(frames)


pushes = st.lists(st.integers(0, 70).map(lambda n: 2 * n), max_size=8)
frames_bytes = st.integers(1, 40).map(lambda n: 2 * n)


@settings(max_examples=50, deadline=None)
@given(pushes, frames_bytes)
def test_frames_are_the_input_and_what_is_no_whole_frame_waits(sizes_bytes: list[int], frame_bytes: int) -> None:
    framer = Framer()
    out, pushed = b"", 0
    for piece in cut(sizes_bytes):
        framer.push(piece)
        out += take_all(framer, frame_bytes)
        pushed += len(piece)
        assert out == SOUND[: pushed - pushed % frame_bytes]
        assert framer.size_bytes == pushed % frame_bytes
    padding = bytes(-framer.size_bytes % frame_bytes)
    framer.push(padding)
    assert out + take_all(framer, frame_bytes) == SOUND[:pushed] + padding
    assert framer.size_bytes == 0


@settings(max_examples=50, deadline=None)
@given(pushes, frames_bytes)
def test_pieces_that_wait_together_are_cut_as_one(sizes_bytes: list[int], frame_bytes: int) -> None:
    framer = Framer()
    for piece in cut(sizes_bytes):
        framer.push(piece)
    pushed = sum(sizes_bytes)
    assert framer.size_bytes == pushed
    assert take_all(framer, frame_bytes) == SOUND[: pushed - pushed % frame_bytes]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 70)),
        st.tuples(st.just("take"), st.integers(1, 40)),
        st.tuples(st.just("put back"), st.integers(1, 4)),
        st.tuples(st.just("clear"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_any_pushes_takes_and_put_backs_give_back_the_stream(steps: list[tuple[str, int]]) -> None:
    """`number` is in samples; of what is put back, frames: those that were taken last, in any sizes."""
    framer = Framer()
    waiting, taken, at = b"", list[bytes](), 0
    for name, number in steps:
        if name == "push":
            piece = SOUND[at : at + 2 * number]
            framer.push(piece)
            waiting += piece
            at += 2 * number
        elif name == "take" and len(waiting) >= 2 * number:
            taken.append(framer.read(2 * number))
            assert taken[-1] == waiting[: 2 * number]
            waiting = waiting[2 * number :]
        elif name == "put back":
            for _ in range(min(number, len(taken))):
                frame = taken.pop()
                framer.put_back(frame)
                waiting = frame + waiting
        elif name == "clear":
            framer.clear()
            waiting = b""
            taken.clear()
        assert framer.size_bytes == len(waiting)
    assert take_all(framer, 2) == waiting
    assert framer.size_bytes == 0


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
        for frame in write(session, now_s):
            assert isinstance(frame, bytes)
            assert len(frame) == 320
            out += frame
        assert out == SOUND[start:at] + bytes((start - at) % 320)
    assert session.queued_s == 0.0


def test_a_frame_is_taken_across_pieces() -> None:
    framer = Framer()
    for at in range(0, len(PCM), 2):
        framer.push(PCM[at : at + 2])
    framer.push(b"")
    assert framer.read(6) == PCM[:6]
    assert framer.size_bytes == 2
    assert framer.read(2) == PCM[6:]


def test_what_is_put_back_comes_before_what_was_cut() -> None:
    framer = Framer()
    framer.push(PCM)
    assert framer.read(2) == PCM[:2]
    framer.put_back(SOUND[:4])
    framer.put_back(SOUND[4:6])
    assert framer.size_bytes == 12
    assert framer.read(12) == SOUND[4:6] + SOUND[:4] + PCM[2:]


def test_clear_forgets_all_that_waits_and_where_it_was_cut() -> None:
    framer = Framer()
    framer.clear()
    framer.push(PCM)
    framer.read(2)
    framer.clear()
    assert framer.size_bytes == 0
    framer.push(PCM)
    assert framer.read(8) == PCM


@pytest.mark.parametrize("seconds", [1, 3_600])
def test_an_hour_of_audio_is_queued_and_put_back_without_a_copy(seconds: int) -> None:
    pcm = bytes(16_000 * seconds)
    framer = Framer()
    tracemalloc.start()
    try:
        framer.push(pcm)
        frames = [framer.read(320) for _ in range(3)]
        for frame in reversed(frames):
            framer.put_back(frame)
        assert framer.read(640) == bytes(640)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000
    assert framer.size_bytes == len(pcm) - 640


@pytest.mark.parametrize("known", [True, False])
def test_an_hour_of_audio_is_sent_without_a_copy(known: bool) -> None:
    pcm = bytes(16_000 * 3_600)
    session = Session(0.0, assumed_format=AudioFormat(8_000))
    if known:
        session.assume_format()
    tracemalloc.start()
    try:
        session.queue_audio(pcm, 0.0)
        assert len(write(session, 1.0)) == 15
        session.clear(1.1)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 30_000


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


LOUD = [0, 16_384, -16_384, 256]  # in every format below; none of them is rounded


class Tensor:
    """An array of a machine learning library: numpy understands it, and it is no buffer."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(LOUD, np.int16)


def refused() -> dict[str, tuple[Any, str]]:
    """Arrays of the samples `LOUD`, in one channel or the same in each, and what is said of them."""
    int16 = np.array(LOUD, np.int16)
    floats = np.array(LOUD) / 32_768
    stereo = np.stack([int16, int16], axis=1)
    return {
        "big-endian": (int16.astype(">i2"), "big-endian 16-bit integer samples ('>h')"),
        "big-endian stereo": (stereo.astype(">i2"), "big-endian 16-bit integer samples ('>h') of shape (4, 2)"),
        "float16": (floats.astype("f2"), "16-bit float samples ('e')"),
        "float32": (floats.astype("f4"), "32-bit float samples ('f')"),
        "float64": (floats, "64-bit float samples ('d')"),
        "big-endian float32": (floats.astype(">f4"), "big-endian 32-bit float samples ('>f')"),
        "array of floats": (array.array("f", floats), "32-bit float samples ('f')"),
        "float32 stereo": (stereo.astype("f4") / 32_768, "32-bit float samples ('f') of shape (4, 2)"),
        "two rows of float32": (stereo.T.copy().astype("f4") / 32_768, "32-bit float samples ('f') of shape (2, 4)"),
        "float32 of each second": (
            floats.astype("f4").repeat(2)[::2],
            "32-bit float samples ('f'), not contiguous in memory",
        ),
        "int32": (int16.astype("i4") << 16, "32-bit integer samples ('i')"),
        "int32 stereo": (stereo.astype("i4") << 16, "32-bit integer samples ('i') of shape (4, 2)"),
        "array of int32": (array.array("i", [value << 16 for value in LOUD]), "32-bit integer samples ('i')"),
        "int64": (int16.astype("i8") << 48, f"64-bit integer samples ({np.dtype('i8').char!r})"),
        "uint32": (np.array([0, 16_384, 256], "u4"), "32-bit unsigned integer samples ('I')"),
        "uint16": (int16.view("u2"), "16-bit unsigned integer samples ('H')"),
        "big-endian uint16": (int16.astype(">i2").view(">u2"), "big-endian 16-bit unsigned integer samples ('>H')"),
        "int8": ((int16 >> 8).astype("i1"), "8-bit integer samples ('b')"),
        "int8 stereo": ((stereo >> 8).astype("i1"), "8-bit integer samples ('b') of shape (4, 2)"),
        "uint8 in two columns": (int16.view("u1").reshape(4, 2), "single bytes of shape (4, 2)"),
        "uint8 of each second": (
            int16.view("u1").repeat(2)[::2],
            "single bytes, not contiguous in memory",
        ),
        "memoryview": (memoryview(bytes(int16)[::-1])[::-1], "single bytes, not contiguous in memory"),
        "stereo": (stereo, "16-bit integer samples ('h') of shape (4, 2)"),
        "two rows": (stereo.T.copy(), "16-bit integer samples ('h') of shape (2, 4)"),
        "one channel of two": (stereo[:, :1], "16-bit integer samples ('h') of shape (4, 1), not contiguous in memory"),
        "every second sample": (int16.repeat(2)[::2], "16-bit integer samples ('h'), not contiguous in memory"),
        "ten pieces": (np.tile(int16, (10, 3)), "16-bit integer samples ('h') of shape (10, 12)"),
        "pieces of pieces": (np.tile(int16, (2, 3, 1)), "16-bit integer samples ('h') of shape (2, 3, 4)"),
    }


@pytest.mark.parametrize("kind", refused())
def test_what_is_refused_is_named_and_its_hint_makes_the_right_samples_of_it(kind: str) -> None:
    audio, named = refused()[kind]
    with pytest.raises(AudioConnectorAudioError) as caught:
        as_pcm(audio)
    said = str(caught.value)
    start, what_to_do = said.split(": send ")
    assert start == f"audio has {named}, but 16-bit little-endian mono samples in one piece are needed"
    expression = what_to_do.split(" for ")[0].split(", or ")[0]
    pcm = as_pcm(eval(expression, {"numpy": np, "audio": audio}))
    samples = [0, 16_384, 256] if kind == "uint32" else LOUD
    expected = samples * {"ten pieces": 30, "pieces of pieces": 6}.get(kind, 1)
    got = array.array("h", pcm).tolist()
    assert len(got) == len(expected)
    # Full scale is 32767 in the hint, so that 1.0 doesn't wrap round, and 32768 in `refused`.
    assert max(abs(one - other) for one, other in zip(got, expected, strict=True)) <= ("float" in kind)


@pytest.mark.parametrize(
    ("audio", "way"),
    [
        pytest.param(np.array(LOUD, np.int32), "audio.astype('<i2') for values from -32768 to 32767", id="int32"),
        pytest.param(np.array(LOUD, np.int64), "audio.astype('<i2') for values from -32768 to 32767", id="int64"),
        pytest.param(np.array(LOUD, "<i2").view("i1"), "audio.tobytes() for the bytes of 16-bit PCM", id="int8"),
    ],
)
def test_where_the_numbers_may_be_of_two_scales_the_hint_has_both(audio: Any, way: str) -> None:
    with pytest.raises(AudioConnectorAudioError) as caught:
        as_pcm(audio)
    assert str(caught.value).endswith(f", or {way}")
    assert array.array("h", as_pcm(eval(way.split(" for ")[0], {"audio": audio}))).tolist() == LOUD


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_hint_for_floats_keeps_what_is_too_loud_from_wrapping_round(dtype: str) -> None:
    audio: Any = np.array([1.0, -1.0, 1.5, -1.5], dtype)
    with pytest.raises(AudioConnectorAudioError) as caught:
        as_pcm(audio)
    expression = str(caught.value).split(": send ")[1].split(" for ")[0]
    assert eval(expression, {"audio": audio}).tolist() == [32_767, -32_767, 32_767, -32_767]


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        pytest.param("text", "not str", id="text"),
        pytest.param([0, 1], "not list", id="a list"),
        pytest.param(None, "not NoneType", id="None"),
        pytest.param(7, "not int", id="a number"),
        pytest.param(Tensor(), r"not Tensor .*; numpy\.asarray\(audio\) makes an array of it", id="a tensor"),
        pytest.param(np.zeros(2, "datetime64[s]"), "not ndarray", id="dates"),
        pytest.param(np.zeros(4, np.complex64), "items of type 'Zf'.*: convert it to int16 first", id="complex"),
        pytest.param(np.zeros(4, bool), r"items of type '\?'.*: convert it to int16 first", id="booleans"),
    ],
)
def test_what_is_no_audio_at_all_is_refused(audio: Any, said: str) -> None:
    with pytest.raises(AudioConnectorAudioError, match=said):
        as_pcm(audio)


@pytest.mark.parametrize("dtype", ["i4", ">i4", "i8", "u2", "u4", "i1", ">i2", "c8"])
def test_only_floats_are_told_to_be_scaled_up(dtype: str) -> None:
    audio: Any = np.zeros(4, dtype)
    with pytest.raises(AudioConnectorAudioError) as caught:
        as_pcm(audio)
    assert "* 32767" not in str(caught.value)
    assert "from -1 to 1" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["i2", "<i2", "i4", "f4", "i1"])
def test_nothing_is_called_big_endian_that_is_not(dtype: str) -> None:
    audio: Any = np.zeros((4, 2), dtype)
    with pytest.raises(AudioConnectorAudioError) as caught:
        as_pcm(audio)
    assert "big-endian" not in str(caught.value)


HEADS = {
    "a WAV file": b"RIFF\x24\x7d\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00",
    "an Ogg file": b"OggS\x00\x02" + bytes(10),
    "a FLAC file": b"fLaC\x00\x00\x00\x22\x10\x00",
    "an MP3 file": b"ID3\x04\x00\x00\x00\x00\x00\x23",
    "an MP3 file of old": b"ID3\x03\x00\x00\x00\x00\x0f\x76",
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_the_beginning_of_a_sound_file_is_refused_with_its_kind(kind: str, buffer: Any) -> None:
    with pytest.raises(
        AudioConnectorAudioError, match=f"begins as {kind.removesuffix(' of old')} does.*samples at the"
    ):
        as_pcm(buffer(HEADS[kind] + PCM))


@pytest.mark.parametrize(
    "pcm",
    [
        pytest.param(b"RIFF\x24\x7d\x00\x00AVI LIST", id="RIFF of another kind"),
        pytest.param(b"RIFF", id="RIFF alone"),
        pytest.param(b"RIFF\x24\x7d\x00\x00", id="RIFF and a size"),
        pytest.param(b"OggS\x00\x00" + PCM, id="a later page of Ogg"),
        pytest.param(b"fLaC", id="four letters"),
        pytest.param(b"ID3\x01", id="another four"),
        *(pytest.param(PCM + head, id=f"the head of {kind} in the middle") for kind, head in HEADS.items()),
    ],
)
def test_what_only_looks_like_a_sound_file_is_audio(pcm: bytes) -> None:
    assert as_pcm(pcm) is pcm


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
