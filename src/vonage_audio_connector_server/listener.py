"""What a program gets out of a call: the part of a `Client` that listens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from .call.handlers import Handlers, check_handler
from .core.events import Event
from .errors import AudioConnectorConfigError
from .messages import Message, Messages, events
from .playback import check_resampling
from .signatures import takes
from .speaker import Speaker
from .steps import Handler

if TYPE_CHECKING:
    from .call_recording import CallRecording
    from .speech import VoiceActivity, VoiceActivityName
    from .turns import EndOfTurn, SpeechInterruption, Turns


class _HandlerAttribute:
    """A handler that is read and set as an attribute of the client, as in the reference SDK."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, client: Listener | None, owner: type) -> Any:
        if client is None:  # on the class
            return self
        handler: Handler | None = getattr(client._call.dispatcher.handlers, self._name)
        return handler

    def __set__(self, client: Listener, handler: Handler | None) -> None:
        client._check_handler(self._name, handler)
        dispatcher = client._call.dispatcher
        client._do(lambda: dispatcher.set_handlers(replace(dispatcher.handlers, **{self._name: handler})))


class Listener(Speaker):
    """Listens to one call; see `Client`."""

    on_message = _HandlerAttribute()
    on_disconnect = _HandlerAttribute()
    on_error = _HandlerAttribute()

    def set_handler(
        self,
        on_message: Handler | None = None,
        on_disconnect: Handler | None = None,
        on_error: Handler | None = None,
        on_audio: Handler | None = None,
        on_event: Handler | None = None,
    ) -> None:
        """Set the handlers: plain functions or coroutine functions. A handler that is left out is removed.

        Messages that came before are handed over first. They are handed over one at a time and in order, whatever the
        handlers do; what comes while one of them waits is kept, up to 1 MiB, then the oldest is dropped. One that is
        more than a second behind real time is named in the log.

        Args:
            on_message: called with each message: `bytes`, one frame of PCM, or `str`, a JSON text.
            on_disconnect: called once, last, whoever closed and however.
            on_error: called with an exception that another handler or `on_connect` raised; the call goes on. Without
                it the exception is logged and the connection closes with 1011.
            on_audio: called with each frame of PCM, after `on_message` if there is one.
            on_event: called with each text message as a typed event, after `on_message` if there is one.

        Raises:
            AudioConnectorConfigError: a handler can't be called with what it gets, or an `async for` waits for a
                message.
        """
        chosen = {"on_message": on_message, "on_disconnect": on_disconnect, "on_error": on_error}
        chosen |= {"on_audio": on_audio, "on_event": on_event}
        for name, handler in chosen.items():
            self._check_handler(name, handler)
        handlers = Handlers(**chosen)
        self._do(lambda: self._call.dispatcher.set_handlers(handlers))

    def __aiter__(self) -> AsyncIterator[Message]:
        """Take the messages with `async for`, instead of a handler; it ends when the connection does.

        A message is `bytes`, one frame of PCM, or `str`, a JSON text. Cancelling the wait for it loses none.

        Raises:
            AudioConnectorConfigError: a handler takes messages.
        """
        return Messages(self._call, None)

    def events(self) -> AsyncIterator[Event]:
        """Take the messages as typed events with `async for`, instead of a handler; it ends when the connection does.

        Cancelling the wait for an event loses none.

        Raises:
            AudioConnectorConfigError: a handler takes messages.
        """
        return events(self._call)

    def turns(
        self,
        detector: VoiceActivityName | VoiceActivity = "webrtc",
        *,
        min_speech_s: float = 0.1,
        min_level_dbfs: float = -45.0,
        pre_roll_s: float = 0.3,
        hang_over_s: float = 0.6,
        post_roll_s: float = 0.2,
        max_turn_s: float = 60.0,
        end_of_turn: EndOfTurn | None = None,
        patience_s: float = 3.0,
        progress_s: float | None = None,
        sample_rate_hz: int | None = None,
    ) -> Turns:
        """Take who speaks when with `async for`: a `SpeechStarted`, and a `SpeechEnded` with the audio, for each turn.

            async for turn in client.turns():
                if isinstance(turn, SpeechEnded):
                    text = await recognise(turn.pcm)

        It listens from the call of it on, beside handlers and `async for message in client`. A turn ends by frames
        without voice, by the clock where none come, by a mute, and by the end of the call.

        Args:
            detector: `webrtc`, `silero`, `energy`, or an object with the method of `VoiceActivity`: one for each call.
            min_speech_s: so much voice begins a turn; less is a click, a cough.
            min_level_dbfs: what is softer is no voice, whatever the detector says.
            pre_roll_s: so much of what was before belongs to the audio: speech begins softer than a detector hears.
            hang_over_s: so long without voice ends a turn.
            post_roll_s: so much of that belongs to the audio.
            max_turn_s: a longer turn is cut.
            end_of_turn: a model that tells whether a pause is the end: called with what was said until then, as a
                `SpeechEnded`, it returns true or false; plain or coroutine function. With it `hang_over_s` may be
                short.
            patience_s: whatever the model says, so long without voice ends a turn.
            progress_s: a `SpeechProgress` with what was said until then, after each so much more of a turn: for
                captions that grow. None: none.
            sample_rate_hz: of the audio; None: `AudioConnector(sample_rate_hz=…)` or, where that is not set, the
                connection's.

        Raises:
            AudioConnectorConfigError: a value is wrong; the message names it.
            MissingExtraError: `webrtc` and `silero` need the extra `speech`.
            AudioConnectorClosedError: the connection has ended.
        """
        from .speech import TurnRules, make_detector
        from .turns import Turns

        rules = TurnRules(
            min_speech_s=min_speech_s,
            min_level_dbfs=min_level_dbfs,
            pre_roll_s=pre_roll_s,
            hang_over_s=hang_over_s,
            post_roll_s=post_roll_s,
            max_turn_s=max_turn_s,
            patience_s=patience_s,
            progress_s=progress_s,
        )
        if sample_rate_hz is not None:
            check_resampling(sample_rate_hz)
        return Turns(self._call, make_detector(detector), rules, end_of_turn, sample_rate_hz or self._rate_hz)

    def interrupt_on_speech(
        self,
        detector: VoiceActivityName | VoiceActivity = "webrtc",
        *,
        min_speech_s: float = 0.2,
        min_level_dbfs: float = -40.0,
        on_interrupt: Callable[[], object] | None = None,
    ) -> SpeechInterruption:
        """Fall silent as soon as the caller speaks, from now on: `flush_buffer`, which ends all utterances.

        While nothing is being said it does nothing.

        Args:
            detector: as in `turns`; it needs one of its own.
            min_speech_s: so much voice interrupts; less is a cough. So long the program speaks on.
            min_level_dbfs: what is softer does not interrupt: what comes back of the program's own voice.
            on_interrupt: called after it; plain or coroutine function.

        Raises:
            AudioConnectorConfigError: a value is wrong; the message names it.
            MissingExtraError: `webrtc` and `silero` need the extra `speech`.
            AudioConnectorClosedError: the connection has ended.
        """
        from .speech import TurnRules, make_detector
        from .turns import SpeechInterruption

        if on_interrupt is not None and not takes(on_interrupt):
            raise AudioConnectorConfigError(f"on_interrupt must be a function without arguments, not {on_interrupt!r}")
        rules = TurnRules(min_speech_s=min_speech_s, min_level_dbfs=min_level_dbfs)
        return SpeechInterruption(self, self._call, make_detector(detector), rules, on_interrupt)

    def record(self, path: str | PathLike[str]) -> CallRecording:
        """Record the call from now on into a stereo file, WAV or FLAC: left the caller, right the program, as heard.

        Both stand on one time line, on which a muted caller is silent, and what was interrupted is not heard. The file
        is written as the call goes on: after a crash all but the last 0.2 s can be read. It ends with the call, or with
        `stop()`. See to it that those who speak know.

        Args:
            path: the file; what is there is replaced.

        Raises:
            AudioConnectorAudioError: the path ends neither in `.wav` nor in `.flac`.
            MissingExtraError: FLAC needs the extra `audio`.
            OSError: the file can't be written.
            AudioConnectorClosedError: the connection has ended.
        """
        from .call_recording import CallRecording

        return CallRecording(self._call, path)

    # Inside

    def _check_handler(self, name: str, handler: object) -> None:
        check_handler(name, handler)
        takes_messages = handler is not None and name not in ("on_disconnect", "on_error")
        if takes_messages and self._call.dispatcher.is_awaited:
            raise AudioConnectorConfigError(
                f"messages are taken by 'async for' already: set only on_disconnect and on_error, not {name}"
            )
