"""What a recording tells besides audio: texts, mutes, faults, the gaps that the server noted, its log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from ...recording import Kind, Recording
from .hole import Cause

EventKind = Literal["to server", "from server", "note", "log"]

_QUIET_NOTES = ("stats", "said", "wrong transport", "fragmented")  # shown in other places


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted; `until_s` is infinite where it lasted to the end."""

    name: str
    at_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one time.

    Attributes:
        at_s: when.
        kind: a text `to server` or `from server`, a `note`, or a line of the server's `log`.
        title: what it is, in a word or two: the name of the event, of the note, or the level of the line.
        text: all of it, in readable JSON where it is JSON.
    """

    at_s: float
    kind: EventKind
    title: str
    text: str


def pretty(text: str) -> str:
    """JSON with a line for each key; any other text as it is."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(data, indent=2, ensure_ascii=False) if isinstance(data, dict | list) else text


def events_of(recording: Recording) -> list[Event]:
    """Texts both ways and notes, in the order of time."""
    return [
        _event(entry.at_s, entry.kind, entry.text, entry.data)
        for entry in recording.entries
        if entry.kind in (Kind.TEXT_TO_SERVER, Kind.TEXT_FROM_SERVER)
        or (entry.kind is Kind.NOTE and entry.data.get("note") not in _QUIET_NOTES)
    ]


def _event(at_s: float, kind: Kind, text: str, data: dict[str, Any]) -> Event:
    if kind is not Kind.NOTE:
        title = data.get("event") or data.get("action") or ("key" if "digit" in data or "dtmf" in data else "text")
        return Event(at_s, "to server" if kind is Kind.TEXT_TO_SERVER else "from server", str(title), pretty(text))
    name = str(data.pop("note", "note"))
    if name == "log":
        return Event(at_s, "log", str(data.get("level") or "log"), str(data.get("text") or ""))
    return Event(
        at_s, "note", name, ", ".join(_words(name, *item) for item in data.items() if item[1] not in ("", None))
    )


def _words(note: str, key: str, value: object) -> str:
    """`until_s` 2.5 is "until 2.5 s"; what is called as the note needs no name."""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, float):
        value = f"{value:.3f}".rstrip("0").rstrip(".")
    if key.endswith("_s"):
        key, value = key.removesuffix("_s"), f"{value} s"
    return str(value) if key == note else f"{key} {value}"


def keys_of(recording: Recording) -> list[tuple[float, str]]:
    """The keys that were pressed, and when."""
    keys = []
    for entry in recording.entries:
        if entry.kind is Kind.TEXT_TO_SERVER:
            data = entry.data
            dtmf = data.get("dtmf")
            digit = dtmf.get("digit") if isinstance(dtmf, dict) else data.get("digit")
            if digit is not None:
                keys.append((entry.at_s, str(digit)))
    return keys


def mutes_of(recording: Recording) -> list[Span]:
    """While the caller was muted: by the notes; without any, by what the router told the server."""
    changes = [(at_s, data.get("active") is True) for at_s, data in recording.notes("muted")]
    if not changes:
        changes = [
            (entry.at_s, entry.data["active"] is False)
            for entry in recording.entries
            if entry.kind is Kind.TEXT_TO_SERVER and "active" in entry.data
        ]
    spans: list[Span] = []
    since_s: float | None = None
    for at_s, is_muted in changes:
        if is_muted and since_s is None:
            since_s = at_s
        elif not is_muted and since_s is not None:
            spans.append(Span("muted", since_s, at_s))
            since_s = None
    if since_s is not None:
        spans.append(Span("muted", since_s, float("inf")))
    return spans


def faults_of(recording: Recording) -> list[Span]:
    """While the network was disturbed on purpose."""
    spans = []
    for at_s, data in recording.notes("fault"):
        for_s = data.get("for_s")
        until_s = at_s + for_s if isinstance(for_s, int | float) else float("inf")
        spans.append(Span(str(data.get("fault") or "fault"), at_s, until_s))
    return spans


def noted_gaps(recording: Recording) -> list[Cause]:
    """The gaps that the server knows of."""
    causes = []
    for at_s, data in recording.notes("gap"):
        since_s, until_s = data.get("since_s", at_s), data.get("until_s", at_s)
        if isinstance(since_s, int | float) and isinstance(until_s, int | float):
            causes.append(Cause(str(data.get("cause") or "unknown"), since_s, until_s))
    return causes
