"""Finding what a command names: `module:function`, or `path/to/file.py:function`."""

from __future__ import annotations

import importlib
import sys
import traceback
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import AudioConnectorError
from ..signatures import takes


class CommandError(AudioConnectorError, ValueError):
    """The command line asks for what can't be done."""


def load_target(target: str) -> Any:
    """Import the module and return what the name behind the colon stands for.

    Raises:
        CommandError: there is no such module or name, or importing it failed.
    """
    source, colon, name = target.rpartition(":")  # the last colon: a Windows path has one of its own
    if not colon or not source or not name:
        raise CommandError(f"{target!r} names nothing: write it as module:on_connect or file.py:app")
    module = _import(source)
    try:
        return attrgetter(name)(module)
    except AttributeError as exc:
        raise CommandError(f"{source} has no {name!r}") from exc


def served(target: object) -> dict[str, Any]:
    """The setting of a server that a target is: `app` if it takes what ASGI applications do, else `on_connect`."""
    return {"app" if takes(target, "scope", "receive", "send") else "on_connect": target}


def _import(source: str) -> ModuleType:
    path = Path(source)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise CommandError(f"there is no file {source}")
    # As `python file.py` and `python -m module` do, so that it finds the modules beside it.
    sys.path.insert(0, str(path.resolve().parent if is_file else Path.cwd()))
    module_name = path.stem if is_file else source
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise CommandError(
            f"{source!r} is no name of a module: write it as module:on_connect or folder/file.py:on_connect"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{module_name}.".startswith(f"{exc.name}."):
            raise CommandError(f"there is no module {source!r} in this folder, nor is one installed") from exc
        raise CommandError(f"{source} can't be imported: {_cause(exc)}") from exc
    except Exception as exc:  # the user's module may raise anything; it is told to the user
        raise CommandError(f"{source} can't be imported: {_cause(exc)}") from exc
    if is_file and (module.__file__ is None or Path(module.__file__).resolve() != path.resolve()):
        raise CommandError(f"{source} has the name of another module, {module_name!r}: rename the file")
    return module


def _cause(error: Exception) -> str:
    """The error and where it was raised, on one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"
