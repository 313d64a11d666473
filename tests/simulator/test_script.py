import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonage_audio_connector_server.errors import AudioConnectorConfigError, MissingExtraError
from vonage_audio_connector_server.simulator.faults import Faults
from vonage_audio_connector_server.simulator.script import Script, load_script, parse_script
from vonage_audio_connector_server.simulator.script_nodes import parse_seconds
from vonage_audio_connector_server.simulator.steps import (
    HangUp,
    Hear,
    Interrupt,
    Mute,
    Network,
    Press,
    Say,
    Send,
    Sound,
    Step,
    Unmute,
    Wait,
    WaitForGreeting,
)
from vonage_audio_connector_server.simulator.wav import write_wav

WHOLE = """\
rate: 16000            # optional
router: strict
transport: json
headers: {caller: Ann, room: 007}
silence: none
steps:
  - wait for greeting
  - wait for greeting: {within: 5 s}
  - say: question.wav
  - hear
  - hear: {within: 5 s, quiet: 1 s}
  - interrupt: {after: 1.2 s, say: stop.wav}
  - interrupt: {after: 1.2}
  - interrupt: 700 ms
  - wait: 500 ms
  - mute: 3 s
  - mute
  - unmute
  - mute: {for: 3 s, frames: true}
  - mute: {frames: true}
  - unmute:
  - press: "5"
  - press: 12#
  - press: 012
  - press: {key: "*", duration: 300 ms}
  - send: {any: [json, 1, null]}
  - send: hello
  - network: {stall: 2 s}
  - network: {delay: 100 ms, jitter: 0.05, slow: 8000}
  - network: {drop: true}
  - network: {half-open: true}
  - hang up
"""


@pytest.fixture
def folder(tmp_path: Path, tone: Callable[..., bytes]) -> Path:
    write_wav(tmp_path / "question.wav", tone(0.2), 16_000)
    write_wav(tmp_path / "stop.wav", tone(0.1, 8_000), 8_000)
    return tmp_path


def parse_steps(*steps: str) -> tuple[Step, ...]:
    return parse_script("steps:\n" + "".join(f"  - {step}\n" for step in steps)).steps


def test_all_that_a_script_can_say(folder: Path, tone: Callable[..., bytes]) -> None:
    (folder / "call.yaml").write_text(WHOLE)

    script = load_script(folder / "call.yaml")

    question, stop = script.steps[2], script.steps[5]
    assert isinstance(question, Say)
    assert isinstance(stop, Interrupt)
    assert stop.sound is not None
    assert question.sound.pcm == tone(0.2)
    assert len(stop.sound.pcm) == 3_200  # at the rate of the call
    assert script == Script(
        steps=(
            WaitForGreeting(),
            WaitForGreeting(5.0),
            Say(Sound("question.wav", question.sound.pcm)),
            Hear(),
            Hear(5.0, 1.0),
            Interrupt(1.2, Sound("stop.wav", stop.sound.pcm)),
            Interrupt(1.2),
            Interrupt(0.7),
            Wait(0.5),
            Mute(3.0),
            Mute(),
            Unmute(),
            Mute(3.0, frames=True),
            Mute(frames=True),
            Unmute(),
            Press("5"),
            Press("12#"),
            Press("012"),
            Press("*", 300),
            Send('{"any": ["json", 1, null]}'),
            Send("hello"),
            Network(Faults(stalls=((0.0, 2.0),))),
            Network(Faults(delay_s=0.1, jitter_s=0.05, slow_reader_bytes_s=8_000)),
            Network(Faults(drop_at_s=0.0)),
            Network(Faults(half_open_at_s=0.0)),
            HangUp(),
        ),
        rate_hz=16_000,
        router="strict",
        transport="json",
        headers={"caller": "Ann", "room": "007"},
        silence="none",
    )
    assert [step.line for step in script.steps] == list(range(7, 33))
    assert script.disturbs
    assert all(step.words for step in script.steps)


def test_a_script_may_say_very_little() -> None:
    script = parse_script("steps: [hear]")

    assert script == Script(steps=(Hear(),), rate_hz=16_000)
    assert not script.disturbs


def test_recordings_are_read_at_the_rate_of_the_call(folder: Path) -> None:
    text = "rate: 8000\nsteps:\n- say: question.wav\n- say: question.wav"

    first, second = parse_script(text, folder).steps
    (louder, _) = parse_script(text, folder, rate_hz=24_000).steps

    assert isinstance(first, Say)
    assert isinstance(second, Say)
    assert isinstance(louder, Say)
    assert (len(first.sound.pcm), len(louder.sound.pcm)) == (3_200, 9_600)
    assert second.sound is first.sound
    assert parse_script(text, folder, rate_hz=24_000).rate_hz == 24_000
    assert "pcm" not in repr(first)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the script is empty"),
        ("steps: [hear", "line 1: "),
        ("steps:\n- hear\n\t- say: a", "line 3: "),
        ("- hear", "line 1: a script must be {name: value}, with rate, router, transport, headers, silence, steps"),
        ("rate: 16000", "line 1: a script must have steps"),
        ("steps:", "line 1: steps must be a list"),
        ("steps: []", "line 1: steps has none"),
        ("step: [hear]", "line 1: a script has no 'step'; it has rate, router"),
        ("rate: 8000\nrate: 8000\nsteps: [hear]", "line 2: a script has 'rate' twice"),
        ("rate: 44100\nsteps: [hear]", "line 1: rate must be 8000 or 16000 or 24000, not '44100'"),
        ("router: kind\nsteps: [hear]", "line 1: router must be strict or wsbridge or lenient, not 'kind'"),
        ("transport: mp3\nsteps: [hear]", "line 1: transport must be binary or json"),
        ("silence: no\nsteps: [hear]", "line 1: silence must be frames or none, not 'no'"),
        ("headers: [a]\nsteps: [hear]", r"line 1: headers must be \{name: value\}"),
        ("headers:\n  event: x\nsteps: [hear]", "line 2: headers: 'event' can't be the name of a custom header"),
        ("headers: {a: {b: c}}\nsteps: [hear]", "line 1: the header a must be a text"),
        ("steps: " + "[" * 5_000, "is no YAML|line 1"),
        ("steps: [\0]", "is no YAML"),
        (r'steps: ["\UFFFFFFFF"]', "is no YAML"),
        ("steps: [hear]\n---\nsteps: [hear]", "line 2: but found another document"),
    ],
)
def test_what_is_wrong_with_a_script_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match=told):
        parse_script(text)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("sing", "there is no step 'sing'; there are wait for greeting, say, hear"),
        ("[hear]", "a step must be {name: value}"),
        ("{say: a.wav, hear: }", "a step is one thing, not 2"),
        ("{}", "a step is one thing, not 0"),
        ("", "a step must be a text"),
        ("say", "say must say what, behind a colon"),
        ("say: missing.wav", "missing.wav can't be read: No such file or directory"),
        ("say: [a.wav]", "the path of a recording must be a text"),
        ("hear: 5 s", "hear must be {name: value}, with within, quiet"),
        ("hear: {for: 5 s}", "hear has no 'for'; it has within, quiet"),
        ("hear: {within: soon}", "within: 'soon' is no time, such as 1.2 s, 300 ms or 2 min"),
        ("wait", "wait must say what"),
        ("wait: -1", "wait: '-1' is no time"),
        ("wait: [1]", "wait must be a text"),
        ("wait for greeting: {quiet: 1 s}", "wait for greeting has no 'quiet'"),
        ("interrupt: {say: a.wav}", "interrupt must say after how much of the answer"),
        ("unmute", "the caller is not muted here"),
        ("mute: {frames: maybe}", "frames must be true or yes or false or no, not 'maybe'"),
        ("press: #", r"press must say what, behind a colon \(keys stand in quotes"),
        ("press: x", "press takes the keys 0 to 9"),
        ("press: {duration: 1 s}", "press must say which key"),
        ("send: 2026-01-01", "send must be a text, or what JSON can express"),
        ("send: .nan", "send must be a text, or what JSON can express"),
        ("send: !!timestamp soon", "send must be a text, or what JSON can express"),
        ("send: &a [*a]", "send must be a text, or what JSON can express"),
        ("network: {lag: 1 s}", "network has no 'lag'; it has stall, delay, jitter, drop, half-open, slow"),
        ("network: {}", "network must say what"),
        ("network: {drop: false}", "drop can only be true"),
        ("network: {slow: 0}", "slow, in bytes a second, must be a number above 0, not '0'"),
        ("network: {slow: 0.5}", "slow_reader_bytes_s must be 1 or more"),
        ("hang up: now", "hang up takes nothing behind it"),
    ],
)
def test_what_is_wrong_with_a_step_is_told_with_its_line(step: str, told: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match=rf"the script, line 3: {told}"):
        parse_steps("wait: 1", step)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (["hang up", "hear"], "line 2: hang up must be the last step"),
        (["mute", "hear", "mute: 3 s"], "line 4: the caller is muted already"),
        (["mute: 3 s", "unmute"], "line 3: the caller is not muted here"),
    ],
)
def test_steps_that_do_not_go_together(steps: list[str], told: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match=told):
        parse_steps(*steps)


def test_a_recording_that_is_none_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no audio")

    with pytest.raises(AudioConnectorConfigError, match=r"the script, line 2: .*a\.wav is no audio that can be read"):
        parse_script("steps:\n- say: a.wav", tmp_path)


def test_a_script_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_script(tmp_path / "call.yaml")

    (tmp_path / "call.yaml").write_bytes(b"steps: [\xff]")
    with pytest.raises(AudioConnectorConfigError, match=r"call\.yaml is no text in UTF-8"):
        load_script(tmp_path / "call.yaml")

    (tmp_path / "call.yaml").write_text("steps: [sing]")
    with pytest.raises(AudioConnectorConfigError, match=r"call\.yaml, line 1: there is no step 'sing'"):
        load_script(tmp_path / "call.yaml")


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "vonage_audio_connector_server.simulator.script_nodes")

    with pytest.raises(MissingExtraError, match=r"vonage-audio-connector-server\[cli\]"):
        parse_script("steps: [hear]")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1.2 s", 1.2), ("300 ms", 0.3), ("300ms", 0.3), ("2 min", 120), ("2", 2), (".5", 0.5), ("1.", 1), (" 0 s ", 0)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1 h", "-1 s", "1,5 s", "1e3", "inf", "nan", "1 s 2 s", "٣"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(AudioConnectorConfigError, match="is no time"):
        parse_seconds(text)


TIMES_S = st.integers(0, 600_000).map(lambda ms: ms / 1000)
TEXTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
ANY_STEP = st.one_of(
    st.builds(WaitForGreeting, st.none() | TIMES_S),
    st.builds(Hear, st.none() | TIMES_S, st.none() | TIMES_S),
    st.builds(Interrupt, TIMES_S),
    st.builds(Wait, TIMES_S),
    st.builds(Mute, TIMES_S, st.booleans()),
    st.builds(Press, st.text("0123456789*#ABCD", min_size=1), st.integers(0, 9_999)),
    st.builds(Send, TEXTS.map(json.dumps)),
    st.builds(Network, st.builds(Faults, delay_s=TIMES_S, jitter_s=TIMES_S)),
)


def written(step: Step) -> dict[str, Any] | str:
    """A step as a script says it, in JSON, which is YAML."""

    def times(**values: float | None) -> dict[str, Any]:
        return {name: f"{value * 1000:.0f} ms" for name, value in values.items() if value is not None}

    match step:
        case WaitForGreeting(within_s):
            return {"wait for greeting": times(within=within_s)}
        case Hear(within_s, quiet_s):
            return {"hear": times(within=within_s, quiet=quiet_s)}
        case Interrupt(after_s):
            return {"interrupt": {"after": after_s}}
        case Wait(for_s):
            return {"wait": for_s}
        case Mute(for_s, frames):
            return {"mute": {**times(**{"for": for_s}), "frames": frames}}
        case Press(keys, duration_ms):
            return {"press": {"key": keys, "duration": f"{duration_ms} ms"}}
        case Send(text):
            return {"send": text}
        case Network(faults):
            return {"network": times(delay=faults.delay_s, jitter=faults.jitter_s)}
        case _:
            raise AssertionError(step)


@given(st.lists(ANY_STEP, min_size=1))
def test_what_is_written_is_read(steps: list[Step]) -> None:
    text = json.dumps({"steps": [written(step) for step in steps]})

    assert parse_script(text).steps == tuple(steps)
