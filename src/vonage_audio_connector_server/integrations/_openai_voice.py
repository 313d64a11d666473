"""What a model says into a call, item by item: how much of each was heard, and what has to be taken back of it.

An *item* is one message in the conversation that the model keeps. It comes faster than it is heard, in pieces, its
words and its sound side by side. Each is an `Utterance` of the call, so the playout clock tells what was heard of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..core.framer import as_pcm
from ..errors import AudioConnectorFullError, AudioConnectorInterruptedError
from ._openai_caller import RATE_HZ

if TYPE_CHECKING:
    from ..client import Client
    from ..results import UtteranceResult
    from ..utterance import Utterance

MOST_AHEAD_S = 600.0
"""An answer that is so far ahead of the listener is cut off: 30 MB of sound. The API's longest is shorter."""

REMEMBERED = 64
"""So many items and responses that are over are remembered, for what comes too late of them."""

_EPSILON_S = 0.001
_ENDS = ".!?,;:…。！？"  # noqa: RUF001 (of Chinese and Japanese)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in one item of the conversation.

    Attributes:
        role: who said it.
        text: of the caller as the API has understood it; of the assistant the words that were heard.
        item_id: the API's.
        interrupted: the assistant was interrupted.
        full_text: of the assistant: all that was made by then, heard or not.
    """

    role: Literal["caller", "assistant"]
    text: str = field(repr=False)
    item_id: str
    interrupted: bool = False
    full_text: str = field(default="", repr=False)


@dataclass(eq=False)
class Item:
    """One thing that the model says.

    Attributes:
        id: of the API.
        content_index: of its sound in the item.
        response_id: of the response that it is a part of; empty: unknown.
        utterance: of the call.
        is_ended: all of it has come.
        is_cut: it was taken back: what comes of it is dropped.
    """

    id: str
    content_index: int
    response_id: str
    utterance: Utterance
    is_ended: bool = False
    is_cut: bool = False
    text: str = ""  # its last punctuation marks, which wait for what stands behind them

    @property
    def heard_ms(self) -> int:
        """How much of it has been heard by now, in whole milliseconds: never more than there is."""
        return int(min(self.utterance.heard_s, self.utterance.duration_s) * 1000 + _EPSILON_S)

    @property
    def is_heard(self) -> bool:
        """Whether all that has come of it has been heard."""
        return self.utterance.heard_s >= self.utterance.duration_s - _EPSILON_S


class Voice:
    """The model's voice in one call. Only in the thread of its event loop.

    Args:
        client: of the call.
        on_over: called in a task of the call when an item was heard to its end, or never will be; plain functions
            don't serve.
    """

    def __init__(self, client: Client, on_over: Callable[[Item, UtteranceResult], Awaitable[None]]) -> None:
        self._client = client
        self._call = client._call
        self._on_over = on_over
        self._items: dict[tuple[str, int], Item] = {}
        self._last: Item | None = None
        self._over: deque[tuple[str, int]] = deque(maxlen=REMEMBERED)
        self._cut_responses: deque[str] = deque(maxlen=REMEMBERED)

    def audio(self, item_id: str, content_index: int, response_id: str, pcm: bytes) -> None:
        """A piece of the sound of an item. What was interrupted is dropped.

        Raises:
            AudioConnectorAudioError: it is no PCM.
            AudioConnectorFullError: too much waits to be heard; nothing was taken.
            AudioConnectorClosedError: the call has ended.
        """
        as_pcm(pcm)
        item = self._item(item_id, content_index, response_id)
        if item is None:
            return
        utterance = item.utterance
        if utterance.duration_s - utterance.heard_s > MOST_AHEAD_S:
            raise AudioConnectorFullError(f"the answer is {MOST_AHEAD_S:g} s ahead of the listener")
        try:
            utterance.send(pcm)
        except AudioConnectorInterruptedError:  # by the program; its task will tell
            self.drop(item)

    def text(self, item_id: str, content_index: int, response_id: str, text: str) -> None:
        """A piece of the words of an item; it belongs to the sound from here on."""
        item = self._item(item_id, content_index, response_id)
        if item is None:
            return
        # An utterance puts a space behind a punctuation mark, but the pieces of the API are no words: '3', '.', '5'.
        text = item.text + text
        said = text.rstrip(_ENDS)
        item.text = text[len(said) :]
        if said:
            self._say(item, said)

    def end(self, *, item_id: str = "", response_id: str = "") -> None:
        """Nothing more comes of an item, or of a whole response; both empty: of anything."""
        for item in list(self._items.values()):
            if (not item_id or item.id == item_id) and (not response_id or item.response_id == response_id):
                self._end(item)

    def interrupt(self) -> list[Item]:
        """Fall silent at once; returns the items of which something was not heard, in their order."""
        items = [item for item in self._items.values() if not item.is_cut]
        if items or self._is_speaking():
            self._client.flush_buffer()
        cut = [item for item in items if not (item.is_ended and item.is_heard)]
        for item in cut:
            self.drop(item)
        return cut

    def drop(self, item: Item) -> None:
        """Nothing more of an item, and of its response, is said."""
        item.is_cut = item.is_ended = True
        item.utterance.interrupt()
        self.drop_response(item.response_id)

    def drop_response(self, response_id: str) -> None:
        """What comes of a response from now on is dropped."""
        if response_id and response_id not in self._cut_responses:
            self._cut_responses.append(response_id)

    def is_dropped(self, response_id: str) -> bool:
        """Whether a response was interrupted."""
        return response_id in self._cut_responses

    def forget(self) -> None:
        """The session is gone: what has come is said to its end, and nothing of it can be taken back."""
        self.end()
        for item in self._items.values():
            item.is_cut = True
        self._last = None

    @property
    def playing(self) -> Item | None:
        """What is heard now: the first item that isn't heard to its end; else the one that was heard last."""
        for item in self._items.values():
            if not item.is_cut and not item.is_heard:
                return item
        return self._last

    # Inside

    def _item(self, item_id: str, content_index: int, response_id: str) -> Item | None:
        """The item of a piece; None: it comes too late."""
        key = (item_id, content_index)
        item = self._items.get(key)
        if response_id in self._cut_responses or key in self._over or (item is not None and item.is_ended):
            return None
        if item is None:
            utterance = self._client.utterance(id=item_id, sample_rate_hz=RATE_HZ)
            item = self._items[key] = Item(item_id, content_index, response_id, utterance)
            self._last = item if self._last is None else self._last
            self._call.start_soon(self._see_through, (item,))
        return item

    def _say(self, item: Item, text: str) -> None:
        try:
            item.utterance.send(b"", text=text)
        except AudioConnectorInterruptedError:
            self.drop(item)

    def _end(self, item: Item) -> None:
        if not item.is_ended:
            item.is_ended = True
            if item.text and self._call.is_open:
                self._say(item, item.text)
            item.utterance.end()

    async def _see_through(self, item: Item) -> None:
        """Wait until an item is over; a task of the call."""
        result = await item.utterance.wait()
        key = (item.id, item.content_index)
        self._items.pop(key, None)
        self._over.append(key)
        self._last = item
        await self._on_over(item, result)

    def _is_speaking(self) -> bool:
        """Whether anything is being said, or waits to be: that of the program, too."""
        call = self._call
        call.output.measure()
        out = call.out
        return bool(call.session.queued_s or out.speech_left_s(call.clock()) or call.output.is_saying())


def transcript_of(item: Item, result: UtteranceResult) -> Transcript:
    """What was heard of an item."""
    # Its last words may have come when its sound was over: all of it was heard all the same.
    heard = result.heard_text if result.interrupted else result.text
    return Transcript("assistant", heard, item.id, result.interrupted, result.text)
