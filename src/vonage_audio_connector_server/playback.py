"""Sending audio, and what became of it: a `Playback` for each call of `send_audio_buffer`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from .call.actions import Action, act, refused
from .call.call import Call
from .call.questions import played, result_of
from .core.frame_format import named_format
from .core.framer import FILE_BYTES, as_pcm
from .core.ledger import Mark
from .errors import AudioConnectorError
from .formats import FRAME_MS, check_rate
from .link.base import TURN_S
from .results import PlaybackResult
from .waits import CHANGED, Question

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .call.speech_queue import SpeechQueue

_new = object.__new__


class Playback(Action["Playback"]):
    """Audio that was sent: how much of it has been heard, now or when it is over. It may be asked from any thread.

    Awaiting it waits until there is room for more audio, and returns it.
    """

    __slots__ = ("_mark",)

    _grows = False  # its mark does

    # `Client.send_audio_buffer`, which makes one 50 times a second for each call, fills it in without `__init__`.
    _mark: Mark | None  # None: it comes from another thread, and is not queued yet

    def __repr__(self) -> str:
        return f"<Playback heard {self.heard_s:.2f} of {self.duration_s:.2f} s>"

    def __await__(self) -> Generator[Any, Any, Playback]:
        """Wait until there is room for more audio, and let others run."""
        if self._answer is not None or self._finish is not None:
            return (yield from super().__await__())
        if self._call.output.holds_back:
            yield from self._call.output.wait_room().__await__()
        return self

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds; padding is not counted. 0 while it is on its way from another thread."""
        return 0.0 if self._mark is None else result_of(self._call, self._mark).duration_s

    @property
    def heard_s(self) -> float:
        """How many seconds of it have been heard by now, by the playout clock."""
        return 0.0 if self._mark is None else result_of(self._call, self._mark).heard_s

    @property
    def so_far(self) -> PlaybackResult:
        """What was heard of it by now; `interrupted`: a part of it never will be."""
        if self._mark is None and not self._call.is_over:
            return PlaybackResult(0.0, 0.0, interrupted=False, evidence="clock")
        return self._result()

    def wait(self, *, confirm: bool = False) -> Action[PlaybackResult]:
        """Wait until it has been heard, or a part of it never will be: it was flushed, or the call has ended.

        It never raises because of such an end. Cancelling it changes nothing.

        Args:
            confirm: ask the router to acknowledge that it has played it (`notify`: documented for Vonage's Voice API,
                unknown for the Audio Connector). Where no answer has come one second after it must have been heard by
                the clock, the clock is the evidence.
        """
        call = self._call

        def start() -> tuple[Question, Callable[[], PlaybackResult]]:
            if self._mark is None and self._answer is not None:  # perhaps it was not queued: this raises why
                super(Playback, self).result(0)
            mark = self._mark
            if mark is None or self._grows:  # it waits for its turn
                return self._ask_over, self._result
            if confirm and call.is_open:
                call.session.confirm(mark)
                call.output.pump_soon()
            return played(call, mark, confirm), self._result

        return act(call, start, ends_well=True)

    def _ask_over(self, now_s: float) -> float | None:
        """Has it been heard, or won't it be any more?"""
        if self._mark is None:
            return None if self._call.is_over else CHANGED
        return played(self._call, self._mark, confirm=False)(now_s)

    def _result(self) -> PlaybackResult:
        if self._mark is None:  # the call has ended before it had its turn
            return PlaybackResult(0.0, 0.0, interrupted=True, evidence="clock")
        return result_of(self._call, self._mark)

    def result(self, timeout_s: float | None = None) -> Playback:
        """Block this thread until there is room for more audio: for threads without event loop. See `Action.result`."""
        return self if self._answer is None and self._finish is None else super().result(timeout_s)

    async def _wait(self) -> Playback:
        return await super()._wait() if self._answer is not None or self._finish is not None else await self


class Player:
    """Sends audio into one call; see `Client`.

    Args:
        call: the call.
        rate_hz: the sample rate of the program's audio; None: that of the connection.
    """

    def __init__(self, call: Call, rate_hz: int | None = None) -> None:
        self._call = call
        self._out = call.out
        self._output = call.output
        self._thread_id = call.thread_id
        self._rate_hz = rate_hz
        self._own_queue: SpeechQueue | None = None  # once audio came at another rate, or something is said in its turn
        self._is_plain = rate_hz is None  # what is sent directly goes the short way

    def send_audio_buffer(
        self,
        audio_data: Buffer,
        *,
        bytes_per_sample: int | None = None,
        frames_ms: int = FRAME_MS,
        pad_last_frame: bool = False,
        flush_buffer: bool = False,
        sample_rate_hz: int | None = None,
    ) -> Playback:
        """Send audio behind what is queued: 16-bit little-endian mono PCM at the connection's rate, of any length.

        What is due leaves at once; the rest is queued and sent in time, `lead_s` ahead of real time. Awaited, it waits
        while more than `max_queued_s` waits to be sent.
        Frames are cut across calls: what is left of the last frame waits for the next call, and if none comes in time
        to be played behind it, it goes out padded with silence. Audio sent before the format is known waits for it,
        unless the call names its frame. Calls from several tasks are queued in the order in which they are made.

        Cancelling the wait takes nothing back: the audio is queued as a whole.

        Args:
            audio_data: bytes-like, or a C-contiguous int16 array; whole samples.
            bytes_per_sample: bytes of one *frame* (the name is the reference SDK's): 320, 640 or 960 for 20 ms at 8,
                16 or 24 kHz. None: what the connection negotiated.
            frames_ms: milliseconds of one frame, 20 or 10; it tells the rate, together with `bytes_per_sample`. On the
                wire all frames last 20 ms.
            pad_last_frame: the utterance ends here: pad the last frame with silence now.
            flush_buffer: drop what is queued first, in the same step, as `flush_buffer()` does.
            sample_rate_hz: the rate of `audio_data`, 1,000 to 768,000 Hz. Audio at another rate than that of the
                connection is resampled as one stream, without clicks between calls. It comes out 2 to 6 ms
                later, and at other rates than 8, 16, 24, 32 and 48 kHz in blocks of 30 ms: then a live source is heard
                0.12 s later, 0.24 s in a call of 8 kHz, and the `Playback` of one call may be 40 ms shorter or longer.
                What is behind a flush begins anew. None:
                `AudioConnector(sample_rate_hz=…)` or, where that is not set, the connection's.

        Returns:
            The `Playback`, which tells how much of it was heard; awaited, the same.

        Raises:
            AudioConnectorAudioError: half a sample, not int16, not mono, the beginning of a sound file, or a frame that
                doesn't describe the connection's rate; nothing was queued, and nothing flushed.
            AudioConnectorFullError: the queue is full and `when_full` is `raise`; nothing was queued.
            AudioConnectorClosedError: the connection has ended.
            MissingExtraError: audio at another rate needs the extra `audio`.
        """
        call, output = self._call, self._output
        try:
            if sample_rate_hz is not None or not self._is_plain:
                pcm = as_pcm(audio_data)
                if (
                    self._own_queue is not None
                    and call.ended_s is None
                    and call.closing is None
                    and bytes_per_sample is None
                    and frames_ms is FRAME_MS
                    and not (pad_last_frame or flush_buffer)
                    and get_ident() == self._thread_id
                ):
                    mark = self._own_queue.push_live(pcm, sample_rate_hz or self._rate_hz, call.clock())
                    if mark is not None:
                        return _playback(call, mark)
                return self._send(pcm, sample_rate_hz, bytes_per_sample, frames_ms, pad_last_frame, flush_buffer)
            # A whole frame that doesn't begin like a file, as all live audio does; `as_pcm` looks closer.
            out = self._out
            if (
                type(audio_data) is bytes
                and len(audio_data) == out.frame_bytes
                and audio_data
                and audio_data[0] not in FILE_BYTES
            ):
                pcm = audio_data
            else:
                pcm = as_pcm(audio_data)
            if get_ident() != self._thread_id:
                return self._send(pcm, None, bytes_per_sample, frames_ms, pad_last_frame, flush_buffer)
            if call.ended_s is not None or call.closing is not None:
                call.check_open()
            clock = call.clock
            now_s = clock()
            mark = None
            if bytes_per_sample is None and frames_ms is FRAME_MS and not pad_last_frame and not flush_buffer:
                mark = out.push_live(pcm, now_s)
            if mark is None:
                mark = output.queue_audio(pcm, now_s, bytes_per_sample, frames_ms, pad_last_frame, flush_buffer)
            else:
                output.pump_soon()
                if now_s - call.turn.began_s > TURN_S:
                    output.holds_back = True
        except AudioConnectorError as exc:
            if get_ident() == self._thread_id and call.fails_on():
                failed = refused(Playback, call, exc)
                failed._mark = None
                return failed
            raise
        playback: Playback = _new(Playback)  # `_playback` without a call of it
        playback._call, playback._mark, playback._answer, playback._finish = call, mark, None, None
        return playback

    # Inside

    @property
    def _queue(self) -> SpeechQueue:
        """Of what is said in its turn; only in the call's thread."""
        if self._own_queue is None:
            from .call.speech_queue import SpeechQueue  # only then: most calls need none

            self._own_queue = SpeechQueue(self._call)
            self._is_plain = False
        return self._own_queue

    def _send(
        self, pcm: bytes, rate_hz: int | None, frame_bytes: int | None, frame_ms: int, end: bool, flush: bool
    ) -> Playback:
        """Send audio the long way: from another thread, at another rate, or where things are said in their turn."""
        call = self._call
        if rate_hz is not None:
            check_resampling(rate_hz)
        rate_hz = rate_hz or self._rate_hz
        playback = Playback(call, None, None)
        playback._mark = None

        def set_mark(mark: Mark) -> None:
            playback._mark = mark

        def start() -> tuple[Question, Callable[[], Playback]]:
            call.check_open()
            if rate_hz is None and self._own_queue is None:
                set_mark(call.output.queue_audio(pcm, call.clock(), frame_bytes, frame_ms, end, flush))
                return call.output.ask_room, lambda: playback
            room = self._queue.send_directly(set_mark, pcm, rate_hz, frame_bytes, frame_ms, end, flush)
            return room, lambda: playback

        if get_ident() == self._thread_id:
            playback._question, playback._finish = start()
            return playback
        call.session.check_room()
        named_format(call.session.audio_format, frame_bytes, frame_ms)
        playback._answer = call.threads.post(start)
        return playback


def _playback(call: Call, mark: Mark) -> Playback:
    playback: Playback = _new(Playback)
    playback._call, playback._mark, playback._answer, playback._finish = call, mark, None, None
    return playback


def check_resampling(rate_hz: int) -> None:
    """Make sure that audio at this rate can be sent.

    Raises:
        AudioConnectorAudioError: it is no sample rate.
        MissingExtraError: the extra `audio` is not installed.
    """
    check_rate("sample_rate_hz", rate_hz)
    from .audio.resampler import require

    require()
