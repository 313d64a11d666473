"""What one connection has to send: texts first, then audio in frames, each at its time. No I/O, no clock.

Audio goes the way program → framer → queue → outbox → socket. The pacer says when, the ledger keeps the book of what
was heard. `history` holds the last frames that went out, so that a pause can take back what nobody has heard yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import takewhile

from ..models import FRAME_MS, SAMPLE_BYTES
from .framing import Framer
from .gaps import MIN_GAP_S, Blocked, Gaps
from .ledger import Ledger, Mark
from .notices import Notices
from .pacing import MIN_LEAD_S, Pacer

REMAINDER_WAIT_S = 0.2
"""How long part of a frame waits for the rest where its source is live, that is, not ahead of the listener."""

MAX_REWIND_S = 1.0
"""How far a pause can be rewound: 32 kB a connection at 16 kHz, kept while it speaks."""

_TRIMS_A_SECOND = 2  # and not one for every frame of an echo

_AHEAD_S = REMAINDER_WAIT_S / 2  # a source this far ahead of the listener is not live
_REMAINDER_MARGIN_S = MIN_LEAD_S  # two frames: a remainder that is sent at the moment of its turn is heard too late


class Outbound:
    """The queue of one connection, and its schedule.

    Args:
        now_s: the time of the accept.
        rate_hz: the sample rate, until `change_rate`.
        lead_s: how far ahead of real time audio is sent.
        blocked: whether the event loop was blocked between two times.
    """

    __slots__ = (
        "_audio_since_s",
        "_ends",
        "_frame_bytes",
        "_framer",
        "_frames",
        "_history",
        "_history_samples",
        "_live",
        "_marks",
        "_notices",
        "_queued_at_s",
        "_repeated",
        "_sent_at_s",
        "bytes_out",
        "frame_ms",
        "frames_out",
        "gaps",
        "has_history",
        "ledger",
        "outbox",
        "pacer",
        "paused",
        "queued_bytes",
    )

    def __init__(self, now_s: float, rate_hz: int, lead_s: float, blocked: Blocked) -> None:
        self.pacer = Pacer(rate_hz, lead_s)
        self.ledger = Ledger()
        self.gaps = Gaps(blocked)
        self.outbox: deque[bytes | str] = deque()  # to be written now, from the left
        self.queued_bytes = 0  # in _frames
        self.frames_out = self.bytes_out = 0
        self.paused = False
        self._framer = Framer()
        self._frames: deque[bytes] = deque()
        self._history: list[bytes] = []
        self._history_samples = 0
        self.has_history = False  # frames are kept that went out, and more than a live source leaves behind
        self._notices: Notices | None = None  # until there first is one
        self._marks: list[Mark] = []  # calls that wait, where the oldest may be taken out of a full queue
        self.frame_ms = FRAME_MS  # of the audio that was last queued
        self._frame_bytes = self._bytes_of(FRAME_MS)
        self._queued_at_s = now_s  # when it was
        self._audio_since_s = now_s  # since when there is something to send
        self._sent_at_s = now_s  # when the last batch was handed over
        self._ends: list[int] = []  # of the wire line, where utterances end: silence there is a pause, not a gap
        self._repeated = 0  # samples that were heard before the pause, and will be again, because a frame is whole
        self._live = True  # whether the source was not ahead of the listener when it last brought something

    # What goes in

    def push(self, pcm: bytes, now_s: float, frame_ms: int, *, end: bool) -> None:
        """Cut audio into frames behind what is queued; `end` pads the last one now."""
        if frame_ms != self.frame_ms:
            self.frame_ms, self._frame_bytes = frame_ms, self._bytes_of(frame_ms)
        if not end and self.push_live(pcm, now_s, None):
            return
        size_bytes = len(pcm)
        if size_bytes:
            self._queued_at_s = now_s
            self.ledger.pushed(size_bytes // SAMPLE_BYTES)
            if not self._frames:
                self._audio_since_s = now_s
            self._cut(pcm)
        if end:
            self._pad(now_s)
            if not self._ends or self._ends[-1] != self.ledger.wire:
                self._ends.append(self.ledger.wire)
        if size_bytes:
            self._live = self.ahead_s(now_s) + self.seconds(self.queued_bytes) < _AHEAD_S

    def push_live(self, pcm: bytes, now_s: float, write: Callable[[bytes, float], bool] | None) -> bool:
        """Send one whole frame that is due, and before which nothing waits: the live case, in few steps.

        Args:
            pcm: a frame, or anything else, which is not sent.
            now_s: the time.
            write: takes the frame to the wire now, and tells whether it could. None: it moves to the outbox.

        Returns False where it did nothing.
        """
        size_bytes = len(pcm)
        if (
            size_bytes != self._frame_bytes
            or self._frames
            or self.outbox
            or self.paused
            or self._notices is not None
            or self._framer.remainder
        ):
            return False
        pacer = self.pacer
        ahead_s = pacer.live_s(now_s)
        if ahead_s is None:
            return False
        samples = size_bytes // SAMPLE_BYTES
        if write is None:
            self.outbox.append(pcm)
            pacer.live(samples, now_s, samples)
        elif write(pcm, now_s):
            pacer.live(samples, now_s, 0)
        else:
            return False
        self.ledger.pushed(samples)
        self._queued_at_s = self._audio_since_s = now_s
        self._history.append(pcm)
        self._live = ahead_s < _AHEAD_S
        self._count_sent(1, size_bytes, -ahead_s, now_s)
        return True

    def remember(self, mark: Mark, now_s: float) -> None:
        """Keep book of a call that waits, because part of it may be taken out of the queue."""
        heard = self.ledger.heard_to(self.heard_wire(now_s))[0]
        while self._marks and self._marks[0].end <= heard:
            del self._marks[0]
        self._marks.append(mark)

    def notify(self, text: str, wire: int) -> None:
        """Send a text right behind the audio that ends at `wire`."""
        self._notices = self._notices or Notices()
        self._notices.add(wire, text)
        self.outbox.extend(self._notices.take(self.pacer.total_samples))

    # What is taken out again

    def drop(self, now_s: float) -> tuple[int, int, int]:
        """Drop all audio that the listener has not heard, the schedule, and a pause. Texts stay in the outbox.

        Returns samples of the program: heard since the drop before; dropped; and how many of those had gone out.
        """
        self._unsend()
        heard_wire, sent_wire = self.heard_wire(now_s), self.pacer.total_samples
        sent = self.ledger.heard(sent_wire) - self.ledger.heard(heard_wire)
        heard, dropped = self.ledger.end_epoch(heard_wire)
        self._recall_notices(heard_wire)
        self._frames.clear()
        self._framer.clear()
        if self._notices is not None:
            self._notices.clear()
        self._ends.clear()
        self._marks.clear()
        self._forget_history()
        self.queued_bytes = 0
        self.pacer.reset(self.ledger.wire)
        self.paused = False
        return heard, dropped, sent

    def drop_oldest(self, max_bytes: int, now_s: float) -> int:
        """Take the oldest frames out of the queue until it holds no more than `max_bytes`; returns their bytes."""
        removed_bytes = 0
        while self._frames and self.queued_bytes - removed_bytes > max_bytes:
            removed_bytes += len(self._frames.popleft())
        if not removed_bytes:
            return 0
        self.queued_bytes -= removed_bytes
        samples, sent_wire = removed_bytes // SAMPLE_BYTES, self.pacer.total_samples
        start, end = self.ledger.remove(sent_wire, samples, self.heard_wire(now_s))
        for mark in takewhile(lambda mark: mark.start < end, self._marks):
            mark.lose(start, end)
        self._ends = [max(min(end, sent_wire), end - samples) for end in self._ends]
        if self._notices is not None:
            self._notices.shorten(sent_wire, samples)
            self.outbox.extend(self._notices.take(sent_wire))
        return removed_bytes

    def change_rate(self, rate_hz: int) -> None:
        """Go on at another rate: what has not gone out is cut anew."""
        self._unsend()
        self._recall_notices(self.pacer.total_samples)
        waiting = [*self._frames, self._framer.clear()]
        self._frames.clear()
        self.queued_bytes = 0
        self._forget_history()
        self.pacer.change_rate(rate_hz)
        self._frame_bytes = self._bytes_of(self.frame_ms)
        for pcm in waiting:
            self._cut(pcm)

    def pause(self, now_s: float) -> None:
        """Stop sending, and take back what went out and was not heard."""
        if self.paused:
            return
        self._unsend()
        self._trim_history(now_s)
        heard_wire = self.heard_wire(now_s)
        self._back(self.pacer.total_samples - heard_wire, now_s)
        self._repeated = heard_wire - self.pacer.total_samples
        self._recall_notices(heard_wire)
        self.paused = True

    def resume(self, rewind_s: float, now_s: float) -> None:
        """Go on where the pause began, or `rewind_s` before."""
        if not self.paused:
            return
        self._back(round(rewind_s * self.pacer.rate_hz) - self._repeated, now_s)
        self.paused = False
        self._audio_since_s = now_s

    # What to do now

    def next_s(self, now_s: float) -> float | None:
        """When the next audio is due; None where none waits. What is due by now has moved to the outbox."""
        if self._notices is not None:
            self._notices.heard(self.heard_wire(now_s))
        if self.paused:
            return None
        if self._frames or (self._framer.remainder and now_s >= self._remainder_due_s()):
            self._take_due(now_s)
        if self._frames:
            return self.pacer.due_s
        return self._remainder_due_s() if self._framer.remainder else None

    def written_late(self, dry_s: float, now_s: float) -> None:
        """A write took so long that the listener was dry for `dry_s`."""
        self.gaps.written(dry_s, now_s - self._sent_at_s, now_s)

    # What is known

    @property
    def remainder_bytes(self) -> int:
        """Part of a frame, which waits for the rest."""
        return len(self._framer.remainder)

    def seconds(self, size_bytes: int) -> float:
        """How long so much audio lasts."""
        return size_bytes / SAMPLE_BYTES / self.pacer.rate_hz

    def ahead_s(self, now_s: float) -> float:
        """Seconds of audio that went out and can't have been heard yet."""
        return max(0.0, self.pacer.position_s - now_s)

    def unheard_s(self, now_s: float) -> float:
        """Seconds of audio that went out and was not heard, what a blocked socket has not taken included."""
        return (self.pacer.total_samples - self.heard_wire(now_s)) / self.pacer.rate_hz

    def heard_wire(self, now_s: float) -> int:
        """How much of the wire line has been heard."""
        return self.pacer.heard_samples(now_s)

    # Inside

    def _bytes_of(self, frame_ms: int) -> int:
        return self.pacer.rate_hz * frame_ms // 1000 * SAMPLE_BYTES

    def _cut(self, pcm: bytes) -> None:
        """Queue the whole frames; the rest waits in the framer."""
        frames = self._framer.push(pcm, self._frame_bytes)
        self._frames.extend(frames)
        self.queued_bytes += len(frames) * self._frame_bytes

    def _pad(self, now_s: float) -> None:
        """The remainder becomes a frame, padded with silence."""
        remainder_bytes = len(self._framer.remainder)
        if not remainder_bytes:
            return
        frames = self._framer.flush(self._frame_bytes)
        self._frames.extend(frames)
        self.queued_bytes += len(frames) * self._frame_bytes
        padding_bytes = len(frames) * self._frame_bytes - remainder_bytes
        self.ledger.padded(padding_bytes // SAMPLE_BYTES, self.heard_wire(now_s))

    def _remainder_due_s(self) -> float:
        """When the remainder goes out padded, all frames before it being sent."""
        due_s = self.pacer.position_s - _REMAINDER_MARGIN_S
        return max(due_s, self._queued_at_s + REMAINDER_WAIT_S) if self._live else due_s

    def _take_due(self, now_s: float) -> None:
        budget_samples = self.pacer.budget_samples(now_s)
        if not budget_samples:
            return
        if not self._frames:  # only the remainder is left, and nobody brought the rest in time
            self._pad(now_s)
        frames, outbox, history, notices = self._frames, self.outbox, self._history, self._notices
        total_samples = self.pacer.total_samples
        taken_bytes = taken_frames = 0
        budget_bytes = budget_samples * SAMPLE_BYTES
        while frames and taken_bytes + len(frames[0]) <= budget_bytes:
            frame = frames.popleft()
            taken_bytes += len(frame)
            taken_frames += 1
            outbox.append(frame)
            history.append(frame)
            if notices is not None:
                outbox.extend(notices.take(total_samples + taken_bytes // SAMPLE_BYTES))
        self.queued_bytes -= taken_bytes
        self._count_sent(taken_frames, taken_bytes, self.pacer.sent(taken_bytes // SAMPLE_BYTES, now_s), now_s)

    def _count_sent(self, frames: int, size_bytes: int, dry_s: float, now_s: float) -> None:
        """Keep book of frames that have moved to the outbox; the listener had been dry for `dry_s`."""
        samples = size_bytes // SAMPLE_BYTES
        self.frames_out += frames
        self.bytes_out += size_bytes
        if dry_s >= MIN_GAP_S or self._ends:
            self._look_dry(dry_s, now_s, self.pacer.total_samples - samples)
        self._sent_at_s = now_s
        self._history_samples += samples
        if self._history_samples * _TRIMS_A_SECOND > self.pacer.rate_hz:
            self._trim_history(now_s)

    def _look_dry(self, dry_s: float, now_s: float, total_samples: int) -> None:
        """Count a gap where the listener was dry, unless what went out before, `total_samples`, ended an utterance."""
        ends = self._ends
        while ends and ends[0] < total_samples:
            del ends[0]
        if dry_s > 0.0 and (not ends or ends[0] != total_samples):
            self.gaps.dry(dry_s, now_s, self._audio_since_s)

    def _recall_notices(self, wire: int) -> None:
        """The audio behind `wire` waits again, or is dropped: so the texts that follow it do, too."""
        for text in self._notices.recall(wire) if self._notices is not None else ():
            if text in self.outbox:
                self.outbox.remove(text)

    def _trim_history(self, now_s: float) -> None:
        """Forget what can't be asked for again; a live source has nothing to rewind."""
        unheard_s = max(self.ahead_s(now_s), self.unheard_s(now_s))  # a blocked socket may hold what is overdue
        keep_s = unheard_s + (0.0 if self._live else MAX_REWIND_S)
        keep_samples = keep_s * self.pacer.rate_hz
        longest_samples = self.pacer.rate_hz * FRAME_MS // 1000
        forgotten = int(self._history_samples - keep_samples) // longest_samples
        left = self._history_samples
        if forgotten > 0:
            left -= sum(map(len, self._history[:forgotten])) // SAMPLE_BYTES
            del self._history[:forgotten]
        self._history_samples = left
        self.has_history = left * _TRIMS_A_SECOND > self.pacer.rate_hz

    def forget_heard(self, now_s: float) -> None:
        """Forget the history once all of it has been heard and nothing waits: a silent program keeps next to none."""
        if not self.paused and not self._frames and not self.unheard_s(now_s):
            self._forget_history()

    def _forget_history(self) -> None:
        self._history.clear()
        self._history_samples = 0
        self.has_history = False

    def _unsend(self) -> None:
        """Put audio that the socket has not accepted back in front of the queue; texts stay in the outbox."""
        texts: list[bytes | str] = []
        unsent: list[bytes] = []
        for payload in self.outbox:
            if isinstance(payload, bytes):
                unsent.append(payload)
            else:
                texts.append(payload)
        if not unsent:
            return
        self.outbox.clear()
        self.outbox.extend(texts)
        unsent_bytes = sum(map(len, unsent))
        self.frames_out -= len(unsent)
        self.bytes_out -= unsent_bytes
        self.pacer.unsent(unsent_bytes // SAMPLE_BYTES)
        for _ in unsent:
            if self._history:
                self._history_samples -= len(self._history.pop()) // SAMPLE_BYTES
        self._frames.extendleft(reversed(unsent))
        self.queued_bytes += unsent_bytes

    def _back(self, samples: int, now_s: float) -> None:
        """Put at least so many of the samples that went out last in front of the queue again, in whole frames."""
        self.ledger.rewind(self.heard_wire(now_s))
        back = 0
        while self._history and back < samples:
            frame = self._history.pop()
            self._frames.appendleft(frame)
            back += len(frame) // SAMPLE_BYTES
        self._history_samples -= back
        self.queued_bytes += back * SAMPLE_BYTES
        self.pacer.reset(self.pacer.total_samples - back)
