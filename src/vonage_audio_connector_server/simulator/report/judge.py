"""What is right and what is wrong with a call: a verdict for each rule, and all of it in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...close_codes import WENT_WELL
from ...formats import AudioFormat
from ..rules import BUFFER_FRAMES
from .report import SimulationReport
from .turns import OBEYED_S, Interruption
from .verdict import Verdict

SAME = 0.9
"""What came back this similar is the question."""

FAR_AHEAD_S = 1.0
"""Who is further ahead relies on the router's clear command to be silent."""

BUSY_MS = 100.0
"""A simulator that is later than this measures itself."""


def verdicts_of(report: SimulationReport) -> tuple[Verdict, ...]:
    """One for each rule, in the order of a call."""
    return tuple(_verdicts(report))


def _verdicts(report: SimulationReport) -> Iterator[Verdict]:
    if report.outcome == "not connected":
        yield Verdict("connection", False, report.error or "there was none")
        return
    yield Verdict("connection", True, "the connection was opened")
    if report.send_lateness_max_ms > BUSY_MS:
        late = f"its own frames were up to {report.send_lateness_max_ms:.0f} ms late"
        text = f"{late}: its machine was busy, or the server did not read. Judge nothing else by this call"
        yield Verdict("simulator", None, text)
    yield _first_message(report)
    if report.frames_received or report.wrong_transport_frames or report.fragmented_messages:
        yield from _frames(report)
        yield _gaps(report)
    yield from _interruptions(report)
    yield from _answers(report)
    if report.frames_heard:
        yield _sound(report)
    yield _end(report)


def _first_message(report: SimulationReport) -> Verdict:
    if report.first_received_s is not None:
        return Verdict("first message", True, f"the server first sent something after {report.first_received_s:.2f} s")
    return Verdict("first message", None, "the server never sent anything: it only listens, or its program waited")


def _frames(report: SimulationReport) -> Iterator[Verdict]:
    wanted_bytes = AudioFormat(report.rate_hz, report.frame_ms).frame_bytes
    if report.wrong_size_frames:
        text = f"{report.wrong_size_frames} of the server's frames were not {wanted_bytes} bytes long"
        yield Verdict("frame size", False, text)
    elif report.frames_received:
        yield Verdict("frame size", True, f"every frame was {wanted_bytes} bytes long")
    if report.fragmented_messages:
        text = f"{report.fragmented_messages} messages came in several WebSocket frames: a router drops them"
        yield Verdict("fragments", False, text)
    agreed = "binary messages" if report.transport == "binary" else "JSON texts"
    if report.wrong_transport_frames:
        text = f"{report.wrong_transport_frames} of the server's messages carried audio, but not as {agreed}"
        yield Verdict("transport", False, text)
    else:
        yield Verdict("transport", True, f"audio came as {agreed}, as was agreed")
    if report.overflow_frames:
        lost_s = report.overflow_frames * report.frame_ms / 1000
        text = f"the router's buffer was full: {report.overflow_frames} frames, {lost_s:.1f} s of audio, were lost"
        yield Verdict("ahead", False, text)
        return
    holds_s = BUFFER_FRAMES * report.frame_ms / 1000
    text = f"at most {report.furthest_ahead_s:.2f} s ahead; the router's buffer holds {holds_s:.0f} s"
    if report.furthest_ahead_s > FAR_AHEAD_S:
        text += ". Only the router's clear command can silence that much"
    yield Verdict("ahead", None if report.furthest_ahead_s > FAR_AHEAD_S else True, text)


def _gaps(report: SimulationReport) -> Verdict:
    if not report.gaps:
        return Verdict("gaps", True, "no gap inside speech")
    causes = Counter(gap.cause or "not known from here" for gap in report.gaps)
    known = ", ".join(f"{count} × {cause}" for cause, count in causes.most_common())
    gaps = _count(len(report.gaps), "gap")
    return Verdict("gaps", False, f"{gaps} inside speech, {report.gap_ms / 1000:.2f} s in all: {known}")


def _interruptions(report: SimulationReport) -> Iterator[Verdict]:
    for one in report.interruptions:
        if one.silent_after_s is None:
            text = f"at {one.at_s:.2f} s: nothing was being heard that could be interrupted"
            yield Verdict("interruption", None, text)
            continue
        obeyed = one.silent_after_s <= OBEYED_S
        text = f"at {one.at_s:.2f} s: silent {one.silent_after_s:.2f} s later, after {one.heard_s:.1f} s of the answer"
        if not obeyed:
            text += f"; a caller expects at most {OBEYED_S} s"
        if not one.meant:
            text += " (the caller spoke at the same time)"
        yield Verdict("interruption", True if obeyed else False if one.meant else None, text)


def _answers(report: SimulationReport) -> Iterator[Verdict]:
    said = len(report.answers)
    answered = sum(answer.after_s is not None for answer in report.answers)
    if not said:
        if report.greeting_s is not None:
            yield Verdict("answer", None, f"nothing was said to it; it spoke after {report.greeting_s:.2f} s")
        return
    if not answered:
        yield Verdict("answer", None, "nothing was heard after what was said: it only listens, or it failed")
        return
    assert report.answer_p50_s is not None
    assert report.answer_max_s is not None
    how_fast = f"after {report.answer_p50_s:.2f} s"
    if answered > 1:
        how_fast += f" at the median, {report.answer_max_s:.2f} s at the most"
    yield Verdict("answer", None if answered < said else True, f"{answered} of {said} answered, {how_fast}")


def _sound(report: SimulationReport) -> Verdict:
    problems = report.sound.problems
    return Verdict("sound", not problems, "; ".join(problems) or "no clipping, no noise, no clicks")


def _end(report: SimulationReport) -> Verdict:
    if report.outcome == "open":
        return Verdict("end", None, "the recording ends before the call")
    by = f"closed by the {report.closed_by}" if report.closed_by else "nobody closed"
    code = "" if report.close_code is None else f" with {report.close_code}"
    reason = f" ({report.close_reason})" if report.close_reason else ""
    good = report.error is None and report.close_code in (None, *WENT_WELL)
    return Verdict("end", good, f"{by}{code}{reason}" if good else report.error or f"{by}{code}{reason}")


def sentence(report: SimulationReport) -> str:
    """All of it in one sentence, the most important thing first."""
    if report.outcome == "not connected":
        return f"There was no connection: {_stopped(report.error or 'nobody answered')}"
    parts = list(_deeds(report))
    if report.error:
        parts.append(report.error)
    return _stopped(_joined(parts))


def _deeds(report: SimulationReport) -> Iterator[str]:
    """What the server did, as parts of a sentence that begin with a verb; the first with its subject."""
    if not report.frames_heard:
        if report.frames_received:
            yield "Nothing of what it sent could be played"
        elif report.wrong_transport_frames:
            yield "Its audio came in another form than was agreed, so nothing was heard"
        else:
            texts = f"only {_count(report.texts_received, 'text')}" if report.texts_received else "not one message"
            yield f"Nobody answered: {texts} came in {report.duration_s:.1f} s"
        return
    if (back := _said_back(report)) is not None:
        yield back
        return
    said = len(report.answers)
    answered = sum(answer.after_s is not None for answer in report.answers)
    if report.greeting_s is not None:
        yield f"It greeted after {report.greeting_s:.2f} s" if said else f"It spoke after {report.greeting_s:.2f} s"
    elif not said:
        yield f"{report.heard_s:.1f} s of audio were heard"
    subject = "" if report.greeting_s is not None else "It "
    if answered:
        assert report.answer_p50_s is not None
        what = "the question" if said == 1 else f"{answered} of {said} questions"
        yield f"{subject}answered {what} after {report.answer_p50_s:.2f} s" + (" at the median" if answered > 1 else "")
    elif said:
        yield f"{subject}answered nothing of what was said" if said > 1 else f"{subject}gave no answer"
    silenced = [one for one in report.interruptions if one.silent_after_s is not None]
    if silenced:
        yield _silenced(silenced)
    if report.gaps:
        yield f"its speech had {_gap_time(report)}"
    if report.sound.problems:
        yield "it did not sound right"


def _said_back(report: SimulationReport) -> str | None:
    """The sentence of an echo, or of a bot that repeats."""
    if report.same_as_question is None or len(report.answers) != 1 or report.interruptions:
        return None
    answer = report.answers[0]
    gaps = f"with {_gap_time(report)}" if report.gaps else "without a gap"
    back = "said all of it back" if report.same_as_question >= SAME else None
    if back is None:
        speed = report.sound.speed
        if speed is None or speed == 1:
            return None
        back = f"said it back at {speed:.2g} × the speed,"
    if answer.overlaps:
        return f"The bot {back} while it was being said, {gaps}"
    waited = "" if answer.after_s is None else f"waited for the end of the sentence, {answer.after_s:.2f} s, and "
    return f"The bot {waited}{back} {gaps}"


def _silenced(interruptions: list[Interruption]) -> str:
    slowest_s = max(one.silent_after_s for one in interruptions if one.silent_after_s is not None)
    one = len(interruptions) == 1
    which = "the interruption" if one else f"each of {len(interruptions)} interruptions, at the latest"
    if slowest_s <= OBEYED_S:
        return f"fell silent {slowest_s:.2f} s after {which}"
    return f"talked on for {slowest_s:.2f} s after {'the interruption' if one else 'an interruption'}"


def _gap_time(report: SimulationReport) -> str:
    together = " together" if len(report.gaps) > 1 else ""
    return f"{_count(len(report.gaps), 'gap')} of {report.gap_ms / 1000:.2f} s{together}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


def _stopped(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
