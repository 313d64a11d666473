"""The functions that a model may call: described in the settings of the session, run here, answered as text."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import AudioConnectorConfigError
from ._openai_errors import RealtimeToolError

FAILED = json.dumps({"error": "the function failed"})
"""What the model gets then: a reason may hold what is none of its business."""


class Tools:
    """The functions of one program.

    Args:
        functions: by their names; plain or coroutine functions, which get what the model sends by keyword.
        session: the settings, whose `tools` describe them.

    Raises:
        AudioConnectorConfigError: one of them is no function, or described but not there, or the other way round.
    """

    def __init__(self, functions: Mapping[str, Callable[..., object]], session: Mapping[str, Any]) -> None:
        described = {tool.get("name") for tool in session.get("tools") or () if tool.get("type") == "function"}
        for name, function in functions.items():
            if not callable(function):
                raise AudioConnectorConfigError(f"tools[{name!r}] must be a function, not {function!r}")
            if name not in described:
                raise AudioConnectorConfigError(f"tools has {name!r}, but session['tools'] does not describe it")
        for name in described - functions.keys():
            raise AudioConnectorConfigError(f"session['tools'] describes {name!r}, but tools has no such function")
        self._functions = dict(functions)

    async def answer(self, name: str, arguments: str) -> str:
        """Call a function; returns its result for the model: a text as it is, anything else as JSON.

        Raises:
            RealtimeToolError: there is no such function, its arguments are none, it has raised, or its result is no
                JSON.
        """
        function = self._functions.get(name)
        if function is None:
            raise RealtimeToolError(f"the model called {name!r}: there is no such function", name=name)
        try:
            given = json.loads(arguments or "{}")
            if not isinstance(given, dict):
                raise TypeError("its arguments are no JSON object")
            inspect.signature(function).bind(**given)
        except (TypeError, ValueError) as exc:
            raise RealtimeToolError(f"the model called {name!r} with arguments that don't fit", name=name) from exc
        try:
            result = function(**given)
            if inspect.isawaitable(result):
                result = await result
            return result if isinstance(result, str) else json.dumps(result)
        except Exception as exc:  # of the program: the model has to be answered, and the program is told
            raise RealtimeToolError(f"the function {name!r} failed: {type(exc).__name__}", name=name) from exc
