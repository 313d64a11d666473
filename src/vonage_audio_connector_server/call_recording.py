"""Recording a call as it is heard: `client.record()`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from .audio.recorder import Recorder, check_ending
from .call.actions import Action, act, do, nothing
from .call.call import Call
from .call.inbox import Item
from .call.questions import format_known
from .call.taps import add_tap
from .link.recorded import recording_sink
from .recording.recording import Kind
from .runtime import in_thread
from .waits import CHANGED, Question

if TYPE_CHECKING:
    from .recording.recording import Message

logger = logging.getLogger("vonage_audio_connector_server")

EVERY_S = 0.04
"""How often a file is written. With the time that a frame may be late a crash costs 0.1 s of it, of FLAC a block of
1,152 samples more."""


class CallRecording:
    """Records one call from now on; see `Client.record`.

    Args:
        call: which one.
        path: the file.

    Attributes:
        path: of the file.
    """

    def __init__(self, call: Call, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._call = call
        self._tape = _Tape()
        self._recorder: Recorder | None = None
        self._began_s = self._end_s = 0.0
        self._is_stopped = self._is_closed = False
        self._error: OSError | None = None
        check_ending(path)
        self.path.touch()  # an error is told now

        def start() -> None:
            call.check_open()
            self._began_s = began_s = call.clock()
            tape = self._tape
            tape.remove = add_tap(call, lambda item, now_s: tape.came(item, now_s - began_s))
            call.output.wrap_sink(lambda sink: recording_sink(sink, tape, call.clock, began_s))
            call.start_soon(self._write_on, ())

        do(call, start)

    def __repr__(self) -> str:
        return f"<CallRecording {self.path} {self.duration_s:.1f} s>"

    @property
    def duration_s(self) -> float:
        """How much of it is in the file by now, in seconds."""
        return 0.0 if self._recorder is None else self._recorder.duration_s

    def stop(self) -> Action[CallRecording]:
        """Record no more. It acts when it is called; awaited, it waits until the file is complete.

        The end of the call does it, too, and `on_disconnect` runs when the file is complete.

        Raises:
            OSError: awaited: the file could not be written to its end.
        """

        def start() -> tuple[Question, Callable[[], CallRecording]]:
            if not self._is_stopped:
                self._is_stopped, self._end_s = True, self._call.clock()
                self._call.output.changed()
            return lambda now_s: None if self._is_closed else CHANGED, self._result

        return act(self._call, start, ends_well=True)

    # Inside

    async def _write_on(self) -> None:
        """Write what came, as it comes; a task of the call."""
        call, tape = self._call, self._tape
        clears = call.session.clear_commands
        try:
            await call.waits.wait(format_known(call))
            rate_hz = call.assume_format().rate_hz
            self._recorder = await in_thread(lambda: Recorder(self.path, rate_hz))
            while not self._is_stopped and not call.is_over:
                await self._wait(call.clock() + EVERY_S)
                messages, now_s = tape.take(), call.clock() - self._began_s
                await in_thread(lambda: self._write(messages, now_s, clears))  # noqa: B023 (awaited at once)
        except OSError as exc:
            self._fail(exc)
        finally:
            tape.stop()
            if not self._is_stopped:
                self._end_s = call.clock() if call.ended_s is None else call.ended_s
            with anyio.CancelScope(shield=True):
                try:
                    await in_thread(self._close)
                except OSError as exc:
                    self._fail(exc)
            self._is_closed = True
            call.output.changed()

    async def _wait(self, until_s: float) -> None:
        call = self._call
        await call.waits.wait(lambda now_s: None if now_s >= until_s or self._is_stopped or call.is_over else until_s)

    def _write(self, messages: Sequence[Message], now_s: float, clears: Sequence[str]) -> None:
        """In a thread: put messages onto the time line, and write what is over."""
        recorder, audio_format = self._recorder, self._call.session.audio_format
        assert recorder is not None
        assert audio_format is not None
        for at_s, kind, data in messages:
            if kind is Kind.AUDIO_TO_SERVER:
                recorder.caller(data, at_s, audio_format.rate_hz)
            elif kind is Kind.AUDIO_FROM_SERVER:
                recorder.program(data, at_s, audio_format.rate_hz)
            elif data.decode() in clears:
                recorder.cut(at_s)
        recorder.write(now_s)

    def _close(self) -> None:
        if self._recorder is not None:
            end_s = self._end_s - self._began_s
            try:
                self._write(self._tape.take(), 0.0, self._call.session.clear_commands)
            finally:
                self._recorder.close(end_s)

    def _fail(self, error: OSError) -> None:
        if self._error is None:
            self._error = error
            logger.error("connection %s: its recording ends, because it can't be written: %s", self._call.id, error)

    def _result(self) -> CallRecording:
        if self._error is not None:
            raise self._error
        return self


class _Tape:
    """What came and went since the file was last written; see `recording.Tape`."""

    def __init__(self) -> None:
        self.remove: Callable[[], None] = nothing  # from what listens to the call
        self._is_stopped = False
        self._messages: list[Message] = []

    def stop(self) -> None:
        """Take no more."""
        self._is_stopped = True
        self.remove()

    def came(self, item: Item, at_s: float) -> None:
        """A message came."""
        if isinstance(item, bytes) and not self._is_stopped:
            self._messages.append((at_s, Kind.AUDIO_TO_SERVER, item))

    def add(self, at_s: float, kind: Kind, payload: bytes, /) -> None:
        """See `Tape`."""
        if not self._is_stopped:
            self._messages.append((at_s, kind, payload))

    def note(self, at_s: float, name: str, /, **values: object) -> None:
        """See `Tape`."""

    def end(self, is_bad: bool) -> None:
        """See `Tape`."""

    def take(self) -> list[Message]:
        """All messages since the last time."""
        messages, self._messages = self._messages, []
        return messages
