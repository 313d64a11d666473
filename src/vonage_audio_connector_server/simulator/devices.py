"""The microphone and the loudspeaker of this machine, in frames of 20 ms. They need the extra `mic`.

PortAudio calls from a thread of its own, for each frame; what comes and goes waits in two short buffers. Neither method
of `Devices` ever waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.to_thread

from ..errors import AudioConnectorConfigError, MissingExtraError
from ..formats import SAMPLE_BYTES, AudioFormat

_MICROPHONE_FRAMES = 10  # 200 ms: what is older is dropped, when its clock runs faster than ours, or we are late
_LOUDSPEAKER_FRAMES = 25  # 500 ms
_CUSHION_FRAMES = 3  # that wait before the first one is played: our frames come less evenly than it plays them


class Devices:
    """A microphone and a loudspeaker that are open; `open_devices` makes one.

    Attributes:
        microphone_dropouts: how often something of the microphone was lost: nobody read it in time, or PortAudio says.
        loudspeaker_dropouts: how often the loudspeaker had nothing to play in the middle of it, or too much.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.microphone_dropouts = 0
        self.loudspeaker_dropouts = 0
        self._silence = bytes(audio_format.frame_bytes)
        # Appended to on one side and popped from on the other, each of which is one step, whatever thread does it.
        self._recorded: deque[bytes] = deque()
        self._to_play: deque[bytes] = deque()
        self._is_read = False
        self._has_begun = False  # to play

    def read_frame(self) -> bytes | None:
        """The next 20 ms of the microphone, 16-bit mono PCM; None: there are none yet."""
        if not self._is_read:
            self._is_read = True
            while len(self._recorded) > 1:  # what was said before the call would delay all that follows
                self._recorded.popleft()
        return self._recorded.popleft() if self._recorded else None

    def play(self, frame: bytes) -> None:
        """Play a frame of the call. Silence is to be played as well: where no frame comes, there is a dropout."""
        if len(self._to_play) >= _LOUDSPEAKER_FRAMES:
            self.loudspeaker_dropouts += 1
            return
        self._to_play.append(frame)

    # In PortAudio's threads

    def record(self, data: Any, frames: int, time: object, status: Any) -> None:
        """Called with each block of the microphone."""
        self.microphone_dropouts += bool(status) and self._is_read
        self._recorded.append(bytes(data))
        if len(self._recorded) > _MICROPHONE_FRAMES:
            self.microphone_dropouts += self._is_read
            with suppress(IndexError):  # somebody has just read it
                self._recorded.popleft()

    def fill(self, data: Any, frames: int, time: object, status: Any) -> None:
        """Called for each block of the loudspeaker."""
        to_play = self._to_play
        if not self._has_begun:
            self._has_begun = len(to_play) >= _CUSHION_FRAMES
        elif status or not to_play:
            self.loudspeaker_dropouts += 1
            self._has_begun = bool(to_play)  # wait for a new cushion
        frame = to_play.popleft() if self._has_begun else self._silence
        size_bytes = frames * SAMPLE_BYTES
        data[:] = frame[:size_bytes].ljust(size_bytes, b"\0")


@asynccontextmanager
async def open_devices(rate_hz: int) -> AsyncIterator[Devices]:
    """Open the default microphone and loudspeaker of this machine, until the block is left.

    PortAudio changes the sample rate where they have another one, as far as the system lets it.

    Args:
        rate_hz: the sample rate of the call.

    Raises:
        AudioConnectorConfigError: there is none, or it can't be opened at this rate.
        MissingExtraError: sounddevice is not installed.
    """
    # Opening and closing takes a fraction of a second, in which everything else would stand still.
    devices, streams = await anyio.to_thread.run_sync(_open, AudioFormat(rate_hz))
    try:
        yield devices
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(streams.close)


def _open(audio_format: AudioFormat) -> tuple[Devices, ExitStack]:
    try:
        import sounddevice
    except ImportError as exc:
        raise MissingExtraError("the microphone", "mic") from exc
    except OSError as exc:  # sounddevice is there, but no PortAudio
        raise AudioConnectorConfigError(
            f"the microphone needs PortAudio, which this machine lacks: {exc} (on Debian: apt install libportaudio2)"
        ) from exc
    devices = Devices(audio_format)
    with ExitStack() as streams:
        for name, kind, callback in (
            ("microphone", sounddevice.RawInputStream, devices.record),
            ("loudspeaker", sounddevice.RawOutputStream, devices.fill),
        ):
            try:
                stream = kind(
                    samplerate=audio_format.rate_hz,
                    blocksize=audio_format.frame_samples,
                    channels=1,
                    dtype="int16",
                    callback=callback,
                )
                streams.callback(stream.close)
                stream.start()
            except (sounddevice.PortAudioError, ValueError) as exc:  # a ValueError where there is no default device
                raise AudioConnectorConfigError(
                    f"the {name} can't be opened at {audio_format.rate_hz} Hz: {exc} "
                    "(python -m sounddevice lists the devices)"
                ) from exc
        return devices, streams.pop_all()
