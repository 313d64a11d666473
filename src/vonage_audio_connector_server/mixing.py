"""A sound bed in one call: read in a thread, begun, and ended; see `Client.mix`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from .audio.mixer import Mixer, SoundBed
from .call.actions import do
from .call.call import Call
from .call.questions import format_known
from .errors import AudioConnectorConfigError, AudioConnectorError
from .runtime import in_thread
from .waits import CHANGED, Question

if TYPE_CHECKING:
    from .core.ledger import Epoch

logger = logging.getLogger("vonage_audio_connector_server")


class Mixing:
    """A bed in one call.

    Args:
        call: in which.
        mixer: what is heard.

    Raises:
        AudioConnectorConfigError: it is none.
        AudioConnectorError: what `Mixer.check` raises.
        OSError: its file can't be opened.
    """

    def __init__(self, call: Call, mixer: Mixer) -> None:
        if not isinstance(mixer, Mixer):
            raise AudioConnectorConfigError(f"mix takes a Mixer or None, not {mixer!r}")
        self._call, self._mixer = call, mixer
        self._epoch: Epoch | None = None  # in which it began: a flush ends it
        self._bed: SoundBed | None = None
        self._is_stopped = self._is_read = False
        self._error: Exception | None = None
        mixer.check()

    # In the call's thread

    def begin(self) -> tuple[Question, Callable[[], None]]:
        """Begin as soon as it has been read, instead of what plays then."""
        self._epoch = self._call.out.ledger.epoch
        self._call.start_soon(self._play, ())
        self._mixer.stops.append(self._stop_soon)
        return lambda now_s: None if self._is_read or not self._is_wanted else CHANGED, self._result

    def end(self, *, fades: bool) -> None:
        """It is not wanted any more. `fades`: it ends now, else when another one begins."""
        self._is_stopped = True
        bed = self._call.out.bed
        if fades and isinstance(bed, SoundBed):
            bed.stop()
        self._call.output.changed()

    # Inside

    @property
    def _is_wanted(self) -> bool:
        return self._call.is_open and not self._is_stopped and self._call.out.ledger.epoch is self._epoch

    def _stop_soon(self) -> None:
        """The mixer was stopped; in any thread."""

        def stop() -> None:
            if self._is_wanted:  # else another one may play by now
                self.end(fades=True)

        do(self._call, stop, ends_well=True)

    async def _play(self) -> None:
        """Read it, and begin; again at another rate. A task of the call."""
        call = self._call
        try:
            await call.waits.wait(format_known(call))
            while self._is_wanted:
                rate_hz = call.assume_format().rate_hz
                bed = await in_thread(lambda: self._mixer.bed(rate_hz))  # noqa: B023 (awaited at once)
                if self._is_wanted and rate_hz == call.out.pacer.rate_hz:
                    self._begin(bed)
                await call.waits.wait(lambda now_s: self._ask_over(bed, rate_hz))  # noqa: B023 (as above)
                if bed.is_over:
                    break
        except (AudioConnectorError, OSError) as exc:
            self._error = exc
            logger.warning("connection %s: a sound bed can't be played: %s", call.id, exc)
        finally:
            self._is_read = True
            self._mixer.stops.remove(self._stop_soon)
            call.output.changed()

    def _begin(self, bed: SoundBed) -> None:
        out = self._call.out
        if isinstance(out.bed, SoundBed):
            bed.follow(out.bed)
        out.bed, out.has_more = bed, True
        self._is_read = True
        self._call.output.changed()
        self._call.output.pump_soon()

    def _ask_over(self, bed: SoundBed, rate_hz: int) -> float | None:
        """Is there nothing left to do: it has ended, or has to be made at another rate?"""
        is_over = not self._is_wanted or bed.is_over or self._call.out.pacer.rate_hz != rate_hz
        return None if is_over else CHANGED

    def _result(self) -> None:
        if self._error is not None:
            raise self._error
