"""From the options of `simulate` to the calls that are made. What can't be used is a `CommandError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..audio.mix import mixed
from ..audio.sound_files import read_audio
from ..core.json_audio import JSONTransport
from ..simulator.faults import Faults
from ..simulator.script import Script, load_script
from ..simulator.setup import Setup, made_up_id
from ..simulator.steps import Hear, Interrupt, Mute, Press, Say, Sound, Step, Wait, WaitForGreeting
from .target import CommandError


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the caller behaves who says one recording.

    Attributes:
        greeting: wait for the program's greeting first.
        delay_s: then wait for so long.
        barge_in_s: interrupt the answer so far into it; None: don't.
        muted: be muted so far into the recording, for so long; None: don't.
        keys: press these behind it.
    """

    greeting: bool = False
    delay_s: float = 0.0
    barge_in_s: float | None = None
    muted: tuple[float, float] | None = None
    keys: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether nothing of it was asked for."""
        return self == Manner()

    def steps(self, sound: Sound, rate_hz: int) -> tuple[Step, ...]:
        """The steps of a call in which this is said."""
        steps: list[Step] = [WaitForGreeting()] if self.greeting else []
        if self.delay_s:
            steps.append(Wait(self.delay_s))
        if self.muted is None:
            steps.append(Say(sound))
        else:
            at_s, for_s = self.muted
            middle = 2 * round(at_s * rate_hz)
            before, behind = sound.pcm[:middle], sound.pcm[middle:]
            if not behind:
                raise CommandError(f"--mute is {at_s:g} s into a recording of {len(sound.pcm) / 2 / rate_hz:g} s")
            steps += [Say(Sound(sound.name, before)), Mute(for_s), Say(Sound(sound.name, behind))]
        if self.keys:
            steps.append(Press(self.keys))
        if self.barge_in_s is not None:
            steps.append(Interrupt(self.barge_in_s))
        return (*steps, Hear())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One call that is to be made.

    Attributes:
        steps: what the caller does.
        setup: the settings of the call.
        name: of what is said.
    """

    steps: tuple[Step, ...]
    setup: Setup = field(default_factory=Setup)
    name: str = ""


def plan_calls(
    inputs: Sequence[Path],
    setup: Setup,
    manner: Manner,
    *,
    rate_hz: int | None,
    streams: int,
    mix: bool,
) -> list[Plan]:
    """The calls of recordings: one after the other in turn, or all of them mixed into each."""
    sounds: list[tuple[Sound, int]] = []
    for path in inputs:
        pcm, call_hz = read_audio(path, rate_hz=rate_hz)
        sounds.append((Sound(path.name, pcm), call_hz))
    if mix:
        rate = rate_hz or sounds[0][1]
        parts = [read_audio(path, rate_hz=rate)[0] for path in inputs]
        sounds = [(Sound(" + ".join(path.name for path in inputs), mixed(parts)), rate)]
    plans = []
    for number in range(streams):
        sound, call_hz = sounds[number % len(sounds)]
        one = replace(setup, rate_hz=call_hz, connection_id=made_up_id())
        plans.append(Plan(steps=manner.steps(sound, call_hz), setup=one, name=sound.name))
    return plans


def plan_microphone(setup: Setup, manner: Manner, *, limit_s: float, streams: int) -> list[Plan]:
    """The call of somebody who is there, until Ctrl-C or the limit."""
    if streams != 1 or manner.barge_in_s is not None or manner.muted is not None:
        raise CommandError("--mic is one call, in which you interrupt and mute by yourself")
    steps = manner.steps(Sound("", b""), setup.rate_hz)
    live = [step for step in steps if not isinstance(step, (Say, Hear))]
    return [Plan(steps=(*live, Wait(limit_s)), setup=setup, name="microphone")]


def plan_script(path: Path, setup: Setup, *, rate_hz: int | None, streams: int) -> list[Plan]:
    """The calls of a script; what the options say comes before what it says."""
    script = load_script(path, rate_hz=rate_hz)
    settings = replace(
        setup,
        rate_hz=script.rate_hz,
        transport=setup.transport or (JSONTransport() if script.transport == "json" else None),
        headers={**script.headers, **setup.headers},
        **_said(script, setup),
    )
    one = [replace(settings, connection_id=made_up_id()) for _ in range(streams)]
    return [Plan(steps=script.steps, setup=setup, name=path.name) for setup in one]


def faults_of(
    *,
    delay_s: float | None,
    jitter_s: float | None,
    stalls: Sequence[tuple[float, float]],
    slow_bytes_s: float | None,
    drop_at_s: float | None,
    half_open_at_s: float | None,
) -> Faults | None:
    """How the network is disturbed; None: not at all."""
    faults = Faults(
        delay_s=delay_s,
        jitter_s=jitter_s,
        stalls=tuple(stalls),
        slow_reader_bytes_s=slow_bytes_s,
        drop_at_s=drop_at_s,
        half_open_at_s=half_open_at_s,
    )
    return None if faults == Faults() else faults


def at_for(option: str, value: str | None) -> tuple[float, float] | None:
    """The two numbers of `AT:FOR`."""
    if value is None:
        return None
    at, _, for_ = value.partition(":")
    try:
        return float(at), float(for_)
    except ValueError:
        raise CommandError(f"{option} takes AT:FOR in seconds, such as 1.5:2, and not {value!r}") from None


def _said(script: Script, setup: Setup) -> dict[str, Any]:
    """The settings of a script that no option has said."""
    usual = Setup()
    said: dict[str, Any] = {}
    for name in ("router", "silence"):
        value = getattr(script, name)
        if value is not None and getattr(setup, name) == getattr(usual, name):
            said[name] = value
    return said
