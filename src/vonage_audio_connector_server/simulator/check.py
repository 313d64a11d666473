"""Checks of a call's numbers, as text: `gaps == 0 and answer_p95_s < 1.5`. They need simpleeval, of the extra `cli`.

A check is made of the names in `CHECK_NAMES`, numbers, texts, comparisons, `and`, `or`, `not`, `+ - * /` and
parentheses, and of nothing else. What is compared with a name that has no value, such as the time of an answer that
never came, is neither true nor false; neither is what depends on it alone. A check holds where it is true.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import AudioConnectorConfigError, MissingExtraError
from .check_names import CHECK_NAMES, MISSING, SAMPLES, Value, check_values

__all__ = ["CHECK_NAMES", "Check", "CheckResult", "Value", "check_values"]

_MAX_CHARACTERS = 1_000
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_ORDER: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUALITY: dict[type, Callable[[Any, Any], Any]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_COMPARISONS = _ORDER | _EQUALITY
_PARTS = "names, numbers, texts, comparisons, and, or, not, + - * / and parentheses"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What became of a check.

    Attributes:
        ok: whether it holds.
        text: why, with the values that it used: `answer_p95_s < 1.5 is false: answer_p95_s is 2.31`.
    """

    ok: bool
    text: str


class Check:
    """A check that can be carried out.

    Args:
        expression: as somebody wrote it.

    Attributes:
        expression: the same.
        names: those that it uses, in order.

    Raises:
        AudioConnectorConfigError: it can't be carried out; the message says what is wrong.
        MissingExtraError: simpleeval is not installed.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression.strip()
        self._tree = self._parse()
        self.names = tuple(dict.fromkeys(node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)))
        for name in self.names:
            if name not in CHECK_NAMES:
                raise self._error(f"there is no {name!r}; there are {', '.join(CHECK_NAMES)}")
        if _kind(self._evaluate(SAMPLES)) != _FLAG:
            raise self._error("it must be true or false: compare something, as in gaps == 0")

    def run(self, values: Mapping[str, Value]) -> CheckResult:
        """Whether it holds for these values, which `check_values` makes of reports."""
        ok = self._evaluate(values) is True
        told = [self._told(name, values[name]) for name in self.names]
        return CheckResult(ok, f"{self.expression} is {str(ok).lower()}" + (f": {', '.join(told)}" if told else ""))

    def _parse(self) -> ast.Expression:
        if len(self.expression) > _MAX_CHARACTERS:
            raise self._error(f"it is longer than {_MAX_CHARACTERS} characters")
        try:
            with warnings.catch_warnings(action="ignore"):  # of 1or 2, and the like
                tree = ast.parse(self.expression, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            raise self._error(f"it can't be understood: {getattr(exc, 'msg', exc)}") from exc
        for node in ast.walk(tree.body):
            if isinstance(node, ast.expr) and not _is_allowed(node):
                raise self._error(f"{ast.unparse(node)} is none of what a check is made of: {_PARTS}")
        return tree

    def _evaluate(self, values: Mapping[str, Value]) -> object:
        try:
            from simpleeval import SimpleEval
        except ImportError as exc:
            raise MissingExtraError("a check", "cli") from exc
        evaluator = SimpleEval(operators=_OPERATORS, functions={}, names=dict(values))
        # Other nodes have been refused; these are all there can be, and three of them know values that are missing.
        kept = {kind: evaluator.nodes[kind] for kind in (ast.Name, ast.Constant, ast.UnaryOp, ast.BinOp)}
        evaluator.nodes = kept | {
            ast.Compare: lambda node: _compare(evaluator, node),
            ast.BoolOp: lambda node: _combine(evaluator, node),
        }
        try:
            return evaluator.eval(self.expression, previously_parsed=self._tree.body)
        except (TypeError, RecursionError, OverflowError) as exc:
            raise self._error(str(exc)) from exc

    def _told(self, name: str, value: Value) -> str:
        if value is None:
            return f"{name} has no value ({MISSING.get(name, 'there was none')})"
        return f"{name} is {_shown(value)}"

    def _error(self, what: str) -> AudioConnectorConfigError:
        return AudioConnectorConfigError(f"the check {self.expression!r} can't be used: {what}")


def _is_allowed(node: ast.expr) -> bool:
    match node:
        case ast.Name() | ast.BoolOp():
            return True
        case ast.Constant(value=value):
            return isinstance(value, (bool, int, float, str))
        case ast.UnaryOp(op=op):
            return isinstance(op, (ast.Not, ast.USub))
        case ast.BinOp(op=op):
            return type(op) in _ARITHMETIC
        case ast.Compare(ops=ops):
            return all(type(op) in _COMPARISONS for op in ops)
    return False


_FLAG, _NUMBER, _TEXT = "true or false", "a number", "a text"


def _kind(value: object) -> str | None:
    """What a value is, in words; None: it is missing."""
    if value is None:
        return None
    if isinstance(value, bool):
        return _FLAG
    return _TEXT if isinstance(value, str) else _NUMBER


def _known(value: object, kind: str, use: str) -> bool:
    """Whether a value is known; a TypeError where it is of another kind."""
    if value is not None and _kind(value) != kind:
        raise TypeError(f"{_shown(value)} is {_kind(value)}, and {use} takes {kind}")
    return value is not None


def _calculate(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def calculate(left: object, right: object) -> object:
        both = [_known(value, _NUMBER, "arithmetic") for value in (left, right)]
        try:
            return function(left, right) if all(both) else None
        except ZeroDivisionError:
            return None

    return calculate


def _not(value: object) -> object:
    return not value if _known(value, _FLAG, "not") else None


def _negative(value: Any) -> object:
    return -value if _known(value, _NUMBER, "a minus sign") else None


_OPERATORS: dict[type, Callable[..., object]] = {
    **{kind: _calculate(function) for kind, function in _ARITHMETIC.items()},
    ast.Not: _not,
    ast.USub: _negative,
}


def _compare(evaluator: Any, node: ast.Compare) -> bool | None:
    values = [evaluator._eval(one) for one in (node.left, *node.comparators)]
    return _all([_compared(*pair) for pair in zip(node.ops, values, values[1:], strict=False)])


def _compared(op: ast.cmpop, left: object, right: object) -> bool | None:
    kinds = {_kind(left), _kind(right)} - {None}
    if len(kinds) > 1:
        raise TypeError(
            f"{_shown(left)} is {_kind(left)} and {_shown(right)} is {_kind(right)}: they can't be compared"
        )
    if type(op) in _ORDER and kinds - {_NUMBER}:
        raise TypeError("only numbers are more or less: compare others with == or !=")
    if left is None or right is None:
        return None
    return bool(_COMPARISONS[type(op)](left, right))


def _combine(evaluator: Any, node: ast.BoolOp) -> bool | None:
    word = "and" if isinstance(node.op, ast.And) else "or"
    values = [evaluator._eval(one) for one in node.values]
    for value in values:
        _known(value, _FLAG, word)
    if word == "and":
        return _all(values)
    denied = _all([None if value is None else not value for value in values])
    return None if denied is None else not denied


def _all(values: list[bool | None]) -> bool | None:
    """Whether all are true; None: that hangs on one that is missing."""
    return False if False in values else None if None in values else True


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{round(value, 4):.10g}" if isinstance(value, float) else repr(value)
