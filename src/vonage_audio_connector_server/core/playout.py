"""What one connection has to send: texts first, then audio in frames, each at its time. No I/O, no clock.

Audio goes the way program → framer → outbox → socket. The pacer says when, the ledger keeps the book of what was heard.
`history` holds the last frames that went out, so that a pause can take back what nobody has heard yet.

Under all of it a sound bed may play. It has no place in the queue: it is added to each frame that goes out, and where
none does it plays alone, which on the wire line is padding.
"""

from __future__ import annotations

from ..formats import FRAME_MS, SAMPLE_BYTES
from .bed import BED_LEAD_S, Bed, Bedded
from .cues import Cues
from .gaps import MIN_GAP_S, Gaps
from .ledger import Mark
from .pacer import EPSILON_S, MIN_LEAD_S

REMAINDER_WAIT_S = 0.2
"""How long part of a frame waits for the rest where its source is live, that is, not ahead of the listener."""

MAX_REWIND_S = 1.0
"""How far a pause can be rewound: 32 kB a connection at 16 kHz, kept while it speaks."""

_MOST_WAITING = 8  # more than a read of a server at its limit brings of one stream
_TRIM_FRAMES = 25  # half a second, and not for every frame of an echo

_AHEAD_S = REMAINDER_WAIT_S / 2  # a source this far ahead of the listener is not live
_REMAINDER_MARGIN_S = MIN_LEAD_S  # two frames: a remainder that is sent when it is to be played is heard too late

_ASK_AGAIN_S = 1.0  # where the peer is known not to have got what it should have heard

_new_tuple = tuple.__new__  # of a named one, past its own `__new__`, which takes three times as long


class Playout(Bedded):
    """The queue of one connection, and its schedule.

    Args:
        now_s: the time of the accept.
        rate_hz: the sample rate, until `change_rate`.
        lead_s: how far ahead of real time audio is sent.

    Attributes:
        has_more: something will be due by itself: `due_s` has to be asked.
        awaits_rest: more will be queued in time, so what is left of a frame waits for it, however long.
    """

    def __init__(self, now_s: float, rate_hz: int, lead_s: float) -> None:
        super().__init__(now_s, rate_hz, lead_s)
        self.gaps = Gaps()
        self.paused = self.has_more = self.awaits_rest = False
        self._queued_at_s = now_s  # when audio was last queued
        self._audio_since_s = now_s  # since when there is something to send
        self._repeated = 0  # samples that were heard before the pause, and will be again, because a frame is whole
        self._live = True  # whether the source was not ahead of the listener when it last brought something

    # What goes in

    def push_live(self, pcm: bytes, now_s: float) -> Mark | None:
        """Move one whole frame that is due to the outbox, where at most such frames wait: the live case, in few steps.

        Returns the mark of it; None where it did nothing, and the general way has to be taken.
        """
        size_bytes, waiting = len(pcm), len(self.outbox)
        if size_bytes != self.frame_bytes or self.has_more or waiting > _MOST_WAITING or not size_bytes:
            return None
        samples = self._frame_samples
        pacer = self.pacer
        anchor_s, before, total_samples, unwritten_samples = pacer.line
        ahead_s = anchor_s + before / pacer.rate_hz - now_s
        # Frames that came in one read wait together for one write; whatever else is not written goes first.
        if unwritten_samples != waiting * samples or ahead_s > pacer.lead_s + EPSILON_S:
            return None
        if ahead_s < 0.0:  # the listener had run dry, and hears it from now on
            if waiting:
                return None
            anchor_s, before = now_s, 0
        pacer.line = (anchor_s, before + samples, total_samples + samples, unwritten_samples + samples)
        self.outbox.append(pcm)
        self._sent_at_s = now_s
        self.frames_out += 1
        self.bytes_out += size_bytes
        if ahead_s <= -MIN_GAP_S or self._ends:
            self._audio_since_s = now_s
            self._look_dry(-ahead_s, now_s, total_samples)
        self._live = ahead_s < _AHEAD_S
        history = self._history
        history.append(pcm)
        if len(history) > _TRIM_FRAMES:
            self._trim_history(now_s)
            self.has_more = not self._live
        ledger = self.ledger
        ledger.wire += samples
        ledger.cut += samples
        start = ledger.accepted
        ledger.accepted = start + samples
        return _new_tuple(Mark, (ledger.epoch, start, samples))

    def fill(self, stand_in: bytes, pcm: bytes) -> None:
        """Put the sound of the frame that was pushed last where something has stood for it."""
        outbox, history = self.outbox, self._history
        if outbox and outbox[-1] is stand_in:
            outbox[-1] = pcm
        else:
            outbox[:] = [pcm if payload is stand_in else payload for payload in outbox]
        if history and history[-1] is stand_in:
            history[-1] = pcm

    def push(self, pcm: bytes, now_s: float, *, end: bool) -> None:
        """Queue audio behind what is queued; `end` pads the last frame now."""
        if pcm:
            if self._framer.size_bytes < self.frame_bytes:
                self._audio_since_s = now_s
            self._queued_at_s = now_s
            self.ledger.pushed(len(pcm) // SAMPLE_BYTES)
            self._framer.push(pcm)
        if end:
            self._pad(now_s)
            if not self._ends or self._ends[-1] != self.ledger.wire:
                self._ends.append(self.ledger.wire)
        if pcm:
            waiting_bytes = self._framer.size_bytes
            whole_bytes = waiting_bytes - waiting_bytes % self.frame_bytes
            most_s = _AHEAD_S if self.bed is None else _AHEAD_S + BED_LEAD_S
            self._live = self.ahead_s(now_s) + self.seconds(whole_bytes) < most_s
        self.has_more = True

    def notify(self, text: str, wire: int) -> None:
        """Send a text right behind the audio that ends at `wire`."""
        self._cues = self._cues or Cues()
        self._cues.add(wire, text)
        self.outbox.extend(self._cues.due(self.pacer.total_samples))
        self.has_more = True

    # What is recalled

    def drop(self, now_s: float) -> tuple[int, int, int]:
        """Drop all audio that was not heard, the schedule, the bed, and a pause. Texts stay in the outbox.

        Returns samples of the program: heard since the drop before; dropped; and how many of those had gone out.
        """
        self._unsend()
        heard_wire, sent_wire = self.heard_wire(now_s), self.pacer.total_samples
        sent = self.ledger.heard(sent_wire) - self.ledger.heard(heard_wire)
        heard, dropped = self.ledger.end_epoch(heard_wire)
        self._recall_cues(heard_wire)
        self._cues = None
        self._framer.clear()
        self._ends.clear()
        self._history.clear()
        self.pacer.reset(self.ledger.wire)
        self.bed = self._alone_from = None
        self.paused = self.has_more = self.awaits_rest = False
        return heard, dropped, sent

    def change_rate(self, rate_hz: int) -> None:
        """Go on at another rate, on a new schedule: what has not gone out is cut anew. A bed has one rate, and ends."""
        self._unsend()
        self.bed = self._alone_from = None
        self._recall_cues(self.pacer.total_samples)
        self._history.clear()
        self.pacer.rate_hz = rate_hz
        self.pacer.reset(self.pacer.total_samples)
        if self.frame_bytes:
            self.know_format()

    def know_format(self) -> None:
        """The rate is that of the connection: from now on frames have a size."""
        self._frame_samples = self.pacer.rate_hz * FRAME_MS // 1000
        self.frame_bytes = self._frame_samples * SAMPLE_BYTES

    def pause(self, now_s: float) -> None:
        """Stop sending, and take back what went out and was not heard."""
        if self.paused:
            return
        self._unsend()
        self._trim_history(now_s)
        heard_wire = self.heard_wire(now_s)
        self._drop_alone(heard_wire)
        self._alone_from = None
        if self.bed is not None:
            self.bed.fall_silent()
        self._back(self.pacer.total_samples - heard_wire, now_s)
        self._repeated = heard_wire - self.pacer.total_samples
        self._recall_cues(heard_wire)
        self.paused = self.has_more = True

    def resume(self, rewind_s: float, now_s: float) -> None:
        """Go on where the pause began, or `rewind_s` before."""
        if not self.paused:
            return
        self._back(round(rewind_s * self.pacer.rate_hz) - self._repeated, now_s)
        self.paused = False
        self.has_more = True
        self._audio_since_s = now_s

    # What to do now

    def due_s(self, now_s: float) -> float | None:
        """When more will be due; None where nothing waits for its time. What is due by now has moved to the outbox."""
        if self._cues is not None:
            self._cues.heard(self.heard_wire(now_s))
            self._cues = self._cues or None
        if self.paused:
            return None
        if self.bed is not None and self.bed.is_over:
            self.bed = None
        framer, frame_bytes = self._framer, self.frame_bytes
        if framer.size_bytes >= frame_bytes > 0:
            self._send_due(now_s)
        if 0 < framer.size_bytes < frame_bytes and not self.awaits_rest and now_s >= self._remainder_due_s():
            self._send_due(now_s)
        if self.bed is not None:
            return self._bed_due_s(self.bed, now_s)
        if framer.size_bytes:
            if framer.size_bytes >= frame_bytes:
                return self.pacer.due_s
            return None if self.awaits_rest else self._remainder_due_s()
        if not self.unheard_s(now_s):
            self._cues = None
            if not self._live:
                self._history.clear()
            self._alone_from = None
            self.has_more = False
            return None
        is_rewindable = not self._live and bool(self._history)
        self.has_more = self._cues is not None or is_rewindable or self._alone_from is not None
        position_s = self.pacer.position_s  # when all has been heard, and something can be forgotten
        return None if not self.has_more else position_s if position_s > now_s else now_s + _ASK_AGAIN_S

    def written(self, now_s: float) -> None:
        """All that was in the outbox is on the wire by now."""
        pacer = self.pacer
        anchor_s, samples, total_samples, unwritten_samples = pacer.line
        if unwritten_samples:
            if anchor_s + samples / pacer.rate_hz >= now_s:  # in time, as nearly always
                pacer.line = (anchor_s, samples, total_samples, 0)
            else:
                dry_s = pacer.written(now_s)
                if self._alone_from is None:  # else nothing that is being said has a gap
                    self.gaps.written(dry_s, now_s - self._sent_at_s, now_s)

    # Inside

    def _pad(self, now_s: float) -> None:
        """Part of a frame at the end becomes a whole one, with silence."""
        if self.frame_bytes:
            padding_bytes = -self._framer.size_bytes % self.frame_bytes
            if padding_bytes:
                self._framer.push(bytes(padding_bytes))
                self.ledger.padded(padding_bytes // SAMPLE_BYTES, self.heard_wire(now_s))

    def _remainder_due_s(self) -> float:
        """When the remainder goes out padded, all frames before it being sent."""
        due_s = self.pacer.position_s - _REMAINDER_MARGIN_S
        return max(due_s, self._queued_at_s + REMAINDER_WAIT_S) if self._live else due_s

    def _send_due(self, now_s: float) -> None:
        budget_bytes = self.pacer.budget_samples(now_s) * SAMPLE_BYTES
        if not budget_bytes:
            return
        framer, outbox, history, cues = self._framer, self.outbox, self._history, self._cues
        frame_bytes, total_samples, bed = self.frame_bytes, self.pacer.total_samples, self.bed
        self._alone_from = None
        if framer.size_bytes < frame_bytes:  # only the remainder is left, and nobody brought the rest in time
            self._pad(now_s)
        sent_bytes = 0
        while framer.size_bytes >= frame_bytes and sent_bytes + frame_bytes <= budget_bytes:
            frame = framer.read(frame_bytes)
            sent_bytes += frame_bytes
            outbox.append(frame if bed is None else bed.mix(frame))
            history.append(frame)
            if cues is not None:
                outbox.extend(cues.due(total_samples + sent_bytes // SAMPLE_BYTES))
        samples = sent_bytes // SAMPLE_BYTES
        dry_s = self.pacer.sent(samples, now_s)
        self.frames_out += sent_bytes // frame_bytes
        self.bytes_out += sent_bytes
        if dry_s >= MIN_GAP_S or self._ends:
            self._look_dry(dry_s, now_s, total_samples)
        self._sent_at_s = now_s
        if len(history) > _TRIM_FRAMES:
            self._trim_history(now_s)

    def _bed_due_s(self, bed: Bed, now_s: float) -> float:
        """What is due of the bed alone has moved to the outbox; tells when more of anything will be due."""
        framer, frame_bytes = self._framer, self.frame_bytes
        if framer.size_bytes >= frame_bytes:
            return self.pacer.due_s
        if now_s >= self._alone_due_s - EPSILON_S:
            if framer.size_bytes:  # the bed would have a hole if the remainder waited any longer
                self._send_due(now_s)
            self._send_alone(bed, now_s)
            if len(self._history) > _TRIM_FRAMES:
                self._trim_history(now_s)
        due_s = self._alone_due_s
        return min(due_s, self._remainder_due_s()) if framer.size_bytes and not self.awaits_rest else due_s

    def _look_dry(self, dry_s: float, now_s: float, total_samples: int) -> None:
        """Note a gap where the listener was dry, unless what went out before, `total_samples`, ended an utterance."""
        ends = self._ends
        while ends and ends[0] < total_samples:
            del ends[0]
        if dry_s > 0.0 and (not ends or ends[0] != total_samples):
            self.gaps.dry(dry_s, now_s, self._audio_since_s)

    def _recall_cues(self, wire: int) -> None:
        """The audio behind `wire` waits again, or is dropped: so the texts that follow it do, too."""
        for text in self._cues.recall(wire, self.ledger.wire) if self._cues is not None else ():
            if text in self.outbox:
                self.outbox.remove(text)

    def _trim_history(self, now_s: float) -> None:
        """Forget what can't be asked for again; a live source has nothing to rewind."""
        unheard_s = max(self.ahead_s(now_s), self.unheard_s(now_s))  # a blocked socket may hold what is overdue
        self._history.trim(self.pacer.rate_hz * SAMPLE_BYTES * (unheard_s + (0.0 if self._live else MAX_REWIND_S)))

    def _unsend(self) -> None:
        """Put audio that the socket has not accepted back in front of the queue; texts stay in the outbox."""
        unsent = [payload for payload in self.outbox if isinstance(payload, bytes)]
        if not unsent:
            return
        self.outbox[:] = [payload for payload in self.outbox if isinstance(payload, str)]
        unsent_bytes = sum(map(len, unsent))
        self.frames_out -= len(unsent)
        self.bytes_out -= unsent_bytes
        alone = self._drop_alone(self.pacer.total_samples - unsent_bytes // SAMPLE_BYTES)
        unsent = unsent[: len(unsent) - alone]
        self.pacer.unsent(sum(map(len, unsent)) // SAMPLE_BYTES)
        for frame in reversed(unsent):  # as the program gave it, without the bed
            self._framer.put_back(self._history.pop() if self._history else frame)
        self.has_more = True

    def _back(self, samples: int, now_s: float) -> None:
        """Put at least so many of the samples that went out last in front of the queue again, in whole frames."""
        self.ledger.rewind(self.heard_wire(now_s))
        back = 0
        while self._history and back < samples:
            frame = self._history.pop()
            self._framer.put_back(frame)
            back += len(frame) // SAMPLE_BYTES
        self.pacer.reset(self.pacer.total_samples - back)
