"""A recorded call once more: the same messages, at the same times, to the same program; and where its answer differs.

It runs on asyncio and trio, in real or virtual time. What the session sent is sent as it was, with acknowledgements.
A recording that begins in the middle, as a ring's does, gets a first message made of what is known of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc

from ..audio.levels import loud_ticks
from ..close_codes import ABNORMAL, NORMAL, SERVICE_RESTART
from ..core.json_audio import JSONTransport
from ..core.wire import first_message, load_object, read_object
from ..extensions import RECORDER
from ..formats import AudioFormat
from ..recording import Entry, Kind, Recording
from ..recording.recorder import SoleRecorder
from ..runtime import call_clock, single_error
from .app_carrier import AppCarrier, Application
from .carrier import Lost
from .compare import similarity
from .form import AudioForm
from .opening import APP_END_S
from .report import Timeline
from .report.timeline import format_of

EARLY_S = 0.05
"""A recording that begins in the middle is replayed from this long before its first message."""

END_S = 10.0
"""How long a program that ended the call by itself may take to do so again."""

SOUND_S = 1.0
"""So long a piece of what was heard is looked for in what is heard now."""

OTHER = 0.5
"""Below this similarity a piece is something else; a late frame or two, which move the rest of it, leave more."""

SHIFT_S = 0.1
"""Speech that begins or ends this much earlier or later is still the same: a batch of frames."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the answer is another one.

    Attributes:
        at_s: when, on the time line of the recording.
        what: in words.
        recorded: what it was; empty: nothing.
        replayed: what it is now; empty: nothing.
    """

    at_s: float
    what: str
    recorded: str
    replayed: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay.

    Attributes:
        recording: of the replay, on the time line of the one that was replayed.
        differences: in the order of time.
        errors: what handlers raised in the replay: the last lines of their tracebacks.
        same_error: what was raised was raised before; None: nothing was, either time.
        failed_at_s: when the first of them was raised; None: none was.
        traceback: of the first of them; empty: none was raised.
    """

    recording: Recording
    differences: tuple[Difference, ...]
    errors: tuple[str, ...]
    same_error: bool | None
    failed_at_s: float | None = None
    traceback: str = ""

    @property
    def sentence(self) -> str:
        """What there is to know first."""
        at = "" if self.failed_at_s is None else f" at {self.failed_at_s:.2f} s,"
        if self.same_error:
            return f"It fails again,{at} with the same error: {self.errors[0]}"
        if self.errors:
            return f"It fails,{at} and not as before: {self.errors[0]}"
        if not self.differences:
            return "The answer is the same."
        first = self.differences[0]
        return f"The answer differs from {first.at_s:.2f} s on: {first.what}."


async def replay(
    recording: Recording, app: Application, path: str = "/", *, state: dict[str, Any] | None = None
) -> Replayed:
    """Replay a recorded call to an ASGI application in this process.

    Args:
        recording: seen by the server or by the router; to its end, or as far as it goes.
        app: the application; with a lifespan, let that run around this.
        path: what is asked for.
        state: of its lifespan. What it records by itself it does not record of a replay.

    Raises:
        DialError: the application refused the connection.
        MissingExtraError: sound has to be compared, and numpy is not installed.
    """
    again = _Replay(recording)
    with single_error():
        await again.run(app, path, state)
    recorded, replayed = _errors(recording), _errors(again.recording)
    failed_at_s, failed = next(again.recording.notes("error"), (None, {}))
    return Replayed(
        again.recording,
        tuple(sorted(_differences(recording, again.recording), key=lambda one: one.at_s)),
        tuple(replayed),
        recorded == replayed if recorded or replayed else None,
        failed_at_s,
        str(failed.get("text", "")),
    )


class _Replay:
    """One replay, as the receiver of its carrier."""

    def __init__(self, recording: Recording) -> None:
        audio_format = format_of(recording)
        self._is_json = recording.meta.get("transport") == "json"
        self._form = AudioForm(JSONTransport() if self._is_json else None)
        self._entries = _to_server(recording, audio_format)
        self._begin_s = min(0.0, self._entries[0].at_s) if _begins(recording) else self._entries[0].at_s
        self._closed = next((data for _, data in recording.notes("closed")), None)
        self._end_s = recording.duration_s
        self._clock = call_clock()
        self._origin_s = 0.0
        self._over = anyio.Event()
        self.recording = Recording({key: recording.meta[key] for key in _KEPT_META if key in recording.meta})

    async def run(self, app: Application, path: str, state: dict[str, Any] | None) -> None:
        """Replay it."""
        server = SoleRecorder()

        async def recorded(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"][RECORDER] = server
            await app(scope, receive, send)

        carrier = AppCarrier(recorded, path, _headers(self._entries), state)
        async with anyio.create_task_group() as tasks:
            await carrier.connect(tasks)
            self._origin_s = self._clock() - self._begin_s
            if self._is_json and server.audio_field is not None:
                self._form = AudioForm(JSONTransport(server.audio_field))
            carrier.start(self)
            for entry in self._entries:
                await anyio.sleep(max(0.0, self._origin_s + entry.at_s - self._clock()))
                if self._over.is_set():
                    break
                is_audio = entry.kind is Kind.AUDIO_TO_SERVER
                carrier.write([self._form.write(entry.payload) if is_audio else entry.text])
                self.recording.entries.append(entry)
            await self._end(carrier)
            tasks.cancel_scope.deadline = anyio.current_time() + APP_END_S
        for seen in server.recordings:
            shift_s = float(seen.meta.get("origin_s", self._origin_s)) - self._origin_s
            # It knows in which field its audio goes out, where that is JSON.
            self.recording.entries = [entry for entry in self.recording.entries if entry.kind not in _FROM_SERVER]
            for entry in seen.entries:
                if entry.kind in _FROM_SERVER:
                    self.recording.add(entry.at_s + shift_s, entry.kind, entry.payload)
                elif entry.kind is Kind.NOTE and (data := entry.data).get("note") in ("gap", "log", "error"):
                    self.recording.note(entry.at_s + shift_s, data.pop("note"), **data)
        self.recording.entries.sort(key=lambda entry: entry.at_s)

    def message_received(self, message: bytes | str, *, is_fragmented: bool = False) -> None:
        """See `Receiver`."""
        content = self._form.read(message)
        at_s = self._clock() - self._origin_s
        if isinstance(content, bytes):
            self.recording.add(at_s, Kind.AUDIO_FROM_SERVER, content)
        elif content is not None:
            self.recording.add(at_s, Kind.TEXT_FROM_SERVER, content.encode())

    def lost(self, lost: Lost) -> None:
        """See `Receiver`."""
        by = "session" if lost.by == "simulator" else "program"
        self.recording.note(self._clock() - self._origin_s, "closed", code=lost.code, reason=lost.reason, by=by)
        self._over.set()

    async def _end(self, carrier: AppCarrier) -> None:
        """End it as it ended; a call of a killed process ends with its recording."""
        closed = self._closed or {"by": "session", "code": NORMAL}
        code = closed.get("code")
        await anyio.sleep(max(0.0, self._origin_s + self._end_s - self._clock()))
        if closed.get("by") not in ("session", "router", "simulator", "network") and not _is_stop(closed):
            with anyio.move_on_after(END_S):
                await self._over.wait()
        if closed.get("by") == "network" or code == ABNORMAL:
            carrier.abort("as it was recorded")
        elif closed.get("by") in ("session", "router", "simulator") and isinstance(code, int):
            carrier.close(code, "")
        else:
            carrier.close(NORMAL, "")


_FROM_SERVER = (Kind.AUDIO_FROM_SERVER, Kind.TEXT_FROM_SERVER)
_KEPT_META = ("seen_by", "rate_hz", "frame_ms", "transport", "router", "place")


def _begins(recording: Recording) -> bool:
    """Whether it has the first message."""
    return any(entry.kind is Kind.TEXT_TO_SERVER and _is_first(entry) for entry in recording.entries)


def _is_first(entry: Entry) -> bool:
    return type(read_object(entry.text, load_object(entry.text))).__name__ == "Connected"


def _to_server(recording: Recording, audio_format: AudioFormat) -> list[Entry]:
    """What the session sent, and a first message before it where the recording has none."""
    entries = [entry for entry in recording.entries if entry.kind in (Kind.AUDIO_TO_SERVER, Kind.TEXT_TO_SERVER)]
    if _begins(recording):
        return entries
    at_s = entries[0].at_s - EARLY_S if entries else 0.0
    made_up = first_message(audio_format, recording.meta.get("custom") or {})
    return [Entry(at_s, Kind.TEXT_TO_SERVER, made_up.encode()), *entries]


def _headers(entries: list[Entry]) -> list[tuple[str, str]]:
    """The custom keys of the first message, as the headers of the request that they also are."""
    data = next((load_object(entry.text) or {} for entry in entries if entry.kind is Kind.TEXT_TO_SERVER), {})
    return [(name, value) for name, value in data.items() if name not in ("content-type", "event") and _is_plain(value)]


def _is_stop(closed: dict[str, Any]) -> bool:
    """Whether the call ended because the server stopped."""
    return closed.get("code") == SERVICE_RESTART and closed.get("by") in ("server", "library")


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _errors(recording: Recording) -> list[str]:
    """The last line of each error of a handler: what it was, whatever the line numbers before it."""
    return [str(data.get("text", "")).strip().splitlines()[-1] for _, data in recording.notes("error")]


def _differences(recorded: Recording, replayed: Recording) -> list[Difference]:
    found = []
    texts = [[entry for entry in one.entries if entry.kind is Kind.TEXT_FROM_SERVER] for one in (recorded, replayed)]
    for before, after in zip(*texts, strict=False):
        if before.payload != after.payload:
            found.append(Difference(before.at_s, "it sends another text", before.text, after.text))
            break
    else:
        before_count, after_count = map(len, texts)
        if before_count != after_count:
            longer = max(texts, key=len)
            extra = longer[min(before_count, after_count)]
            what = "it sends a text less" if before_count > after_count else "it sends one text more"
            told = (extra.text, "") if before_count > after_count else ("", extra.text)
            found.append(Difference(extra.at_s, what, *told))
    found += _heard_otherwise(recorded, replayed)
    ends = [next((data for _, data in one.notes("closed")), None) for one in (recorded, replayed)]
    if ends[0] is None or _is_stop(ends[0]):  # nobody knows how it had gone on
        return found
    if ends[1] is not None and ends[0].get("code") != ends[1].get("code"):
        codes = [f"{end.get('code')} by the {end.get('by')}" for end in ends if end is not None]
        found.append(Difference(recorded.duration_s, "it ends otherwise", *codes))
    return found


def _heard_otherwise(recorded: Recording, replayed: Recording) -> list[Difference]:
    """Where something loud is heard in the one, and not in the other."""
    lines = [Timeline.of(one) for one in (recorded, replayed)]
    spans = []
    for line in lines:
        frame_s = line.audio_format.frame_s
        spans.append([line.begin_s + tick * frame_s for tick in loud_ticks(line.heard, line.audio_format)])
    found = _sounds_otherwise(*lines)
    for mine, other, what in (
        (spans[0], spans[1], "something isn't heard that was"),
        (spans[1], spans[0], "something is heard that was not"),
    ):
        missing = _missing(mine, other)
        if missing is not None:
            told = ("speech", "silence") if mine is spans[0] else ("silence", "speech")
            found.append(Difference(missing, what, *told))
    return found


def _sounds_otherwise(recorded: Timeline, replayed: Timeline) -> list[Difference]:
    """Where something loud is heard in both, and it is something else."""
    audio_format = recorded.audio_format
    frame_s, frame_bytes = audio_format.frame_s, audio_format.frame_bytes
    piece, slack = (round(span_s / frame_s) for span_s in (SOUND_S, SHIFT_S))
    shift = round((recorded.begin_s - replayed.begin_s) / frame_s)
    next_tick = 0
    for tick in loud_ticks(recorded.heard, audio_format):
        if tick < next_tick:
            continue
        next_tick = tick + piece
        was = recorded.heard[tick * frame_bytes : next_tick * frame_bytes]
        first, last = (max(0, at + shift) * frame_bytes for at in (tick - slack, next_tick + slack))
        now = replayed.heard[first:last]
        if was not in now and any(loud_ticks(now, audio_format)) and similarity(was, now) < OTHER:
            return [Difference(recorded.begin_s + tick * frame_s, "something else is heard", "speech", "other speech")]
    return []


def _missing(mine: list[float], other: list[float]) -> float | None:
    """The first time in `mine` that has none in `other` near it."""
    at = 0
    for at_s in mine:
        while at < len(other) and other[at] < at_s - SHIFT_S:
            at += 1
        if at == len(other) or other[at] > at_s + SHIFT_S:
            return at_s
    return None
