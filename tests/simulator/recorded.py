"""Recordings of calls that never were: a caller with real speech, and a server that does what a test wants."""

from __future__ import annotations

import json
import wave
from pathlib import Path

from vonage_audio_connector_server.audio.levels import loud_ticks
from vonage_audio_connector_server.core.wire import CLEAR_ACTION, CLEAR_EVENT
from vonage_audio_connector_server.formats import AudioFormat
from vonage_audio_connector_server.recording import Kind, Recording

AUDIO = Path(__file__).parents[2] / "examples" / "audio" / "librivox-2.wav"
FORMAT = AudioFormat()
FIRST = ' {"content-type":"audio/l16;rate=16000","event":"websocket:connected","bot":"travel"}'
LEAD_S = 0.2


def speech(seconds: float | None = None, audio_format: AudioFormat = FORMAT) -> bytes:
    """Real speech, in whole frames, from its first loud frame to its last one."""
    with wave.open(str(AUDIO)) as file:
        pcm: bytes = file.readframes(file.getnframes())
    loud = loud_ticks(pcm, FORMAT)
    pcm = pcm[loud[0] * 640 : (loud[-1] + 1) * 640]
    size = audio_format.frame_bytes
    return pcm if seconds is None else pcm[: round(seconds / audio_format.frame_s) * size]


class Call:
    """A call that is being made up; times are seconds since the accept.

    The caller's microphone is open all the time. The server sends 0.2 s ahead.
    """

    def __init__(self, seconds: float, *, seen_by: str = "router", audio_format: AudioFormat = FORMAT) -> None:
        self.recording = Recording({"seen_by": seen_by, "rate_hz": audio_format.rate_hz, "frame_ms": 20})
        if seen_by == "router":
            self.recording.meta["router"] = "lenient"
        self.audio_format = audio_format
        self.seconds = seconds
        self.silent: list[tuple[float, float]] = []
        self._said: list[tuple[float, bytes]] = []
        self.text_to_server(0.05, FIRST)

    def text_to_server(self, at_s: float, text: str) -> None:
        self.recording.add(at_s, Kind.TEXT_TO_SERVER, text.encode())

    def text_from_server(self, at_s: float, text: str) -> None:
        self.recording.add(at_s, Kind.TEXT_FROM_SERVER, text.encode())

    def says(self, at_s: float, pcm: bytes, *, name: str = "", interrupts: bool = False, noted: bool = True) -> float:
        """The caller speaks; returns when it has been said."""
        until_s = at_s + len(pcm) / 2 / self.audio_format.rate_hz
        self._said.append((at_s, pcm))
        if noted:
            data = {"note": "said", "until_s": until_s, "name": name, "interrupts": interrupts}
            self.recording.add(at_s, Kind.NOTE, json.dumps(data).encode())
        return until_s

    def answers(
        self, at_s: float, pcm: bytes, *, stall: tuple[float, float] | None = None, until_s: float = float("inf")
    ) -> float:
        """The server speaks from this time on; returns when it is over.

        `stall`: after so many seconds of it, nothing goes out for so long, and what is behind it is that much later.
        """
        frame_s, size = self.audio_format.frame_s, self.audio_format.frame_bytes
        for index in range(len(pcm) // size):
            due_s = at_s + index * frame_s
            if stall is not None and index * frame_s >= stall[0]:
                due_s += stall[1]
            sent_s = due_s if due_s == at_s else max(at_s, due_s - LEAD_S)
            if stall is not None and index * frame_s >= stall[0]:
                sent_s = max(sent_s, at_s + stall[0] + stall[1])
            if sent_s < until_s:
                self.recording.add(sent_s, Kind.AUDIO_FROM_SERVER, pcm[index * size : (index + 1) * size])
        return at_s + len(pcm) / size * frame_s + (stall[1] if stall is not None else 0.0)

    def flushes(self, at_s: float) -> None:
        for text in (CLEAR_EVENT, CLEAR_ACTION):
            self.text_from_server(at_s, text)

    def done(self, *, code: int = 1000, reason: str = "", by: str = "simulator") -> Recording:
        """The recording, with the microphone's frames in it."""
        frame_s, size = self.audio_format.frame_s, self.audio_format.frame_bytes
        frames: dict[int, bytes] = {}
        for at_s, pcm in self._said:
            first = round(at_s / frame_s)
            frames |= {first + index: pcm[index * size : (index + 1) * size] for index in range(len(pcm) // size)}
        for tick in range(3, round(self.seconds / frame_s)):
            at_s = tick * frame_s
            if not any(since_s <= at_s < until_s for since_s, until_s in self.silent):
                self.recording.add(at_s, Kind.AUDIO_TO_SERVER, frames.get(tick, bytes(size)))
        self.recording.note(self.seconds, "closed", code=code, reason=reason, by=by)
        self.recording.entries.sort(key=lambda entry: entry.at_s)
        return self.recording


def eventful() -> Recording:
    """A greeting, a question, an answer with a gap by a fault and one by the program, an interruption, an answer."""
    call = Call(17.0)
    whole = speech()
    call.answers(0.4, whole[: 640 * 60])
    asked_s = call.says(2.2, whole[640 * 10 : 640 * 100], name="question.wav")
    answered_s = call.answers(asked_s + 0.6, whole, stall=(1.0, 0.4))
    call.recording.note(asked_s + 1.5, "fault", fault="stall", for_s=0.5)
    asked_s = call.says(answered_s + 0.5, whole[640 * 30 : 640 * 90], name="next.wav")
    begun_s = asked_s + 0.8
    late_s = begun_s + 0.6
    stop_s = begun_s + 1.8
    call.answers(begun_s, whole, stall=(0.6, 0.26), until_s=stop_s + 0.14)
    call.recording.note(late_s, "gap", cause="producer late", since_s=late_s, until_s=late_s + 0.26)
    stopped_s = call.says(stop_s, whole[640 * 60 : 640 * 90], name="stop.wav", interrupts=True)
    call.flushes(stop_s + 0.14)
    call.answers(stopped_s + 0.5, whole[640 * 20 : 640 * 70])
    call.text_from_server(stopped_s + 0.5, json.dumps({"transcript": "and the <b>next</b> one", "words": [1, 2, 3]}))
    call.text_to_server(stopped_s + 2.0, '{"event":"websocket:dtmf","digit":"5","duration":260}')
    call.recording.note(stopped_s + 2.2, "log", level="WARNING", text="the handler took 0.3 s")
    call.recording.note(stopped_s + 2.3, "muted", active=True)
    call.recording.note(stopped_s + 2.8, "muted", active=False)
    call.silent.append((stopped_s + 2.3, stopped_s + 2.8))
    return call.done()


def many(count: int) -> list[Recording]:
    """As many calls, all alike but for how quickly they are answered; every seventh has a gap, every ninth talks on."""
    whole = speech()
    calls = []
    for index in range(count):
        call = Call(14.0)
        call.answers(0.3 + index % 3 * 0.1, whole[: 640 * 60])
        asked_s = call.says(2.2, whole[640 * 10 : 640 * 100], name="question.wav")
        begun_s = asked_s + 0.5 + index * 13 % 10 * 0.07
        stop_s = begun_s + 2.0
        silent_s = 1.2 if index % 9 == 4 else 0.1
        stall = (0.8, 0.3) if index % 7 == 3 else None
        if stall is not None:
            call.recording.note(begun_s + 1, "gap", cause="loop blocked", since_s=begun_s + 0.8, until_s=begun_s + 1.1)
        call.answers(begun_s, whole + whole, stall=stall, until_s=stop_s + silent_s)
        stopped_s = call.says(stop_s, whole[640 * 60 : 640 * 90], name="stop.wav", interrupts=True)
        call.flushes(stop_s + silent_s)
        call.answers(stopped_s + 0.9, whole[640 * 20 : 640 * 70])
        recording = call.done()
        recording.meta["connection_id"] = f"stream-{index + 1}"
        calls.append(recording)
    return calls
