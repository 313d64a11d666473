"""What an agent says, as the audio output of an agent session: LiveKit's segments, and what was *heard* of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress

from livekit import rtc
from livekit.agents.voice import io

from ...client import Client
from ...errors import AudioConnectorClosedError
from ...playback import check_resampling
from .own_loop import check_own_loop
from .segment import Segment
from .transcript import Transcript


class VonageAudioOutput(io.AudioOutput):
    """The agent's audio, for `session.output.audio`.

    It takes frames of any sample rate and any number of channels. `playback_started`, `playback_progressed` (LiveKit
    1.8) and `playback_finished` tell what the caller has heard by the playout clock, not what was sent. Each segment
    gets its `playback_finished` once, whatever becomes of it: with the call, all of them end.

    Args:
        client: the call.

    Raises:
        AudioConnectorConfigError: it is made outside of the call's own event loop, or on trio.
        MissingExtraError: the extra `audio` is not installed.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(label="Vonage Audio Connector", capabilities=io.AudioOutputCapabilities(pause=True))
        check_own_loop(client)
        check_resampling(client.sample_rate_hz or 16_000)
        self._client = client
        self._waits = client._call.waits
        self._open: Segment | None = None  # frames belong to it until the next flush
        self._segments: deque[Segment] = deque()  # that LiveKit doesn't know to be finished
        self._telling: asyncio.Task[None] | None = None
        self._transcript = Transcript()
        self._is_paused = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Say a frame behind those before. It waits while more than `max_queued_s` waits to be heard.

        Cancelling the wait takes nothing back. What comes after `clear_buffer` is dropped until the next `flush`.
        """
        await super().capture_frame(frame)
        if self._open is None:
            self._open = Segment(self._client, frame.sample_rate, self._transcript_of_audio())
            self._segments.append(self._open)
            if self._telling is None or self._telling.done():
                self._telling = asyncio.create_task(self._tell())
        await self._open.send(bytes(frame.data), frame.sample_rate, frame.num_channels)

    def flush(self) -> None:
        """The segment is complete: it is said to its end."""
        super().flush()
        segment, self._open = self._open, None
        if segment is not None:
            segment.end()

    def clear_buffer(self) -> None:
        """Fall silent at once, and forget what waits: all segments are finished, as interrupted."""
        for segment in reversed(self._segments):  # the one that is heard last, so that none takes its place
            segment.cut()
        if self._is_paused:  # an interruption ends the call's pause, but not LiveKit's
            self._set_paused()

    def pause(self) -> None:
        """Fall silent now; `resume` goes on with what was not heard."""
        super().pause()
        self._is_paused = True
        self._set_paused()

    def resume(self) -> None:
        """Go on where `pause` fell silent."""
        super().resume()
        self._is_paused = False
        self._set_paused()

    # For the text beside it

    def add_text(self, text: str) -> None:
        """A piece of the text of what is being said, or will be next."""
        if self._transcript.is_complete:
            self._transcript = Transcript()
        self._transcript.add(text)

    def end_text(self) -> None:
        """That text is complete."""
        self._transcript.is_complete = True

    # Inside

    def _transcript_of_audio(self) -> Transcript:
        """Text and audio come side by side, and either may be first: this is the one whose audio begins now."""
        if self._transcript.is_spoken:
            self._transcript = Transcript()
        self._transcript.is_spoken = True
        return self._transcript

    def _set_paused(self) -> None:
        with suppress(AudioConnectorClosedError):
            if self._is_paused:
                self._client.pause()
            else:
                self._client.resume()

    async def _tell(self) -> None:
        """Tell LiveKit what has become of the segments, one after the other."""
        while self._segments:
            segment = self._segments[0]
            await self._tell_runs(segment)
            self._segments.popleft()
            if self._transcript is segment.transcript:
                self._transcript = Transcript()
            self.on_playback_finished(
                playback_position=segment.heard_s,
                interrupted=segment.is_interrupted,
                synchronized_transcript=segment.heard_text if segment.transcript.text else None,
            )

    async def _tell_runs(self, segment: Segment) -> None:
        """Tell of each stretch that was heard without a break, until nothing more of it will be."""
        offset_s = 0.0
        while not segment.is_over:
            await self._waits.wait(segment.sounds_after(offset_s))
            heard_s = segment.heard_s
            if heard_s <= offset_s:
                continue
            if not offset_s:
                self.on_playback_started(created_at=(segment.cut_at or time.time()) - heard_s)
            await self._waits.wait(segment.falls_silent())
            heard_s, ended_at = segment.heard_s, segment.cut_at or time.time()
            if hasattr(io.AudioOutput, "on_playback_progressed"):  # since 1.8
                self.on_playback_progressed(
                    started_at=ended_at - (heard_s - offset_s), offset=offset_s, duration=heard_s - offset_s
                )
            offset_s = heard_s
