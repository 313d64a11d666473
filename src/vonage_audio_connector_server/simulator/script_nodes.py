"""Reading values out of a script's YAML. What is wrong is told with its line.

It walks the nodes, not the values that YAML would make of them: those know no lines, and take `012` for ten. It needs
PyYAML.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import Any

import yaml

from ..errors import AudioConnectorConfigError

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|min)?")
_FLAGS = {"true": True, "yes": True, "false": False, "no": False}


class Nodes:
    """The values of one script.

    Args:
        name: of the script, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def compose(self, text: str) -> yaml.Node:
        """The nodes of a text.

        Raises:
            AudioConnectorConfigError: it is no YAML, or empty.
        """
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as exc:
            line = exc.problem_mark.line + 1 if exc.problem_mark is not None else 1
            raise AudioConnectorConfigError(f"{self._name}, line {line}: {exc.problem}") from exc
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as exc:  # it checks no \\U escapes
            raise AudioConnectorConfigError(
                f"{self._name} is no YAML: {str(exc) or 'it is nested too deeply'}"
            ) from exc
        if node is None:
            raise AudioConnectorConfigError(f"{self._name} is empty")
        return node

    def error(self, node: yaml.Node, what: str) -> AudioConnectorConfigError:
        """What is wrong with a node."""
        return AudioConnectorConfigError(f"{self._name}, line {line_of(node)}: {what}")

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """The items of a list."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, f"{what} must be a list, each of it behind a hyphen")
        return list(node.value)

    def fields(self, node: yaml.Node, what: str, known: Collection[str] | None = None) -> dict[str, yaml.Node]:
        """The values of an object; `known` are all that it may have, None: any."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} must be {{name: value}}, with {_listed(known or ())}")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.text(key, f"a name in {what}")
            if known is not None and name not in known:
                raise self.error(key, f"{what} has no {name!r}; it has {_listed(known)}")
            if name in found:
                raise self.error(key, f"{what} has {name!r} twice")
            found[name] = value
        return found

    def text(self, node: yaml.Node, what: str) -> str:
        """A text, or whatever else stands on one line, as it is written."""
        if not isinstance(node, yaml.ScalarNode) or is_nothing(node):
            raise self.error(node, f"{what} must be a text")
        return str(node.value)

    def one_of(self, node: yaml.Node, what: str, known: Collection[str]) -> str:
        """One of the known texts."""
        text = self.text(node, what)
        if text not in known:
            raise self.error(node, f"{what} must be {' or '.join(known)}, not {text!r}")
        return text

    def flag(self, node: yaml.Node, what: str) -> bool:
        """True or false."""
        return _FLAGS[self.one_of(node, what, _FLAGS)]

    def seconds(self, node: yaml.Node, what: str) -> float:
        """A time: `1.2 s`, `300 ms`, `2 min`, or a number of seconds."""
        text = self.text(node, what)
        try:
            return parse_seconds(text)
        except AudioConnectorConfigError as exc:
            raise self.error(node, f"{what}: {exc}") from exc

    def number(self, node: yaml.Node, what: str) -> float:
        """A number above 0."""
        text = self.text(node, what)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise self.error(node, f"{what} must be a number above 0, not {text!r}")
        return number

    def json_text(self, node: yaml.Node, what: str) -> str:
        """A text as it is, anything else as JSON."""
        try:
            value: Any = yaml.constructor.SafeConstructor().construct_document(node)
            return value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        except Exception as exc:  # PyYAML raises what happens to it: of a wrong !!timestamp an AttributeError
            raise self.error(node, f"{what} must be a text, or what JSON can express: {exc}") from exc


def parse_seconds(text: str) -> float:
    """The seconds of a time as a script writes it: `1.2 s`, `300 ms`, `2 min`, or a number of seconds.

    Raises:
        AudioConnectorConfigError: it is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise AudioConnectorConfigError(f"{text!r} is no time, such as 1.2 s, 300 ms or 2 min")
    number, unit = float(found[1]), found[2]
    return number / 1000 if unit == "ms" else number * 60 if unit == "min" else number


def is_nothing(node: yaml.Node) -> bool:
    """Whether nothing stands there."""
    return node.tag == "tag:yaml.org,2002:null"


def line_of(node: yaml.Node) -> int:
    """The line on which a node begins, from 1 on."""
    return node.start_mark.line + 1


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
