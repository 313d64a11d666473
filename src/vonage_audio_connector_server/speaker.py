"""What a program says into a call: the part of a `Client` that sends, interrupts, and waits until it was heard.

One rule for everything that acts: a method acts when it is called, in the order of the calls, from whatever thread, and
raises its errors there. Awaiting what it returns waits for the consequence.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from threading import get_ident
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from .call.actions import Action, act, nothing
from .call.questions import has_room, heard, written
from .config import check_lead_s, check_rewind_s
from .core.pacer import MAX_LEAD_S, MIN_LEAD_S
from .core.wire import encode_packet, notify_command
from .errors import AudioConnectorClosedError
from .playback import Playback, Player, check_resampling
from .results import FlushResult
from .utterance import Utterance
from .waits import Question

if TYPE_CHECKING:
    from .audio.mixer import Mixer
    from .mixing import Mixing

T = TypeVar("T")


class Speaker(Player):
    """Sends audio and texts into one call; see `Client`."""

    _utterances = 0
    _mixing: Mixing | None = None  # the sound bed that was begun last; only in the call's thread

    def send_json_packet(self, data: str | dict[str, Any] | list[Any]) -> Action[None]:
        """Send a text message ahead of all queued audio. Awaited, it waits while the socket takes none.

        Args:
            data: a JSON text, sent as it is; or a dict or list, which is written as JSON.

        Raises:
            AudioConnectorJSONError: `data` is not JSON; nothing was sent.
            AudioConnectorClosedError: the connection has ended; awaited, that it ended before the text was written.
        """
        call = self._call
        in_own_thread = get_ident() == self._thread_id
        text = "" if in_own_thread else encode_packet(data)  # an error is the caller's, in whichever thread that is

        def start() -> tuple[Question, Callable[[], None]]:
            sent = encode_packet(data) if in_own_thread else text
            call.check_open()
            call.output.send_text(sent)
            return has_room(call), lambda: call.check_sent(sent)

        return act(call, start)

    def play(self, source: str | PathLike[str] | BinaryIO, *, priority: int = 0) -> Playback:
        """Play a sound file in its turn: WAV, FLAC, MP3, OGG and whatever else libsndfile reads, of any rate.

        It acts when it is called: what is sent later is heard behind it, and a flush ends it. Awaited, it waits until
        all of it has been read, which goes on as it is heard; `playback.wait()` until it was heard. Several channels
        are averaged.

        Args:
            source: the path of the file, or one that is open for reading bytes, such as `io.BytesIO(data)`.
            priority: see `utterance`.

        Raises:
            AudioConnectorAudioError: it is no sound file; awaited, that it could not be read to its end.
            MissingExtraError: the extra `audio` is not installed, and it isn't a 16-bit mono WAV file that has the
                rate of the connection.
            OSError: it can't be opened.
            AudioConnectorClosedError: the connection has ended.
        """
        from .file_playback import FilePlayback  # only then: it takes the extra `audio`

        return FilePlayback(self._call, source, priority, lambda: self._queue)

    def utterance(
        self,
        *,
        id: str | None = None,  # noqa: A002 (the field's word)
        priority: int = 0,
        sample_rate_hz: int | None = None,
        cancel: bool = False,
    ) -> Utterance:
        """Say something as one thing, piece by piece, as a speech synthesis makes it.

            async with client.utterance() as utterance:
                async for chunk in synthesis:
                    await utterance.send(chunk, text=...)
            result = await utterance.wait()  # result.heard_text

        It ends before its end with a flush, `utterance.interrupt()`, or the caller's speech (`interrupt_on_speech`):
        then nothing more of it is heard, however long its pieces go on coming.

        Several are said one behind the other, in the order in which they were begun. One that has begun is said to its
        end first, whatever the priority of those that wait. What is sent directly meanwhile waits, too.

        Args:
            id: yours to choose; None: `1`, `2` and so on.
            priority: of those that wait the highest is said first.
            sample_rate_hz: of its audio; None: `AudioConnector(sample_rate_hz=…)` or, where that is not set, the
                connection's. Another one than the connection's takes the extra `audio`.
            cancel: when it is interrupted, cancel what its block waits for, for example the next piece. The block must
                not be one that `yield`s to others, as a generator does.

        Raises:
            AudioConnectorAudioError: the rate is none.
            MissingExtraError: the extra `audio` is not installed.
            AudioConnectorClosedError: the connection has ended.
        """
        if sample_rate_hz is not None:
            check_resampling(sample_rate_hz)
        self._utterances += 1
        return Utterance(
            self._call,
            lambda: self._queue,
            id=str(self._utterances) if id is None else id,
            priority=priority,
            rate_hz=sample_rate_hz or self._rate_hz,
            cancel=cancel,
        )

    def mix(self, mixer: Mixer | None) -> Action[None]:
        """Play a sound bed from now on, hold music or a room tone: while nothing is said, and softer under speech.

            client.mix(Mixer("music.ogg"))

        It acts when it is called; awaited, it waits until the sound has been read and begins. `mixer.stop()`,
        `mix(None)` and another bed end it with a fade; a flush does at once, and so do `utterance.interrupt()` and
        `interrupt_on_speech`, which flush. A pause silences it until `resume`. It is no part of what is said: `drain`
        doesn't wait for it, and `heard_s` doesn't count it. Speech that begins where it plays alone is heard up to
        60 ms later.

        Args:
            mixer: the bed; None: what plays ends.

        Raises:
            AudioConnectorConfigError: it is something else.
            AudioConnectorAudioError: its file is no sound file; awaited, that it can't be read, or is too long.
            MissingExtraError: the extra `audio` is not installed.
            OSError: the file can't be opened.
            AudioConnectorClosedError: the connection has ended.
        """
        call = self._call
        mixing: Mixing | None = None
        if mixer is not None:
            from .mixing import Mixing  # only then: it takes the extra `audio`

            mixing = Mixing(call, mixer)

        def start() -> tuple[Question | None, Callable[[], None]]:
            call.check_open()
            before, self._mixing = self._mixing, mixing
            if before is not None:
                before.end(fades=mixing is None)
            return (None, nothing) if mixing is None else mixing.begin()

        return act(call, start)

    def flush_buffer(self) -> Action[FlushResult]:
        """The barge-in: drop all audio that is not in the socket yet, and tell the router to forget what it has.

        It acts when it is called; awaited, it waits until the clear commands are on the wire, and tells how much was
        heard and how much was dropped. Audio sent afterwards is never lost and starts at once. What the router has
        already, at most the lead and one batch, it may still play if it knows none of the clear commands. It ends a
        pause, and a sound bed.

        Raises:
            AudioConnectorClosedError: the connection has ended.
        """
        return self._act(self._output.flush)

    def pause(self) -> Action[None]:
        """The barge-in that can be undone: fall silent now, and keep what was not heard, for `resume`.

        It acts when it is called. Audio that is sent meanwhile waits. What the router has already is taken back, as
        `flush_buffer` does; a router that knows none of the clear commands plays it now, and hears it again later.
        Does nothing while it is paused.

        Raises:
            AudioConnectorClosedError: the connection has ended.
        """
        return self._act(self._output.pause)

    def resume(self, rewind_s: float = 0.0) -> Action[None]:
        """Go on speaking where `pause` fell silent, with the whole frame in which that was. It acts when it is called.

        Args:
            rewind_s: repeat so many seconds of what was heard before, 0 to 1; of a live source there is nothing to
                repeat.

        Raises:
            AudioConnectorConfigError: `rewind_s` is outside of that range.
            AudioConnectorClosedError: the connection has ended.
        """
        check_rewind_s(rewind_s)
        return self._act(lambda: self._output.resume(rewind_s))

    def drain(self) -> Action[None]:
        """Wait until all queued audio has been heard, as a goodbye before `disconnect()`; while it is paused, too.

        It ends with the connection, without an error. Cancelling it changes nothing.
        """
        return act(self._call, lambda: (heard(self._call), nothing), ends_well=True)

    def notify(self, payload: object) -> Action[None]:
        """Ask the router to answer with `websocket:notify` and this payload when all audio queued now has been played.

        Documented for Vonage's Voice API; whether the Audio Connector answers is unknown, so never wait for it alone.

        Args:
            payload: a value that JSON can express.

        Raises:
            AudioConnectorJSONError: it is not; nothing was sent.
            AudioConnectorClosedError: the connection has ended.
        """
        notify_command(payload)  # an error is the caller's, in whichever thread that is
        return self._act(lambda: self._output.notify(payload))

    def set_buffer_timing(self, active_seconds: float | None = None) -> None:
        """Set how far ahead of real time audio is sent, from now on.

        Args:
            active_seconds: more than 0; the nearest value from 0.04 to 15 seconds is taken. None changes nothing.

        Raises:
            AudioConnectorConfigError: it is 0 or less, or no number.
        """
        if active_seconds is not None:
            if isinstance(active_seconds, (int, float)) and active_seconds > 0:
                active_seconds = min(max(active_seconds, MIN_LEAD_S), MAX_LEAD_S)
            check_lead_s("active_seconds", active_seconds)
            lead_s = active_seconds
            self._do(lambda: self._output.set_lead(lead_s))

    # Inside

    def _act(self, function: Callable[[], T]) -> Action[T]:
        """Do something; awaited, it waits until that is on the wire."""
        call = self._call

        def start() -> tuple[Question, Callable[[], T]]:
            call.check_open()
            result = function()
            return written(call), lambda: result

        return act(call, start)

    def _do(self, function: Callable[[], None]) -> None:
        """Do something now or, from another thread, soon; after the end it makes no difference."""

        def start() -> tuple[None, Callable[[], None]]:
            function()
            return None, nothing

        if get_ident() == self._thread_id:
            function()
        elif not self._call.is_over:
            with suppress(AudioConnectorClosedError):
                self._call.threads.post(start)
