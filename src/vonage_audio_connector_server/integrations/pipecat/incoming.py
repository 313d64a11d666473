"""What a pipeline hears out of a call: pipecat's input transport on a `Client`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    StartFrame,
    StopFrame,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
)
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_transport import BaseTransport, TransportParams

from ...audio.resampler import Resampler
from ...client import Client
from ...core.events import DTMF, Event, MediaUpdate
from ...formats import SAMPLE_BYTES
from .shared_call import SharedCall

FRAME_S = 0.04
"""So much audio is one frame, by default: each costs as much in every processor, however long it is."""

NEARLY_BYTES = 32 * SAMPLE_BYTES
"""A resampler brings some samples less or more: for those nobody waits."""

LEFT_S = 0.06
"""So long audio that is no whole frame waits for more: a stream may end anywhere."""

Tell = Callable[[str, Client], Awaitable[None]]
"""Calls the handlers of one of the transport's events."""


class VonageAudioConnectorInputTransport(BaseInputTransport):
    """The input of a `VonageAudioConnectorTransport`.

    Args:
        transport: of which it is a half.
        call: what it shares with the output.
        params: as given to the transport.
        tell: calls the handlers of the transport's events.
        frame_s: so much audio of the call is one frame.
        session_timeout_s: so long after the beginning `on_session_timeout` is called; None: never.
        kwargs: those of a `FrameProcessor`.
    """

    def __init__(
        self,
        transport: BaseTransport,
        call: SharedCall,
        params: TransportParams,
        tell: Tell,
        *,
        frame_s: float = FRAME_S,
        session_timeout_s: float | None = None,
        **kwargs: Any,
    ) -> None:
        # Nothing here waits, so no queue is needed before it.
        super().__init__(params, enable_direct_mode=True, **kwargs)
        self._transport = transport
        self._call = call
        self._client = call.client
        self._tell = tell
        self._session_timeout_s = session_timeout_s
        self._frame_s = frame_s
        self._frame_bytes = 0
        self._pcm = b""  # that is no whole frame yet
        self._came_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._resampler: Resampler | None = None
        self._is_listening = False

    # Its life

    async def start(self, frame: StartFrame) -> None:
        """See `BaseInputTransport`; again, behind a `StopFrame`, it goes on."""
        await super().start(frame)
        self._is_listening = True
        self._frame_bytes = round(self._frame_s * self.sample_rate) * SAMPLE_BYTES
        if self._tasks:
            return
        self._call.join(self)
        self._tasks.append(self.create_task(self._listen()))
        if self._session_timeout_s:
            self._tasks.append(self.create_task(self._time_out(self._session_timeout_s)))

    async def stop(self, frame: EndFrame) -> None:
        """Hear nothing any more; the output closes when what is said by then was heard."""
        await super().stop(frame)
        await self._end()
        self._call.leave(self)

    async def pause(self, frame: StopFrame) -> None:
        """Hear nothing until the next `StartFrame`."""
        self._paused = True

    async def cancel(self, frame: CancelFrame) -> None:
        """Close at once."""
        self._call.close()
        await super().cancel(frame)
        await self._end()

    async def cleanup(self) -> None:
        """See `FrameProcessor`."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._end()
        self._call.leave(self)
        await self._transport.cleanup()  # type: ignore[no-untyped-call]

    async def _end(self) -> None:
        self._is_listening = False
        if self._timer is not None:
            self._timer.cancel()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            await self.cancel_task(task)

    # What comes

    async def push_audio_frame(self, frame: InputAudioRawFrame) -> None:
        """Pass audio on, through the filter if there is one; a queue and a task for it are not needed."""
        if not self._params.audio_in_enabled or self._paused:
            return
        if self._params.audio_in_filter:
            frame.audio = await self._params.audio_in_filter.filter(frame.audio)
        if frame.audio and self._params.audio_in_passthrough:
            await self.push_frame(frame)

    async def _listen(self) -> None:
        """As long as the call lasts: what comes is handed over by the client's own task."""
        client = self._client
        await client.wait_format()
        rate_hz = client.sample_rate_hz
        if rate_hz is not None and rate_hz != self.sample_rate:
            self._resampler = Resampler(rate_hz, self.sample_rate)
        await self._tell("on_client_connected", client)
        await self.push_frame(ClientConnectedFrame())
        # What is the program's stays the program's.
        client.set_handler(
            on_message=client.on_message,
            on_disconnect=client.on_disconnect,
            on_error=client.on_error,
            on_audio=self._heard,
            on_event=self._event,
        )
        await client.wait_closed()
        if not self._call.is_closing:
            await self._tell("on_client_disconnected", client)

    async def _time_out(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._tell("on_session_timeout", self._client)

    async def _heard(self, pcm: bytes) -> None:
        if not self._is_listening:
            return
        if self._resampler is not None:
            pcm = self._resampler.process(pcm)
        self._pcm += pcm
        if len(self._pcm) > self._frame_bytes - NEARLY_BYTES:
            await self._pass_on()
        elif self._pcm:
            loop = self.get_event_loop()
            self._came_s = loop.time()
            if self._timer is None:
                self._timer = loop.call_at(self._came_s + LEFT_S, self._pass_on_rest)

    def _pass_on_rest(self) -> None:
        """Nothing has come since, or else there is time."""
        self._timer = None
        if self._pcm and self._is_listening:
            loop = self.get_event_loop()
            if loop.time() < self._came_s + LEFT_S / 2:
                self._timer = loop.call_at(self._came_s + LEFT_S, self._pass_on_rest)
            else:
                self.create_task(self._pass_on())

    async def _pass_on(self) -> None:
        pcm, self._pcm = self._pcm, b""
        if pcm:
            await self.push_audio_frame(InputAudioRawFrame(audio=pcm, sample_rate=self.sample_rate, num_channels=1))

    async def _event(self, event: Event) -> None:
        if not self._is_listening:
            return
        match event:
            case DTMF():
                try:
                    key = KeypadEntry(event.digit)
                except ValueError:  # pipecat knows no A to D
                    return
                await self.push_frame(InputDTMFFrame(button=key))
            case MediaUpdate(active=True):
                await self.push_frame(UserMuteStoppedFrame())
                await self._tell("on_client_unmuted", self._client)
            case MediaUpdate():
                await self._pass_on()
                await self.push_frame(UserMuteStartedFrame())
                await self._tell("on_client_muted", self._client)
