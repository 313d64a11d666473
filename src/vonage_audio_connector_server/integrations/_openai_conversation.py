"""What the events of a Realtime session mean for the call, and what this side says to them.

Plain code in the thread of the call's event loop: an event is dealt with at once, and nothing waits for sound.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .. import sparing
from ..errors import AudioConnectorClosedError, AudioConnectorFullError
from ..steps import Handler
from ._openai_errors import RealtimeClosedError, RealtimeError, RealtimeToolError, api_error, one_line
from ._openai_link import Outbox, dict_in, index_in, text_in
from ._openai_responses import Responses
from ._openai_settings import detection_of
from ._openai_tell import Teller
from ._openai_tools import FAILED, Tools
from ._openai_voice import Item, Transcript, Voice, transcript_of

if TYPE_CHECKING:
    from ..client import Client
    from ..results import UtteranceResult

logger = logging.getLogger("vonage_audio_connector_server")

ASKED, CANCELLED, SETTINGS = "vonage-response", "vonage-cancel", "vonage-settings"
"""The `event_id` of what may be refused: the API names it in the error."""

BUSY = "conversation_already_has_active_response"  # seen in the API, and in code that speaks with it
NOTHING_TO_CANCEL = "response_cancel_not_active"  # the same


class Conversation:
    """One call and the session that it is joined to now.

    Args:
        client: the call.
        outbox: takes events for the session.
        tools: the functions that the model may call.
        teller: calls the functions of the program.
        on_transcript: one of them.
        on_error: another one.

    Attributes:
        is_ready: the session has taken its settings.
        last_error: what the session has told last.
        responses: those of the session.
    """

    def __init__(
        self,
        client: Client,
        outbox: Outbox,
        tools: Tools,
        teller: Teller,
        on_transcript: Handler | None,
        on_error: Handler | None,
    ) -> None:
        self.is_ready = False
        self.last_error: RealtimeError | None = None
        self.responses = Responses()
        self._call = client._call
        self._outbox, self._tools, self._teller = outbox, tools, teller
        self._on_transcript, self._on_error = on_transcript, on_error
        self._voice = Voice(client, self._item_over)
        self._interrupts = self._answers = True
        self._caller_speaks = False
        self._session_number = 0
        self._tools_running: dict[str, int] = {}  # by response
        self._meaning: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "error": self._error,
            "session.updated": self._updated,
            "input_audio_buffer.speech_started": self._speech_started,
            "input_audio_buffer.speech_stopped": self._speech_stopped,
            "conversation.item.input_audio_transcription.completed": self._understood,
            "response.created": self._response_created,
            "response.output_audio.delta": self._audio,
            "response.output_audio_transcript.delta": self._text,
            "response.output_item.done": self._item_done,
            "response.done": self._response_done,
        }

    def received(self, event: Mapping[str, Any]) -> None:
        """An event of the session.

        Raises:
            RealtimeClosedError: the session has refused its settings.
        """
        mean = self._meaning.get(event["type"])
        if mean is None:
            return
        try:
            mean(event)
        except AudioConnectorClosedError:
            logger.debug("connection %s: it has ended, and an answer with it", self._call.id)
        except ValueError as exc:  # of an event whose fields are none, of base64, of sound that is no PCM
            sparing.warn("connection %s: can't use an event of the Realtime API: %s", self._call.id, one_line(exc))

    # What is said to the session

    def want(self, params: Mapping[str, Any]) -> None:
        """Let the model answer, as soon as it can."""
        self.responses.want(params)
        self.ask()

    def ask(self) -> None:
        """Ask for the next answer that is wanted, if it can be now."""
        if self.is_ready and not self._caller_speaks and (params := self.responses.next()) is not None:
            event = {"type": "response.create", "event_id": ASKED}
            self._outbox.put(event | {"response": dict(params)} if params else event)

    def interrupt(self) -> None:
        """Fall silent at once; the model is told to stop, and what was heard."""
        self._cut(self._voice.interrupt())

    def report(self, error: RealtimeError) -> None:
        """Tell an error: in the log, and to the program."""
        logger.warning("connection %s: %s", self._call.id, error)
        self._teller.tell(self._on_error, error, is_vital=True)

    def lost(self) -> None:
        """The session is gone, and with it all that was for it."""
        self.last_error = None
        if self.is_ready:  # else what a program wants waits for the next session
            self.is_ready = self._caller_speaks = False
            self._session_number += 1
            self._voice.forget()
            self.responses.lost()
            self._tools_running.clear()
            self._outbox.clear()

    # What the events mean

    def _error(self, event: Mapping[str, Any]) -> None:
        told = dict_in(event, "error")
        error, about = api_error(told), told.get("event_id")
        if error.code == NOTHING_TO_CANCEL:
            return  # it was over before it was interrupted
        if about == ASKED:
            self.responses.refused(is_busy=error.code == BUSY)
            if error.code == BUSY:
                return
        if about == SETTINGS and not self.is_ready:
            message = f"the session's settings were refused: {error}"
            raise RealtimeClosedError(message, code=error.code, kind=error.kind, is_final=True)
        self.last_error = error
        self.report(error)

    def _updated(self, event: Mapping[str, Any]) -> None:
        self._interrupts, self._answers = detection_of(event.get("session"))
        self.is_ready = True
        self.ask()

    def _speech_started(self, event: Mapping[str, Any]) -> None:
        self._caller_speaks = True
        if self._interrupts:
            self.interrupt()

    def _speech_stopped(self, event: Mapping[str, Any]) -> None:
        self._caller_speaks = False
        self.ask()  # where the session answers by itself it refuses this, until it has

    def _understood(self, event: Mapping[str, Any]) -> None:
        transcript = Transcript("caller", text_in(event, "transcript"), text_in(event, "item_id"))
        self._teller.tell(self._on_transcript, transcript, is_vital=True)

    def _response_created(self, event: Mapping[str, Any]) -> None:
        self.responses.created(text_in(dict_in(event, "response"), "id"))

    def _audio(self, event: Mapping[str, Any]) -> None:
        response_id = text_in(event, "response_id")
        pcm = base64.b64decode(text_in(event, "delta"), validate=True)
        try:
            self._voice.audio(text_in(event, "item_id"), index_in(event), response_id, pcm)
        except AudioConnectorFullError as exc:
            self._voice.drop_response(response_id)
            self._voice.end(response_id=response_id)
            self._cancel()
            error = RealtimeError(f"an answer was cut off, because too much of it waits: {exc}")
            error.__cause__ = exc
            self.report(error)

    def _text(self, event: Mapping[str, Any]) -> None:
        item_id, response_id = text_in(event, "item_id"), text_in(event, "response_id")
        self._voice.text(item_id, index_in(event), response_id, text_in(event, "delta"))

    def _item_done(self, event: Mapping[str, Any]) -> None:
        item, response_id = dict_in(event, "item"), text_in(event, "response_id")
        if item.get("type") == "message":
            self._voice.end(item_id=text_in(item, "id"))
        elif item.get("type") == "function_call" and item.get("status") != "incomplete":
            call_id, name, arguments = (text_in(item, key) for key in ("call_id", "name", "arguments"))
            self._tools_running[response_id] = self._tools_running.get(response_id, 0) + 1
            self._call.start_soon(self._run_tool, (self._session_number, response_id, call_id, name, arguments))

    def _response_done(self, event: Mapping[str, Any]) -> None:
        response = dict_in(event, "response")
        response_id, status = text_in(response, "id"), response.get("status")
        self._voice.end(response_id=response_id)
        self.responses.done(response_id)
        if status in ("failed", "incomplete"):
            details = response.get("status_details")
            details = details if isinstance(details, dict) else {}
            why = details.get("error")
            why = why if isinstance(why, dict) else {"message": details.get("reason")}
            self.last_error = api_error(why, f"the model's answer is {status}")
            self.report(self.last_error)
        self._answer_tools(response_id)
        self.ask()

    # Inside

    def _cut(self, items: list[Item]) -> None:
        """Take back what was not heard."""
        self._cancel()
        for item in items:
            self._outbox.put(
                {
                    "type": "conversation.item.truncate",
                    "item_id": item.id,
                    "content_index": item.content_index,
                    "audio_end_ms": item.heard_ms,
                }
            )

    def _cancel(self) -> None:
        """Let the model stop; the session may have done so by itself, and says then that it has."""
        running = self.responses.running
        if running is not None and self.is_ready:
            self._voice.drop_response(running)
            self._outbox.put({"type": "response.cancel", "event_id": CANCELLED, "response_id": running})

    async def _item_over(self, item: Item, result: UtteranceResult) -> None:
        """An item was heard, or never will be; a task of the call."""
        if result.interrupted and not item.is_cut and not self._call.is_over:
            self._voice.drop(item)  # by the program
            self._cut([item])
        if result.text or result.duration_s:
            await self._teller.now(self._on_transcript, transcript_of(item, result))

    async def _run_tool(self, session_number: int, response_id: str, call_id: str, name: str, arguments: str) -> None:
        """Call a function of the program, and let the model know its result; a task of the call."""
        try:
            output = await self._tools.answer(name, arguments)
        except RealtimeToolError as exc:
            output = FAILED
            self.report(exc)
        if session_number != self._session_number or self._call.is_over:
            return  # nobody waits for it
        item = {"type": "function_call_output", "call_id": call_id, "output": output}
        self._outbox.put({"type": "conversation.item.create", "item": item})
        self._tools_running[response_id] -= 1
        self._answer_tools(response_id)

    def _answer_tools(self, response_id: str) -> None:
        """Let the model go on, once a response is over and all functions that it has called have answered."""
        if self._tools_running.get(response_id) == 0 and self.responses.running != response_id:
            del self._tools_running[response_id]
            if not (self._voice.is_dropped(response_id) or (self._caller_speaks and self._answers)):
                self.want({})  # else the model answers what the caller says, and knows the results by then
