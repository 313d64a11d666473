"""Playing a sound file into a call: read in blocks as it is heard, and not before."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from threading import get_ident
from typing import TYPE_CHECKING, Any

from .audio.sound_files import SoundFile, Source
from .call.call import Call
from .call.questions import format_known
from .core.ledger import Mark
from .errors import AudioConnectorAudioError, AudioConnectorClosedError, AudioConnectorInterruptedError
from .playback import Playback
from .runtime import TICK_S, in_thread
from .waits import CHANGED, Question

if TYPE_CHECKING:
    from .call.speech import Speech
    from .call.speech_queue import SpeechQueue

logger = logging.getLogger("vonage_audio_connector_server")

READ_AHEAD_S = 5.0
"""So much of a file waits to be sent: a slow disk makes no hole, and a long file takes little memory."""

BLOCK_S = 0.5
"""So much is read at once: less than a millisecond of work for every format that was tried."""


class FilePlayback(Playback):
    """The `Playback` of a file.

    Awaiting it waits until all of the file has been read and queued, and raises what was wrong with it.

    Args:
        call: into which it is played.
        source: the file.
        priority: of its turn.
        queue: makes the queue of the call.
    """

    __slots__ = ("_error", "_get_queue", "_is_read", "_speech")

    _grows = True

    def __init__(self, call: Call, source: Source, priority: int, queue: Callable[[], SpeechQueue]) -> None:
        super().__init__(call, None, None)
        self._mark = None
        self._get_queue = queue
        self._speech: Speech | None = None
        self._error: AudioConnectorAudioError | None = None
        self._is_read = False
        file = SoundFile(source)

        def start() -> tuple[Question, Callable[[], Playback]]:
            call.check_open()
            self._speech = speech = queue().begin(priority, None)
            speech.on_mark = self._set_mark
            call.start_soon(self._read, (file, speech))
            return self._ask_read, self._read_result

        try:
            if get_ident() == call.thread_id:
                self._question, self._finish = start()
            else:
                self._answer = call.threads.post(start)
                self._answer.add_done_callback(lambda answer: file.close() if failed(answer) else None)
        except BaseException:
            file.close()
            raise

    async def _read(self, file: SoundFile, speech: Speech) -> None:
        """Read the file as it is heard; a task of the call."""
        call, queue = self._call, self._get_queue()
        try:
            with file:
                await call.waits.wait(format_known(call))
                rate_hz = call.assume_format().rate_hz
                blocks = file.blocks(rate_hz, round(BLOCK_S * file.rate_hz))
                while call.is_open and not speech.is_interrupted:
                    pcm = await in_thread(lambda: next(blocks, None))
                    if pcm is None:
                        break
                    queue.send(speech, pcm)
                    await call.waits.wait(self._ask_room)
        except AudioConnectorAudioError as exc:
            self._error = exc
            logger.warning("connection %s: a file was played as far as it could be read: %s", call.id, exc)
        except (AudioConnectorInterruptedError, AudioConnectorClosedError):
            pass  # while the thread was reading
        finally:
            self._is_read = True
            queue.end(speech)
            call.output.changed()

    def _ask_room(self, now_s: float) -> float | None:
        """Is it time to read more?"""
        call, speech = self._call, self._speech
        if speech is None or speech.is_interrupted or not call.is_open:
            return None
        ahead_s = min(READ_AHEAD_S, call.session.max_queued_s / 2)
        too_much_s = max(speech.waiting_s, call.session.queued_s) - ahead_s
        if too_much_s <= 0:
            return None
        return CHANGED if speech.waiting_s or call.out.paused else now_s + max(too_much_s, TICK_S)

    def _ask_read(self, now_s: float) -> float | None:
        """Has all of it been queued?"""
        return None if self._is_read or not self._call.is_open else CHANGED

    def _read_result(self) -> Playback:
        if self._error is not None:
            raise self._error
        return self

    def _ask_over(self, now_s: float) -> float | None:
        if self._speech is None:
            return None if self._call.is_over else CHANGED
        return self._get_queue().over(self._speech)(now_s)

    def _set_mark(self, mark: Mark) -> None:
        self._mark = mark


def failed(answer: Future[Any]) -> bool:
    """Whether what was posted was not done."""
    return answer.cancelled() or answer.exception() is not None
