"""A recorded call on one time line: what was said, what was heard, and all that happened.

A router hears the recording once more, so every number comes from the messages and their times alone. Where the server
recorded, what was heard is what a router that obeys every clear command has played.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...audio.levels import loud_ticks
from ...formats import AudioFormat
from ...recording import Kind, Recording
from ..router import Router
from ..rules import LENIENT, rules_of
from .hole import Cause, Hole, explained, holes_of
from .noted import Event, Span, events_of, faults_of, mutes_of, noted_gaps
from .placed import mixed, place, utterances
from .turns import Turns, Utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A recorded call. All times are those of the recording, in seconds.

    Attributes:
        recording: of which it is.
        audio_format: of the call.
        begin_s: its first moment: 0, or later where the recording begins in the middle of the call.
        end_s: its last moment.
        router: the router that has heard it, at its end.
        said: what the caller said, from `begin_s` on; 16-bit mono PCM, silence where nothing was.
        heard: what the listener heard, from `begin_s` on; the same.
        levels: how much audio the router's buffer held (when, seconds of audio); between two of them it drains evenly.
        sent_s: when each frame went to the server.
        received_s: when each frame of the server came.
        gaps, pauses: the holes in what was heard.
        utterances: what the caller said.
        turns: greeting, answers and interruptions.
        mutes: while the caller was muted.
        faults: while the network was disturbed on purpose.
        server_gaps: the gaps that the server knows of, with their causes.
        events: texts both ways, and notes, in the order of time.
        wrong_transport: how many messages of the server had audio in another form than was agreed.
        fragmented: how many came in several WebSocket frames.
    """

    recording: Recording
    audio_format: AudioFormat
    begin_s: float
    end_s: float
    router: Router
    said: bytes = field(repr=False)
    heard: bytes = field(repr=False)
    levels: list[tuple[float, float]] = field(repr=False)
    sent_s: list[float] = field(repr=False)
    received_s: list[float] = field(repr=False)
    gaps: tuple[Hole, ...]
    pauses: tuple[Hole, ...]
    utterances: list[Utterance]
    turns: Turns
    mutes: list[Span]
    faults: list[Span]
    server_gaps: list[Cause]
    events: list[Event]
    wrong_transport: int
    fragmented: int

    @classmethod
    def of(cls, recording: Recording) -> Timeline:
        """Hear a recording once more."""
        # Stable: a note of something that lasted was written at its end and bears the time of its beginning.
        ordered = Recording(recording.meta, sorted(recording.entries, key=lambda entry: entry.at_s))
        audio_format = format_of(ordered)
        begin_s = _begin_s(ordered, audio_format)
        heard = _Heard(ordered, audio_format, begin_s)
        frame_s = audio_format.frame_s
        to_server = [(entry.at_s, entry.payload) for entry in ordered.entries if entry.kind is Kind.AUDIO_TO_SERVER]
        placed = place(to_server, frame_s)
        said = utterances(placed, ordered.notes("said"), frame_s)
        loud = loud_ticks(heard.router.heard, audio_format)
        gaps, pauses = holes_of(
            heard.router, set(loud), begin_s=begin_s, said_until_s=[utterance.end_s for utterance in said]
        )
        server_gaps, faults = noted_gaps(ordered), faults_of(ordered)
        on_purpose = [
            Cause(f"network: {span.name}, on purpose", span.at_s, span.until_s)
            for span in faults
            if span.name != "delay"  # what comes later, but evenly, leaves no gap
        ]
        return cls(
            recording=ordered,
            audio_format=audio_format,
            begin_s=begin_s,
            end_s=max(begin_s, ordered.duration_s),
            router=heard.router,
            said=mixed(placed, audio_format, begin_s, begin_s + heard.router.tick * frame_s),
            heard=bytes(heard.router.heard),
            levels=heard.levels,
            sent_s=[at_s for at_s, _ in to_server],
            received_s=heard.received_s,
            gaps=tuple(explained(gap, server_gaps, on_purpose) for gap in gaps),
            pauses=pauses,
            utterances=said,
            turns=Turns(said, [begin_s + tick * frame_s for tick in loud], heard.clears_s, frame_s),
            mutes=mutes_of(ordered),
            faults=faults,
            server_gaps=server_gaps,
            events=events_of(ordered),
            wrong_transport=sum(1 for _ in ordered.notes("wrong transport")),
            fragmented=sum(1 for _ in ordered.notes("fragmented")),
        )

    @property
    def seen_by_server(self) -> bool:
        """Whether the server recorded it: then nobody knows what the router really made of it."""
        return self.recording.meta.get("seen_by") == "server"

    @property
    def intervals(self) -> list[tuple[float, float]]:
        """When each audio message of the server came, and how long after the one before it; none behind a pause."""
        return [
            (at_s, at_s - before_s)
            for before_s, at_s in zip(self.received_s, self.received_s[1:], strict=False)
            if not any(pause.at_s < at_s <= pause.until_s for pause in self.pauses)
        ]


class _Heard:
    """Plays a recording to a router."""

    def __init__(self, recording: Recording, audio_format: AudioFormat, begin_s: float) -> None:
        rules = LENIENT
        if recording.meta.get("seen_by") != "server" and "router" in recording.meta:
            rules = rules_of(str(recording.meta["router"]))
        self.router = Router(audio_format, begin_s, rules=rules)
        self.levels: list[tuple[float, float]] = [(begin_s, 0.0)]
        self.received_s: list[float] = []
        self.clears_s: list[float] = []
        for entry in recording.entries:
            if entry.kind is Kind.AUDIO_FROM_SERVER:
                self._level(entry.at_s)
                self.router.receive_bytes(entry.payload, entry.at_s)
                self.received_s.append(entry.at_s)
                self.levels.append((entry.at_s, self.router.buffered_s))
            elif entry.kind is Kind.TEXT_FROM_SERVER:
                clears = self.router.clears
                self._level(entry.at_s)
                self.router.receive_text(entry.text, entry.at_s)
                if self.router.clears > clears:
                    self.clears_s.append(entry.at_s)
                    self.levels.append((entry.at_s, 0.0))
        if recording.entries:
            self._level(max(begin_s, recording.duration_s))

    def _level(self, at_s: float) -> None:
        """Note what is left now, and when it was played to the end, if it was."""
        self.router.advance(at_s)
        before_s, level_s = self.levels[-1]
        left_s = self.router.buffered_s
        if not left_s and level_s and before_s + level_s < at_s:
            self.levels.append((before_s + level_s, 0.0))
        self.levels.append((at_s, left_s))


def format_of(recording: Recording) -> AudioFormat:
    """The audio format of a recording: as its `meta` says, its first message, or its first frame; else 16 kHz."""
    frame_ms = recording.meta.get("frame_ms", 20)
    rate_hz = recording.meta.get("rate_hz")
    if isinstance(rate_hz, int) and isinstance(frame_ms, int):
        return AudioFormat(rate_hz, frame_ms)
    for entry in recording.entries:
        found = None
        if entry.kind is Kind.TEXT_TO_SERVER:
            found = AudioFormat.from_content_type(str(entry.data.get("content-type", "")))
        elif entry.kind in (Kind.AUDIO_TO_SERVER, Kind.AUDIO_FROM_SERVER):
            found = AudioFormat.from_frame_bytes(len(entry.payload))
        if found is not None:
            return found
    return AudioFormat()


def _begin_s(recording: Recording, audio_format: AudioFormat) -> float:
    """0 where the first message is there; else the tick of the first entry: the recording begins in the middle."""
    first = next((entry for entry in recording.entries if entry.kind is not Kind.NOTE), None)
    if first is None or (first.kind is Kind.TEXT_TO_SERVER and "content-type" in first.data):
        return 0.0
    begin_s = max(0.0, recording.entries[0].at_s)
    return math.floor(begin_s / audio_format.frame_s + 1e-6) * audio_format.frame_s
