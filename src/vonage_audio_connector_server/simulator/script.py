"""A call as a script in YAML: its settings, and what the caller does in it, step by step.

    rate: 16000
    steps:
      - wait for greeting
      - say: question.wav
      - hear: {within: 5 s}
      - hang up

A script is checked whole, with its recordings, before a call begins. It needs PyYAML, of the extra `cli`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..audio.sound_files import RATES_HZ, read_audio
from ..errors import AudioConnectorAudioError, AudioConnectorConfigError, MissingExtraError
from .faults import Faults
from .form import TransportName
from .rules import RouterName
from .setup import check_custom
from .steps import (
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
from .twin import KEY_MS, Silence

if TYPE_CHECKING:
    import yaml

    from .script_nodes import Nodes

_SETTINGS = ("rate", "router", "transport", "headers", "silence", "steps")
_FAULTS = ("stall", "delay", "jitter", "drop", "half-open", "slow")
_KEYS = re.compile(r"[0-9*#A-Da-d]+")
_DEFAULT_HZ = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script that was read. What it doesn't say is None.

    Attributes:
        steps: in order.
        rate_hz: the sample rate of the call, at which its recordings are.
        router: the rules of the router.
        transport: how audio travels.
        headers: custom headers of the connect call.
        silence: what is sent while the caller says nothing.
    """

    steps: tuple[Step, ...]
    rate_hz: int = _DEFAULT_HZ
    router: RouterName | None = None
    transport: TransportName | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    silence: Silence | None = None

    @property
    def disturbs(self) -> bool:
        """Whether it needs a network that can be disturbed."""
        return any(isinstance(step, Network) for step in self.steps)


def load_script(path: str | PathLike[str], *, rate_hz: int | None = None) -> Script:
    """Read a script, and the recordings that it names; their paths are relative to its folder.

    Args:
        path: of the script.
        rate_hz: the sample rate of the call, in place of the script's own.

    Raises:
        AudioConnectorConfigError: it can't be carried out; the message names the line.
        MissingExtraError: PyYAML, or what a recording takes, is not installed.
        OSError: the script can't be read.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise AudioConnectorConfigError(f"{path} is no text in UTF-8") from exc
    return parse_script(text, path.parent, name=str(path), rate_hz=rate_hz)


def parse_script(
    text: str, folder: str | PathLike[str] = ".", *, name: str = "the script", rate_hz: int | None = None
) -> Script:
    """Read the text of a script whose recordings are in `folder`; else as `load_script`."""
    try:
        from .script_nodes import Nodes
    except ImportError as exc:
        raise MissingExtraError("a script", "cli") from exc
    return _Parser(Nodes(name), Path(folder), rate_hz).parse(text)


class _Parser:
    """Makes a script of nodes."""

    def __init__(self, nodes: Nodes, folder: Path, rate_hz: int | None) -> None:
        self._nodes = nodes
        self._folder = folder
        self._rate_hz = rate_hz
        self._sounds: dict[str, Sound] = {}
        self._is_muted = False
        # How each step is read, from what stands behind its name; None: nothing does.
        self._kinds: dict[str, Callable[[Any, int], Step]] = {
            "wait for greeting": self._wait_for_greeting,
            "say": self._say,
            "hear": self._hear,
            "interrupt": self._interrupt,
            "wait": self._wait,
            "mute": self._mute,
            "unmute": self._unmute,
            "press": self._press,
            "send": self._send,
            "network": self._network,
            "hang up": self._hang_up,
        }

    def parse(self, text: str) -> Script:
        nodes = self._nodes
        root = nodes.compose(text)
        found = nodes.fields(root, "a script", _SETTINGS)
        settings: dict[str, Any] = {}
        if "rate" in found:
            settings["rate_hz"] = int(nodes.one_of(found["rate"], "rate", [str(rate_hz) for rate_hz in RATES_HZ]))
        for name, known in (("router", RouterName), ("transport", TransportName), ("silence", Silence)):
            if name in found:
                settings[name] = nodes.one_of(found[name], name, get_args(known))
        if "headers" in found:
            settings["headers"] = self._headers(found["headers"])
        if self._rate_hz is not None:
            settings["rate_hz"] = self._rate_hz
        self._rate_hz = settings.get("rate_hz", _DEFAULT_HZ)
        if "steps" not in found:
            raise nodes.error(root, "a script must have steps")
        items = nodes.items(found["steps"], "steps")
        steps = tuple(self._step(item, is_last=item is items[-1]) for item in items)
        if not steps:
            raise nodes.error(found["steps"], "steps has none")
        return Script(steps=steps, **settings)

    def _headers(self, node: yaml.Node) -> dict[str, str]:
        headers = {
            name: self._nodes.text(value, f"the header {name}")
            for name, value in self._nodes.fields(node, "headers").items()
        }
        try:
            check_custom(headers)
        except AudioConnectorConfigError as exc:
            raise self._nodes.error(node, str(exc)) from exc
        return headers

    def _step(self, node: yaml.Node, *, is_last: bool) -> Step:
        from .script_nodes import is_nothing, line_of

        nodes, argument = self._nodes, None
        if isinstance(node.value, str):
            name = nodes.text(node, "a step")
        else:
            pairs = nodes.fields(node, "a step")
            if len(pairs) != 1:
                raise nodes.error(node, f"a step is one thing, not {len(pairs)}: put a hyphen before each")
            ((name, argument),) = pairs.items()
        if name not in self._kinds:
            raise nodes.error(node, f"there is no step {name!r}; there are {', '.join(self._kinds)}")
        if argument is not None and is_nothing(argument):
            argument = None
        if name == "hang up" and not is_last:
            raise nodes.error(node, "hang up must be the last step")
        if argument is None and name in ("say", "interrupt", "wait", "press", "send", "network"):
            raise nodes.error(node, f"{name} must say what, behind a colon{_QUOTE if name == 'press' else ''}")
        if argument is not None and name in ("unmute", "hang up"):
            raise nodes.error(argument, f"{name} takes nothing behind it")
        self._node = node
        return self._kinds[name](argument, line_of(node))

    def _wait_for_greeting(self, argument: yaml.Node | None, line: int) -> Step:
        return WaitForGreeting(**self._times(argument, "wait for greeting", ("within",)), line=line)

    def _hear(self, argument: yaml.Node | None, line: int) -> Step:
        return Hear(**self._times(argument, "hear", ("within", "quiet")), line=line)

    def _times(self, argument: yaml.Node | None, what: str, known: tuple[str, ...]) -> dict[str, float]:
        if argument is None:
            return {}
        found = self._nodes.fields(argument, what, known)
        return {f"{name}_s": self._nodes.seconds(value, name) for name, value in found.items()}

    def _say(self, argument: yaml.Node, line: int) -> Step:
        return Say(self._sound(argument), line=line)

    def _interrupt(self, argument: yaml.Node, line: int) -> Step:
        nodes = self._nodes
        if isinstance(argument.value, str):
            return Interrupt(nodes.seconds(argument, "interrupt"), line=line)
        found = nodes.fields(argument, "interrupt", ("after", "say"))
        if "after" not in found:
            raise nodes.error(argument, "interrupt must say after how much of the answer: {after: 1.2 s}")
        sound = self._sound(found["say"]) if "say" in found else None
        return Interrupt(nodes.seconds(found["after"], "after"), sound, line=line)

    def _wait(self, argument: yaml.Node, line: int) -> Step:
        return Wait(self._nodes.seconds(argument, "wait"), line=line)

    def _mute(self, argument: yaml.Node | None, line: int) -> Step:
        nodes = self._nodes
        for_s, frames = None, False
        if argument is not None and isinstance(argument.value, str):
            for_s = nodes.seconds(argument, "mute")
        elif argument is not None:
            found = nodes.fields(argument, "mute", ("for", "frames"))
            for_s = nodes.seconds(found["for"], "for") if "for" in found else None
            frames = nodes.flag(found["frames"], "frames") if "frames" in found else False
        if self._is_muted:
            raise nodes.error(self._node, "the caller is muted already: unmute before")
        self._is_muted = for_s is None
        return Mute(for_s, frames, line=line)

    def _unmute(self, argument: None, line: int) -> Step:
        if not self._is_muted:
            raise self._nodes.error(self._node, "the caller is not muted here")
        self._is_muted = False
        return Unmute(line=line)

    def _press(self, argument: yaml.Node, line: int) -> Step:
        nodes = self._nodes
        duration_ms = KEY_MS
        if not isinstance(argument.value, str):
            found = nodes.fields(argument, "press", ("key", "duration"))
            if "key" not in found:
                raise nodes.error(argument, 'press must say which key: {key: "5"}')
            argument = found["key"]
            if "duration" in found:
                duration_ms = round(nodes.seconds(found["duration"], "duration") * 1000)
        keys = nodes.text(argument, f"press{_QUOTE}")
        if not _KEYS.fullmatch(keys):
            raise nodes.error(argument, f"press takes the keys 0 to 9, *, # and A to D, not {keys!r}")
        return Press(keys.upper(), duration_ms, line=line)

    def _send(self, argument: yaml.Node, line: int) -> Step:
        return Send(self._nodes.json_text(argument, "send"), line=line)

    def _network(self, argument: yaml.Node, line: int) -> Step:
        nodes = self._nodes
        found = nodes.fields(argument, "network", _FAULTS)
        if not found:
            raise nodes.error(argument, f"network must say what, such as {{stall: 2 s}}; it knows {', '.join(_FAULTS)}")
        values: dict[str, Any] = {}
        for name, node in found.items():
            if name in ("drop", "half-open"):
                if not nodes.flag(node, name):
                    raise nodes.error(node, f"{name} can only be true: nothing undoes it")
                values[f"{name.replace('-', '_')}_at_s"] = 0.0
            elif name == "slow":
                values["slow_reader_bytes_s"] = nodes.number(node, "slow, in bytes a second,")
            elif name == "stall":
                values["stalls"] = ((0.0, nodes.seconds(node, name)),)
            else:
                values[f"{name}_s"] = nodes.seconds(node, name)
        try:
            return Network(Faults(**values), line=line)
        except AudioConnectorConfigError as exc:
            raise nodes.error(argument, str(exc)) from exc

    def _hang_up(self, argument: None, line: int) -> Step:
        return HangUp(line=line)

    def _sound(self, node: yaml.Node) -> Sound:
        name = self._nodes.text(node, "the path of a recording")
        if name not in self._sounds:
            try:
                pcm, _ = read_audio(self._folder / name, rate_hz=self._rate_hz)
            except AudioConnectorAudioError as exc:
                raise self._nodes.error(node, str(exc)) from exc
            except OSError as exc:
                raise self._nodes.error(node, f"{self._folder / name} can't be read: {exc.strerror}") from exc
            self._sounds[name] = Sound(Path(name).name, pcm)
        return self._sounds[name]


_QUOTE = ' (keys stand in quotes: "#")'
