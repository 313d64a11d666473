"""The audio of sessions that nobody's block holds: it goes on until its socket closes, or all of it is ended."""

from __future__ import annotations

import anyio

from ..runtime import in_background
from .session_audio import SessionAudio


class Running:
    """What requests have started: it goes on without them, and ends with its socket or with the connector."""

    def __init__(self) -> None:
        self._all: set[SessionAudio] = set()

    def __len__(self) -> int:
        return len(self._all)

    async def start(self, audio: SessionAudio) -> None:
        """Start it and wait for its socket; cancelled, it is ended."""
        self._all.add(audio)
        in_background(lambda: self._run(audio))
        try:
            await audio._wait_started()
        except BaseException:
            audio._end_soon()
            raise

    async def _run(self, audio: SessionAudio) -> None:
        try:
            await audio._run()
        finally:
            self._all.discard(audio)

    async def stop(self) -> None:
        """End all of it. Cancelling it doesn't stop the stopping."""
        async with anyio.create_task_group() as tasks:
            for audio in self._all:
                tasks.start_soon(audio.stop)
