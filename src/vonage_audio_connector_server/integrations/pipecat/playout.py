"""What was given to be heard, and the frames that wait until it was: one line, in seconds of audio. No I/O.

A place on the line is a sum of durations: it stands still while nothing is heard, and jumps back to what was heard when
the rest is dropped. How much was heard tell the `Playback`s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Protocol

from ...results import PlaybackResult

NEAR_S = 0.0005
"""So much of a sound is none: a rounding of samples, and of floating point."""


SEVERAL = 4
"""So many pieces are asked at once: live audio comes in small ones, and to ask costs as much as to send."""


class Played(Protocol):
    """What a piece is asked: a `Playback`."""

    @property
    def so_far(self) -> PlaybackResult:
        """What was heard of it by now."""


@dataclass(slots=True)
class Piece:
    """Audio that was sent.

    Attributes:
        pcm: as it was sent.
        frame: the frame that it came with.
        bytes_a_second: of `pcm`.
        playback: tells how much of it was heard.
        start_s: its place on the line.
        end_s: where it ends.
        is_kept: an interruption does not drop it.
    """

    pcm: bytes
    frame: Any
    bytes_a_second: int
    playback: Played
    start_s: float
    end_s: float
    is_kept: bool


@dataclass(slots=True, order=True)
class Waiting:
    """A frame that waits for its place.

    Attributes:
        at_s: its place.
        number: in which order frames of one place go on.
        frame: the frame.
        is_kept: an interruption does not drop it.
        is_word: it is to be gone when the speech that it belongs to ends.
    """

    at_s: float
    number: int
    frame: Any
    is_kept: bool
    is_word: bool


class Playout:
    """The line of one call.

    Attributes:
        end_s: where the last audio ends.
        pieces: audio that was not passed on yet, whether heard or not.
        waiting: frames, as a heap.
        is_cut_off: when `heard_s` was asked last, what comes next was never to be heard: somebody else has flushed it,
            or the call has ended.
    """

    def __init__(self) -> None:
        self.end_s = 0.0
        self.pieces: deque[Piece] = deque()
        self.waiting: list[Waiting] = []
        self.is_cut_off = False
        self._passed_s = 0.0  # all before it was passed on
        self._unheard: deque[Piece] = deque()
        self._numbers = count()

    def add_audio(self, pcm: bytes, frame: Any, bytes_a_second: int, playback: Played, *, is_kept: bool) -> Piece:
        """Audio was sent, behind all that was sent before."""
        start_s = self.end_s
        self.end_s += len(pcm) / bytes_a_second
        piece = Piece(pcm, frame, bytes_a_second, playback, start_s, self.end_s, is_kept)
        self.pieces.append(piece)
        self._unheard.append(piece)
        return piece

    def add_frame(self, frame: Any, at_s: float, *, is_kept: bool, is_word: bool = False) -> None:
        """A frame waits until all before its place was heard; those of one place keep their order."""
        heappush(self.waiting, Waiting(at_s, next(self._numbers), frame, is_kept, is_word))

    def heard_s(self) -> float:
        """The place up to which all was heard, now."""
        unheard = self._unheard
        self.is_cut_off = False
        while unheard:
            last = min(len(unheard) - 1, SEVERAL)
            if last and unheard[last].playback.so_far.heard_s:  # it has begun, so those before it are over
                for _ in range(last):
                    unheard.popleft()
            piece, result = unheard[0], unheard[0].playback.so_far
            if result.heard_s < result.duration_s - NEAR_S:
                self.is_cut_off = result.interrupted
                return min(piece.end_s, piece.start_s + result.heard_s)
            unheard.popleft()
        return self.end_s

    @property
    def is_all_heard(self) -> bool:
        """Whether no audio is left to be heard, as far as `heard_s` has found out."""
        return not self._unheard

    def next_frame(self, heard_s: float) -> Waiting | None:
        """The next frame, if its place was heard; it stays in the line."""
        return self.waiting[0] if self.waiting and self.waiting[0].at_s <= heard_s + NEAR_S else None

    def pop_frame(self) -> Waiting:
        """Take the next frame out of the line."""
        return heappop(self.waiting)

    def pop_audio(self, until_s: float, at_least_s: float) -> tuple[Piece, bytes] | None:
        """The next audio that was heard and is of one kind; None: there is less than that.

        Args:
            until_s: up to this place.
            at_least_s: less than this is left for the next time, unless its piece ends and something else follows.
        """
        pieces = self.pieces
        if not pieces or self._passed_s >= until_s - NEAR_S:
            return None
        first = pieces[0]
        kind, rate, is_kept, end_s = type(first.frame), first.bytes_a_second, first.is_kept, first.end_s
        for piece in pieces:
            if piece.start_s >= until_s or type(piece.frame) is not kind:
                break
            if piece.bytes_a_second != rate or piece.is_kept is not is_kept:
                break
            end_s = piece.end_s
        is_end = end_s < until_s - NEAR_S or (end_s <= until_s + NEAR_S and self.is_all_heard)
        end_s = min(end_s, until_s)
        if end_s - self._passed_s < at_least_s and not is_end:
            return None
        parts = []
        while pieces and pieces[0].start_s < end_s - NEAR_S:
            piece = pieces[0]
            begin = _bytes(piece, self._passed_s)
            if piece.end_s <= end_s + NEAR_S:
                parts.append(piece.pcm[begin:])
                self._passed_s = piece.end_s
                pieces.popleft()
            else:
                parts.append(piece.pcm[begin : _bytes(piece, end_s)])
                self._passed_s = end_s
                break
        return first, b"".join(parts)

    def end_words(self) -> None:
        """A speech is complete: words that were timed behind its end belong to its end."""
        late = [waiting for waiting in self.waiting if waiting.is_word and waiting.at_s > self.end_s]
        for waiting in late:
            waiting.at_s = self.end_s
        if late:
            heapify(self.waiting)

    @property
    def must_be_heard(self) -> bool:
        """Whether all that is left to be heard is kept, so that nobody falls silent."""
        return bool(self._unheard) and all(piece.is_kept for piece in self._unheard)

    def drop(self) -> list[tuple[Any, bytes]]:
        """Drop what was not heard and may be dropped.

        Returns:
            Audio that is to be heard nevertheless, and the frames that it came with: it is taken out of the line.
        """
        heard_s = self.heard_s()
        kept = [(piece.frame, piece.pcm[_bytes(piece, heard_s) :]) for piece in self._unheard if piece.is_kept]
        self.pieces = deque(piece for piece in self.pieces if piece.start_s < heard_s - NEAR_S)
        if self.pieces and self.pieces[-1].end_s > heard_s:
            last = self.pieces[-1]
            last.pcm, last.end_s = last.pcm[: _bytes(last, heard_s)], heard_s
        self._unheard.clear()
        self.end_s = heard_s
        self.drop_frames()
        for waiting in self.waiting:
            waiting.at_s = min(waiting.at_s, heard_s)
        heapify(self.waiting)
        return kept

    def drop_frames(self) -> None:
        """Drop the frames that may be dropped."""
        self.waiting = [waiting for waiting in self.waiting if waiting.is_kept]
        heapify(self.waiting)


def _bytes(piece: Piece, at_s: float) -> int:
    """Where in its PCM a place on the line is: at a whole sample of all its channels."""
    size = 2 * (piece.frame.num_channels or 1)
    return max(0, round((at_s - piece.start_s) * piece.bytes_a_second / size)) * size
