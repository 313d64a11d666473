"""What a pipeline says into a call: pipecat's output transport on a `Client`.

pipecat's own `MediaSender` cuts audio, queues it and sleeps as long as it lasts: then the bot is said to speak while
its audio is written. Here the client does that, so this sends audio as it comes, and passes frames on when what is
before them was heard: audio, the words of a speech, its end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pipecat.frames import frames as _frames
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
    OutputImageRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    OutputTransportReadyFrame,
    SpeechOutputAudioRawFrame,
    SpriteFrame,
    StartFrame,
    SystemFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

from ...audio.pcm import to_mono
from ...errors import AudioConnectorClosedError, AudioConnectorError
from .bot_speech import BotSpeech
from .playout import NEAR_S, Playout
from .shared_call import SharedCall
from .spoken_words import SpokenWords

SHORTEST_WAIT_S = 0.005
BEGIN_S = 0.01
"""How often it looks whether audio begins to be heard."""

RTVI_LABEL = "rtvi-ai"
"""Of messages for pipecat's own clients; seen in `RTVI.MESSAGE_LABEL`."""

# Those that not all versions have.
_UNINTERRUPTIBLE = getattr(_frames, "UninterruptibleFrame", ())
_ASSISTANT_IMAGE = getattr(_frames, "AssistantImageRawFrame", ())


class VonageAudioConnectorOutputTransport(BaseOutputTransport):
    """The output of a `VonageAudioConnectorTransport`.

    Args:
        call: what it shares with the input.
        params: as given to the transport.
        ignores_rtvi: messages for pipecat's own clients are not sent.
        kwargs: those of a `FrameProcessor`.
    """

    def __init__(self, call: SharedCall, params: TransportParams, *, ignores_rtvi: bool = True, **kwargs: Any) -> None:
        # Nothing here waits, so no queue is needed before it; and an interruption acts in the step in which it comes.
        super().__init__(params, enable_direct_mode=True, **kwargs)
        self._call = call
        self._client = call.client
        self._ignores_rtvi = ignores_rtvi
        self._chunk_s = max(params.audio_out_10ms_chunks, 4) * 0.01
        self._playout = Playout()
        self._words = SpokenWords()
        self._speech = BotSpeech(self)
        self._play_task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_before_s = -1.0
        self._is_passing = False
        self._is_told_of_end = False  # of the speech, by a `TTSStoppedFrame`

    # Its life

    async def start(self, frame: StartFrame) -> None:
        """See `BaseOutputTransport`."""
        await super().start(frame)
        if self._play_task is None:
            self._call.join(self)
            self._play_task = self.create_task(self._play())
        await self.push_frame(OutputTransportReadyFrame(), FrameDirection.UPSTREAM)

    async def stop(self, frame: EndFrame) -> None:
        """All was heard: close."""
        await super().stop(frame)
        self._call.leave(self)

    async def cancel(self, frame: CancelFrame) -> None:
        """Close at once."""
        self._call.close()
        await super().cancel(frame)
        await self._end_task()

    async def cleanup(self) -> None:
        """See `FrameProcessor`."""
        await self._end_task()
        self._call.leave(self)
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def _end_task(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        task, self._play_task = self._play_task, None
        if task is not None:
            await self.cancel_task(task)

    # What comes

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See `BaseOutputTransport`; what is there goes to a `MediaSender`, waits here in the playout."""
        await super(BaseOutputTransport, self).process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.push_frame(frame, direction)
            await self.start(frame)
        elif isinstance(frame, CancelFrame):
            await self.cancel(frame)
            await self.push_frame(frame, direction)
        elif isinstance(frame, InterruptionFrame):
            is_silent = await self._interrupt()
            await self.push_frame(frame, direction)
            if is_silent:
                await self._speech.stopped()
        elif isinstance(frame, OutputTransportMessageUrgentFrame):
            await self.send_message(frame)
        elif isinstance(frame, OutputDTMFUrgentFrame):
            await self.write_dtmf(frame)
        elif isinstance(frame, SystemFrame) or direction == FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
        elif frame.transport_destination is not None:
            await self.push_error(f"{self}: a call has one voice, and no destination {frame.transport_destination!r}")
        elif isinstance(frame, OutputAudioRawFrame):
            await self._send(frame)
        else:
            await self._take(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Send audio behind what was sent before; returns whether the call takes any."""
        return await self._send(frame)

    async def send_message(self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame) -> None:
        """Send a JSON message into the call; those for pipecat's own clients are none of its business."""
        message = frame.message
        if self._ignores_rtvi and isinstance(message, dict) and message.get("label") == RTVI_LABEL:
            return
        try:
            self._client.send_json_packet(message)
        except AudioConnectorClosedError:
            pass  # as audio, it goes nowhere
        except AudioConnectorError as exc:
            await self.push_error(f"{self}: the message was not sent: {exc}", exception=exc)

    async def _send(self, frame: OutputAudioRawFrame) -> bool:
        """Send audio; it waits only where much more is queued than can be said."""
        if not self._params.audio_out_enabled or not frame.audio:
            return False
        client, rate_hz, channels = self._client, frame.sample_rate, frame.num_channels
        pcm = frame.audio if channels == 1 else to_mono(frame.audio, channels)
        if self._call.is_over:
            return False
        try:
            playback = client.send_audio_buffer(
                pcm, sample_rate_hz=None if rate_hz == client.sample_rate_hz else rate_hz
            )
            piece = self._playout.add_audio(
                frame.audio, frame, 2 * channels * rate_hz, playback, is_kept=is_kept(frame)
            )
            if isinstance(frame, TTSAudioRawFrame):
                context_id = getattr(frame, "context_id", None)
                self._words.audio_came(context_id, piece.start_s, self.get_clock().get_time())
                self._is_told_of_end = False
            is_speech = isinstance(frame, (TTSAudioRawFrame, SpeechOutputAudioRawFrame))
            self._wake_within(BEGIN_S if is_speech and not self._speech.is_heard else self._chunk_s)
            await playback
        except AudioConnectorClosedError:
            return False
        except AudioConnectorError as exc:
            await self.push_error(f"{self}: audio was not sent: {exc}", exception=exc)
            return False
        return True

    async def _take(self, frame: Frame) -> None:
        """A frame that has its turn when what is before it was heard."""
        playout, words = self._playout, self._words
        at_s = playout.end_s
        if isinstance(frame, TTSTextFrame) and self._call.is_over:
            return  # nobody hears it
        if isinstance(frame, TTSTextFrame) and not frame.pts:
            self._speech.text_came()
            words.add_text(frame, at_s)
            self._wake_within(SHORTEST_WAIT_S)
            return
        if isinstance(frame, (OutputImageRawFrame, SpriteFrame)) and not isinstance(frame, _ASSISTANT_IMAGE):
            return  # a call has no picture
        if isinstance(frame, OutputDTMFFrame):
            await self.write_dtmf(frame)
            at_s = playout.end_s
        elif isinstance(frame, TTSStartedFrame):
            words.speech_began()
            self._is_told_of_end = False
        elif isinstance(frame, TTSStoppedFrame):
            words.speech_ended(at_s)
            playout.end_words()
            self._is_told_of_end = True
        elif frame.pts:
            self._speech.text_came()
            at_s = words.place_s(frame, at_s, self.get_clock().get_time())
            if self._is_told_of_end:  # by then its speech will have ended
                at_s = min(at_s, playout.end_s)
        is_next = playout.is_all_heard and not playout.waiting and not words.is_waiting and not self._is_passing
        if is_next and at_s <= playout.end_s + NEAR_S:
            await self._pass_on(frame)
            return
        playout.add_frame(frame, at_s, is_kept=is_kept(frame), is_word=bool(frame.pts))
        self._wake_within(SHORTEST_WAIT_S)

    async def _interrupt(self) -> bool:
        """Fall silent; returns whether nothing is left to be said."""
        client, playout = self._client, self._playout
        heard_s = playout.heard_s()
        self._words.drop(heard_s)
        self._is_told_of_end = False
        if playout.must_be_heard:
            playout.drop_frames()
            return False
        stats = client.stats()
        if client.close_report is None and (stats.queued_s or stats.ahead_s):
            client.flush_buffer()  # before anything waits: it is silent from here on
        kept = playout.drop()
        await self._pass_on_audio(playout.end_s, 0.0)
        for frame, pcm in kept:
            await self._send(_copy(frame, pcm))
        return not kept

    # What was heard

    async def _play(self) -> None:
        """Pass on what was heard, as long as the pipeline runs."""
        while True:
            self._wake.clear()
            wait_s = await self._pass_on_heard()
            if wait_s is not None:
                self._wake_within(wait_s)
            await self._wake.wait()

    def _wake_within(self, seconds: float) -> None:
        loop = self.get_event_loop()
        at_s = loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= at_s:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at_s, self._wake_now)

    def _wake_now(self) -> None:
        self._timer = None
        self._wake.set()

    async def _pass_on_heard(self) -> float | None:
        """Pass on all whose place was heard; returns when to look again, in seconds; None: when something comes."""
        playout, words = self._playout, self._words
        heard_s = playout.heard_s()
        if playout.is_cut_off:  # the program has flushed it itself, or the call has ended
            playout.drop()
            words.drop(heard_s)
            await self._pass_on_audio(heard_s, 0.0)
            await self._speech.stopped()
        self._is_passing = True
        try:
            while True:
                if playout.pieces and playout.pieces[0].start_s < heard_s - NEAR_S:
                    await self._speech.heard(playout.pieces[0])
                waiting = playout.next_frame(heard_s)
                until_s = heard_s if waiting is None else waiting.at_s
                for word in words.heard(until_s, playout.end_s):
                    await self.push_frame(word)
                await self._pass_on_audio(until_s, self._chunk_s if waiting is None or waiting.is_word else 0.0)
                if playout.next_frame(heard_s) is not waiting:  # an interruption came between
                    continue
                if waiting is None:
                    break
                playout.pop_frame()
                await self._pass_on(waiting.frame)
        finally:
            self._is_passing = False
        return await self._wait_s(heard_s)

    async def _wait_s(self, heard_s: float) -> float | None:
        playout, words = self._playout, self._words
        if playout.is_all_heard:
            if not (self._speech.is_heard or words.is_waiting or playout.waiting):
                return None
            left_s = self._speech.gives_up_in_s
            if left_s <= 0:
                words.speech_ended(playout.end_s)
                playout.end_words()
                await self._speech.stopped()
                return SHORTEST_WAIT_S if words.is_waiting or playout.waiting else None
            return left_s
        places_s = [heard_s + self._chunk_s]
        if playout.waiting:
            places_s.append(playout.waiting[0].at_s)
        if (word_s := words.next_s(playout.end_s)) is not None:
            places_s.append(word_s)
        wait_s = max(min(places_s) - heard_s, SHORTEST_WAIT_S)
        if heard_s == self._heard_before_s:  # it is paused, or has not begun
            wait_s = max(wait_s, 2 * BEGIN_S)
        self._heard_before_s = heard_s
        return wait_s

    async def _pass_on(self, frame: Frame) -> None:
        """It is the turn of a frame."""
        if isinstance(frame, EndFrame):
            await self._speech.stopped()
            await self.stop(frame)
        elif isinstance(frame, OutputTransportMessageFrame):
            await self.send_message(frame)
        elif isinstance(frame, TTSStoppedFrame):
            await self._speech.stopped()
        await self.push_frame(frame)

    async def _pass_on_audio(self, until_s: float, at_least_s: float) -> None:
        while (found := self._playout.pop_audio(until_s, at_least_s)) is not None:
            piece, pcm = found
            await self._speech.heard(piece, pcm)
            await self.push_frame(piece.frame if len(pcm) == len(piece.frame.audio) else _copy(piece.frame, pcm))


def is_kept(frame: Frame) -> bool:
    """Whether an interruption does not drop a frame."""
    return not getattr(frame, "interruptible", True) or isinstance(frame, _UNINTERRUPTIBLE)


def _copy(frame: OutputAudioRawFrame, pcm: bytes) -> OutputAudioRawFrame:
    """A frame of the same kind, with other audio."""
    made = type(frame)(audio=pcm, sample_rate=frame.sample_rate, num_channels=frame.num_channels)
    if is_kept(frame):
        made.interruptible = False
    return made
