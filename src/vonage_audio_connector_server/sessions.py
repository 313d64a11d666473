"""The hub: the connections of one Vonage Video session, found together, with who speaks when on one time line."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from .client import Client
from .config import AudioConnectorConfig
from .participants import Participant
from .runtime import call_clock, in_background
from .steps import call

if TYPE_CHECKING:
    from .session_speech import SessionSpeech
    from .speech import VoiceActivityName

logger = logging.getLogger("vonage_audio_connector_server")

GRACE_S = 5.0
"""How long `on_session_start` may go on after the session has ended, before it is cancelled: as a call's code may."""


@dataclass(eq=False)
class VideoSession:
    """The connections of one Vonage Video session; see `AudioConnector.sessions`. To be used in their event loop.

    It begins with the first connection and ends with the last. Connections without a session id are sessions of their
    own.

    Attributes:
        id: `x-opentok-ws-sessionid` of its connections.
        participants: all that were there, in the order in which they came.
    """

    id: str
    participants: list[Participant] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clock = call_clock()
        self._began_s = self._clock()  # until the first one joins
        self._is_over = False
        self._over: anyio.Event | None = None  # of who waits for the end
        self._listeners: list[SessionSpeech] = []

    def __repr__(self) -> str:
        return f"<VideoSession {self.id}: {len(self.present)} participants>"

    @property
    def present(self) -> list[Participant]:
        """Those that are there now."""
        return [participant for participant in self.participants if participant.left_s is None]

    @property
    def now_s(self) -> float:
        """Seconds since the session began."""
        return self._clock() - self._began_s

    @property
    def is_over(self) -> bool:
        """Whether the last connection has ended."""
        return self._is_over

    async def wait_ended(self) -> None:
        """Wait until the last connection has ended. Cancelling it changes nothing."""
        if not self._is_over:
            self._over = self._over or anyio.Event()
            await self._over.wait()

    def speech(self, detector: VoiceActivityName = "webrtc", **rules: Any) -> SessionSpeech:
        """Take who says what with `async for`: a `SpeechSegment` for each turn of each participant, as it ends.

            async for segment in session.speech():
                print(segment.participant.name, segment.start_s, await recognise(segment.pcm))

        It listens from the call of it on, to all who are there and all who come; it ends with the session, behind the
        last segment.

        Args:
            detector: the name of one: each stream gets its own.
            **rules: as in `Client.turns`: `hang_over_s`, `min_speech_s`, `sample_rate_hz` and so on, but `end_of_turn`.

        Raises:
            AudioConnectorConfigError: a value is wrong; the message names it.
            MissingExtraError: `webrtc` and `silero` need the extra `speech`.
        """
        from .session_speech import SessionSpeech

        listener = SessionSpeech(self.id, self.present, detector, rules)
        if self._is_over:
            listener.end()
        self._listeners.append(listener)
        return listener

    def send_audio_buffer(self, audio_data: Any, **options: Any) -> list[Any]:
        """Say something to all who are there: `Client.send_audio_buffer` of each. To say it to one, use its client.

        Each acts when this is called. Who has just left is left out.

        Returns:
            A `Playback` for each.

        Raises:
            AudioConnectorAudioError: as there; nobody hears it.
            AudioConnectorFullError: as there; those before have got it.
        """
        return [one.client.send_audio_buffer(audio_data, **options) for one in self._open()]

    def play(self, path: Any, **options: Any) -> list[Any]:
        """Play a file, by its path, to all who are there: `Client.play` of each; see `send_audio_buffer`."""
        return [one.client.play(path, **options) for one in self._open()]

    def send_json_packet(self, data: Any) -> list[Any]:
        """Send a text to all who are there: `Client.send_json_packet` of each; see `send_audio_buffer`."""
        return [one.client.send_json_packet(data) for one in self._open()]

    def flush_buffer(self) -> list[Any]:
        """Fall silent for all who are there: `Client.flush_buffer` of each."""
        return [one.client.flush_buffer() for one in self._open()]

    # For the registry

    def _join(self, client: Client) -> Participant:
        if not self.participants:
            self._began_s = client._call.started_s
        participant = Participant(client, client._call.started_s - self._began_s)
        self.participants.append(participant)
        for listener in self._listeners:
            listener.join(participant)
        return participant

    def _leave(self, participant: Participant) -> None:
        ended_s = participant.client._call.ended_s
        participant.left_s = self.now_s if ended_s is None else ended_s - self._began_s
        if not self.present:
            self._is_over = True
            if self._over is not None:
                self._over.set()
            for listener in self._listeners:
                listener.end()

    def _open(self) -> list[Participant]:
        return [one for one in self.present if one.client._call.is_open]


class Sessions(Mapping[str, VideoSession]):
    """The sessions that are there now, by their ids.

    Args:
        config: has the hooks.
    """

    def __init__(self, config: AudioConnectorConfig) -> None:
        self._config = config
        self._live: dict[str, VideoSession] = {}

    def __getitem__(self, session_id: str) -> VideoSession:
        return self._live[session_id]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._live))

    def __len__(self) -> int:
        return len(self._live)

    def of(self, client: Client) -> VideoSession | None:
        """The session of a connection; None where that has ended."""
        session = self._live.get(session_id_of(client))
        return None if session is None or all(one.client is not client for one in session.present) else session

    # For the connector

    def join(self, client: Client) -> Participant:
        """A connection was accepted."""
        session_id = session_id_of(client)
        session = self._live.get(session_id)
        if session is None:
            session = self._live[session_id] = VideoSession(session_id)
            participant = session._join(client)
            if self._config.on_session_start is not None or self._config.on_session_end is not None:
                in_background(_Hooks(self._config, session).run)
            return participant
        return session._join(client)

    def leave(self, participant: Participant) -> None:
        """It has ended."""
        session = self._live[session_id_of(participant.client)]
        session._leave(participant)
        if session.is_over:
            del self._live[session.id]


class _Hooks:
    """Runs what a program does for one session, in a task of its own: a session lasts longer than each of its calls."""

    def __init__(self, config: AudioConnectorConfig, session: VideoSession) -> None:
        self._config, self._session = config, session

    async def run(self) -> None:
        session, config = self._session, self._config
        async with anyio.create_task_group() as tasks:
            if config.on_session_start is not None:
                tasks.start_soon(self._call, config.on_session_start)
            await session.wait_ended()
            tasks.cancel_scope.deadline = anyio.current_time() + GRACE_S
        if config.on_session_end is not None:
            await self._call(config.on_session_end)

    async def _call(self, hook: Any) -> None:
        try:
            await call(hook, self._session)
        except Exception:
            logger.exception("session %s: %s failed", self._session.id, getattr(hook, "__qualname__", hook))


def session_id_of(client: Client) -> str:
    """Under which a connection is found."""
    info = client._info
    return info.session_id or info.id
