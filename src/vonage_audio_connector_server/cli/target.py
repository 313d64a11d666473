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

_FILES = ("main.py", "app.py", "bot.py", "server.py")
_APPS = ("app", "application", "connector")


class CommandError(AudioConnectorError, ValueError):
    """The command line asks for what can't be done."""


def load_target(target: str) -> Any:
    """Import the module and return what the name behind the colon stands for; without a name it is looked for.

    Raises:
        CommandError: there is no such module or name, or importing it failed.
    """
    source, colon, name = _parts(target)
    if target and not colon:
        return _found_in(source)
    if not source or not name:
        raise CommandError(f"{target!r} names nothing: write it as module:on_connect or file.py:app")
    module = _import(source)
    try:
        return attrgetter(name)(module)
    except AttributeError as exc:
        raise CommandError(f"{source} has no {name!r}") from exc


def find_program() -> str:
    """The file of a program in this folder, by the names that such files have.

    Raises:
        CommandError: there is none, or there are several.
    """
    there = [name for name in _FILES if Path(name).is_file()]
    if not there:
        raise CommandError(f"there is none of {', '.join(_FILES)} here: name the program, as bot.py:on_connect")
    if len(there) > 1:
        raise CommandError(f"here are {' and '.join(there)}: name the one that is meant, such as {there[0]}")
    return there[0]


def folder_of(target: str) -> Path:
    """The folder of a program: that of its file, else this one."""
    path = Path(_parts(target)[0])
    return path.resolve().parent if path.suffix == ".py" else Path.cwd()


def module_of(target: str) -> ModuleType | None:
    """The module of a target that was loaded."""
    source = _parts(target)[0]
    return sys.modules.get(Path(source).stem if source.endswith(".py") else source)


def served(target: object) -> dict[str, Any]:
    """The setting of a server that a target is: `app` if it takes what ASGI applications do, else `on_connect`."""
    return {"app" if takes(target, "scope", "receive", "send") else "on_connect": target}


def _parts(target: str) -> tuple[str, str, str]:
    """The module or file, the colon, and the name behind it; the last colon: a Windows path has one of its own."""
    if ":" not in target or target.endswith(".py"):
        return target, "", ""
    return target.rpartition(":")


def _found_in(source: str) -> Any:
    """What a module is there for: an ASGI app by its usual names, else `on_connect`, else its only connector."""
    from ..asgi import AudioConnector

    module = _import(source)
    apps = [name for name in _APPS if takes(getattr(module, name, None), "scope", "receive", "send")]
    found = apps[:1] or ["on_connect"] * takes(getattr(module, "on_connect", None), "client")
    if not found:
        found = [name for name, value in vars(module).items() if isinstance(value, AudioConnector)]
    if not found:
        raise CommandError(
            f"{source} has no on_connect, and no ASGI app by the name {', '.join(_APPS)}: write it as {source}:NAME"
        )
    if len(found) > 1:
        raise CommandError(f"{source} has {' and '.join(found)}: name the one that is meant, as {source}:{found[0]}")
    print(f"It is {source}:{found[0]}", file=sys.stderr)
    return getattr(module, found[0])


def as_app(target: object) -> Any:
    """What a target is, as an ASGI application: an `on_connect` function gets a connector."""
    from ..asgi import AudioConnector  # it takes starlette, and `--help` doesn't

    setting = served(target)
    return setting["app"] if "app" in setting else AudioConnector(setting["on_connect"])


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
