"""The handle on one connection that users hold: the reference SDK's `client`, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.datastructures import QueryParams, State
from starlette.requests import HTTPConnection

from .call.actions import Action, act, do, nothing
from .call.call import Call
from .call.questions import format_known, written
from .close_codes import NORMAL, check_close
from .connection_data import AudioConnectorConnectionData
from .errors import AudioConnectorConfigError
from .formats import AudioFormat
from .listener import Listener
from .results import CloseReport, ConnectionStats
from .signatures import takes
from .steps import Handler, name_of
from .waits import CHANGED, Question

if TYPE_CHECKING:
    pass


class Client(Listener):
    """One connection of a Vonage Video session: its audio and events in, audio and texts out.

    You get it in `on_connect`. A method that acts does so when it is called, and raises its errors there; what it
    returns can be awaited, given to `asyncio.create_task`, or left alone. Every method may be called from any task,
    from any thread, and from the event loop of another thread: what is called there acts in the connection's own event
    loop, in the order of the calls of that thread. A thread without an event loop may ask for its `result()`, which
    blocks.
    Handlers run in the connection's own event loop, all in one context (`contextvars`): they see what `on_connect` has
    set, and what a handler sets is seen by all that run after it.
    """

    def __init__(
        self,
        call: Call,
        info: AudioConnectorConnectionData,
        scope: MutableMapping[str, Any],
        identity: object,
        rate_hz: int | None,
    ) -> None:
        super().__init__(call, rate_hz)
        self._info = info
        self._scope = scope
        self._identity = identity

    def __repr__(self) -> str:
        report = self._call.close_report
        state = "open" if self._call.is_open else "closed" if report is None else f"closed {report.code}"
        return f"<Client {self._info.id} {state}>"

    # Beside it

    def start_soon(self, function: Handler, *args: object) -> Action[None]:
        """Run a function in a task of its own as long as the call lasts: plain or coroutine function.

        It acts when it is called; there is nothing to await. An error of the function goes to `on_error`, as that of a
        handler does. When the call has ended it has 5 s to finish, then it is cancelled.

        Args:
            function: called soon, in the call's own event loop.
            args: what it is called with.

        Raises:
            AudioConnectorConfigError: it can't be called with these.
            AudioConnectorClosedError: the connection has ended.
        """
        if not takes(function, *args):
            raise AudioConnectorConfigError(f"{name_of(function)} can't be called with {len(args)} arguments")
        return do(self._call, lambda: self._call.start_soon(function, args))

    # The end

    def wait_closed(self) -> Action[CloseReport]:
        """Wait until the connection has ended, however; returns the close report. Cancelling it changes nothing."""
        call = self._call

        def report() -> CloseReport:
            assert call.close_report is not None
            return call.close_report

        return act(call, lambda: (lambda now_s: None if call.is_over else CHANGED, report), ends_well=True)

    def disconnect(self, code: int = NORMAL, reason: str = "") -> Action[None]:
        """Close the connection now. Queued audio is dropped; texts that are queued go out first.

        It acts when it is called; awaited, it waits until the close is on the wire. Again, or after the end, it does
        nothing.

        Args:
            code: the WebSocket close code: 1000, 1001, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes of UTF-8.

        Raises:
            AudioConnectorConfigError: the code or the reason can't be sent.
        """
        check_close(code, reason)
        call = self._call

        def start() -> tuple[Question, Callable[[], None]]:
            call.close(code, reason)
            return written(call), nothing

        return act(call, start, ends_well=True)

    # What is known

    @property
    def id(self) -> str:
        """Unique for every connection that this process accepts; the same as `info().id`."""
        return self._info.id

    @property
    def request(self) -> HTTPConnection:
        """The request that opened the connection, as Starlette has it.

        So `headers`, `url`, `cookies`, `app`, `user` and `auth` are there, where the app around has them.
        What opened the door (the parameter of a `SharedSecret`, a token) stands as `***` in its query.
        """
        return HTTPConnection(self._scope)

    @property
    def path_params(self) -> dict[str, Any]:
        """The parameters of the route's path: of `/vonage/{bot_id}` the `bot_id`. Empty where it has none."""
        return self.request.path_params

    @property
    def query_params(self) -> QueryParams:
        """The query of the `uri` of the connect call; see `request`."""
        return self.request.query_params

    @property
    def state(self) -> State:
        """For whatever you want to keep with the call, as attributes, on top of what the app's lifespan has yielded."""
        return self.request.state

    @property
    def identity(self) -> Any:
        """What `authorize` returned; None where there is no `authorize`."""
        return self._identity

    def info(self) -> AudioConnectorConnectionData:
        """What is known of the connection by now; the custom keys and the format come with its first message."""
        session = self._call.session
        return replace(self._info, custom=session.custom, audio_format=session.audio_format)

    @property
    def audio_format(self) -> AudioFormat | None:
        """The negotiated audio format, that of the wire; None until it is known, see `wait_format`."""
        return self._call.session.audio_format

    @property
    def sample_rate_hz(self) -> int | None:
        """The sample rate of what the program gets and sends: `AudioConnector(sample_rate_hz=…)`.

        Where that is not set, the connection's; None until it is known.
        """
        known = self._call.session.audio_format
        return self._rate_hz or (None if known is None else known.rate_hz)

    def wait_format(self) -> Action[AudioFormat]:
        """Wait for the audio format. It comes with the first message or, without one, with the first frame of audio.

        One second after the accept the configured format is taken. Cancelling it changes nothing.
        """
        call = self._call
        return act(call, lambda: (format_known(call), call.assume_format), ends_well=True)

    @property
    def heard_s(self) -> float:
        """Seconds of audio that have been heard since the accept, by the playout clock: silence is not counted."""
        return self._call.heard_s()

    @property
    def close_report(self) -> CloseReport | None:
        """How the connection ended, and what it was like; None as long as it lasts."""
        return self._call.close_report

    def stats(self) -> ConnectionStats:
        """The counters of this connection, now."""
        return self._call.stats()
