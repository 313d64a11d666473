"""What the caller said, put on the time line: frames come late and in bursts, speech does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...audio.levels import is_loud
from ...formats import SAMPLE_BYTES, AudioFormat
from .turns import Utterance

_JITTER_S = 0.06
"""A hole between two frames that is shorter comes from the network or the machine, not from the caller."""

_SENTENCE_PAUSE_S = 0.8
"""Where no script tells, a pause up to this long stands within an utterance."""

_SHORTEST_S = 0.06
"""Where no script tells, a sound that is shorter is no utterance."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame of the caller, when it was said, and whether it is loud."""

    at_s: float
    frame: bytes
    loud: bool


def place(frames: Sequence[tuple[float, bytes]], frame_s: float) -> list[Placed]:
    """Put frames, with the times at which they came, where they were said.

    None was said after it came, nor two at once: so a burst behind a stall fills the time of the stall.
    """
    at_s: list[float] = [0.0] * len(frames)
    latest_s = float("inf")
    for index in range(len(frames) - 1, -1, -1):
        latest_s = min(frames[index][0], latest_s - frame_s)
        at_s[index] = latest_s
    end_s = float("-inf")
    placed = []
    for begin_s, (_, frame) in zip(at_s, frames, strict=True):
        start_s = end_s if abs(begin_s - end_s) < _JITTER_S else begin_s
        placed.append(Placed(start_s, frame, is_loud(frame)))
        end_s = start_s + frame_s
    return placed


def mixed(placed: Iterable[Placed], audio_format: AudioFormat, begin_s: float, end_s: float) -> bytes:
    """All of it as PCM from `begin_s` to `end_s`; silence where nothing was said."""
    pcm = bytearray(max(0, round((end_s - begin_s) * audio_format.rate_hz)) * SAMPLE_BYTES)
    for piece in placed:
        at = round((piece.at_s - begin_s) * audio_format.rate_hz) * SAMPLE_BYTES
        if 0 <= at < len(pcm):
            frame = piece.frame[: len(pcm) - at]
            pcm[at : at + len(frame)] = frame
    return bytes(pcm)


def utterances(
    placed: Sequence[Placed], notes: Iterable[tuple[float, Mapping[str, Any]]], frame_s: float
) -> list[Utterance]:
    """What was said: as the `said` notes tell, and what is loud besides."""
    found: list[Utterance] = []
    rest = list(placed)
    for start_s, data in notes:
        until_s = data.get("until_s")
        if not isinstance(until_s, int | float):
            continue
        inside = [piece for piece in rest if start_s - frame_s / 2 <= piece.at_s < until_s - frame_s / 2]
        rest = [piece for piece in rest if not start_s - frame_s / 2 <= piece.at_s < until_s - frame_s / 2]
        if any(piece.loud for piece in inside):
            found.append(_utterance(inside, frame_s, str(data.get("name") or ""), data.get("interrupts") is True))
    stretch: list[Placed] = []
    for piece in filter(lambda piece: piece.loud, rest):
        if stretch and piece.at_s - stretch[-1].at_s > _SENTENCE_PAUSE_S:
            found += _unscripted(stretch, placed, frame_s)
            stretch = []
        stretch.append(piece)
    found += _unscripted(stretch, placed, frame_s)
    return sorted(found, key=lambda utterance: utterance.start_s)


def _unscripted(loud: Sequence[Placed], placed: Sequence[Placed], frame_s: float) -> list[Utterance]:
    if len(loud) * frame_s < _SHORTEST_S:
        return []
    inside = [piece for piece in placed if loud[0].at_s <= piece.at_s <= loud[-1].at_s]
    return [_utterance(inside, frame_s)]


def _utterance(inside: Sequence[Placed], frame_s: float, name: str = "", interrupts: bool = False) -> Utterance:
    loud = [index for index, piece in enumerate(inside) if piece.loud]
    speech = b"".join(piece.frame for piece in inside[loud[0] : loud[-1] + 1])
    return Utterance(inside[loud[0]].at_s, inside[loud[-1]].at_s + frame_s, name, interrupts, speech)
